"""All that carries records from process to process, and who of it is here."""

from __future__ import annotations

from benchmarks.baselines import (
    kernel_messages,
    middleware,
    multiprocessing_ends,
    polled_table,
    servers,
    shared_queues,
    zeromq,
)
from benchmarks.harness import Options
from benchmarks.transports import RINGBUS, Peer, Shape

PEERS: tuple[Peer, ...] = (
    RINGBUS,
    *multiprocessing_ends.PEERS,
    *kernel_messages.PEERS,
    *zeromq.PEERS,
    *shared_queues.PEERS,
    *middleware.PEERS,
    *servers.PEERS,
    *polled_table.PEERS,
)


def present(shape: Shape, options: Options) -> list[Peer]:
    """ringbus, and those that can take part in a run of this shape; without readers not all can."""
    return [
        peer
        for peer in PEERS
        if (peer is RINGBUS or options.wants(peer.name)) and _can(peer, shape)
    ]


def _can(peer: Peer, shape: Shape) -> bool:
    can_emit = shape.readers > 0 or peer.can_emit_alone
    return can_emit and shape.size <= peer.most_bytes and not peer.lack()


def absences(options: Options, *sizes: int) -> list[str]:
    """Who is missing, and why: notes for the reader of the numbers."""
    wanted = [peer for peer in PEERS if options.wants(peer.name)]
    notes = [f"Without {peer.name}: {peer.lack()}." for peer in wanted if peer.lack()]
    for peer in wanted:
        too_large = [size for size in sizes if size > peer.most_bytes]
        if too_large and not peer.lack():
            listed = " and ".join(f"{size:,}" for size in too_large)
            notes.append(f"{peer.name} takes no payloads of {listed} bytes.")
    return notes
