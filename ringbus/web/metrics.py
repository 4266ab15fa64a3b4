"""`/metrics`. The figures live in rings and histories: they are read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from ringbus import __version__
from ringbus.agents import agents
from ringbus.ring.stats import RingStats
from ringbus.web.figures import Figures, HistoryFigures, figures
from ringbus.web.streams import Streams


def exposition(state: Path, streams: Streams) -> bytes:
    """The Prometheus text for all agents of this machine and state folder."""
    registry = CollectorRegistry()
    registry.register(_Agents(state))
    registry.register(_Streams(streams))
    return generate_latest(registry)


class _Of(NamedTuple):
    """A metric of agents; one of which it reads None has none."""

    name: str
    text: str
    read: Callable[[Figures], float | None]


def _of_ring(read: Callable[[RingStats], float]) -> Callable[[Figures], float | None]:
    return lambda one: None if one.ring is None else read(one.ring)


def _of_history(
    read: Callable[[HistoryFigures], float | None],
) -> Callable[[Figures], float | None]:
    return lambda one: None if one.history is None else read(one.history)


def _lag_seconds(one: Figures) -> float | None:
    if one.unstored is None:
        return None
    return max(0.0, (time.time_ns() - one.waiting_ns) / 1e9) if one.waiting_ns else 0.0


_METRICS = (
    _Of(
        "ringbus_ring_tail_seq", "One past the newest seq in the ring.", _of_ring(lambda r: r.tail)
    ),
    _Of("ringbus_ring_floor_seq", "The oldest seq still in the ring.", _of_ring(lambda r: r.floor)),
    _Of("ringbus_ring_size_bytes", "Room for records in the ring.", _of_ring(lambda r: r.size)),
    _Of(
        "ringbus_ring_free_ratio",
        "Part of the ring's blocks that no record and no emitter holds.",
        _of_ring(lambda r: r.blocks_free / r.blocks),
    ),
    _Of("ringbus_ring_emitters", "Emitters attached now.", _of_ring(lambda r: len(r.lanes))),
    _Of(
        "ringbus_persister_up",
        "1 if a process is there to store the agent's events, whether or not it can.",
        lambda one: float(one.has_persister),
    ),
    _Of(
        "ringbus_persister_storing",
        "1 if a living persister stores them and keeps emitters from lapping it.",
        lambda one: None if one.ring is None else float(one.is_storing),
    ),
    _Of(
        "ringbus_history_lag_events",
        "Events of the ring that are not in the history yet.",
        lambda one: one.unstored,
    ),
    _Of(
        "ringbus_history_lag_seconds",
        "How long the oldest of them has waited.",
        _lag_seconds,
    ),
    _Of(
        "ringbus_history_readable",
        "1 if ring and history can be read, or are not there; 0 if this process is refused.",
        lambda one: float(one.problem is None),
    ),
    _Of(
        "ringbus_history_bytes",
        "Size of the history on disk, with its log.",
        _of_history(lambda h: h.bytes),
    ),
    _Of(
        "ringbus_history_last_event_timestamp_seconds",
        "When the newest stored event was emitted.",
        _of_history(lambda h: None if h.last_ts_ns is None else h.last_ts_ns / 1e9),
    ),
)


class _Agents(Collector):
    def __init__(self, state: Path) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        found = [figures(agent, self._state) for agent in agents(self._state)]
        for metric in _METRICS:
            family = GaugeMetricFamily(metric.name, metric.text, labels=["agent"])
            for one in found:
                value = metric.read(one)
                if value is not None:
                    family.add_metric([one.agent], value)
            yield family
        yield from _gates(found)
        yield from _gaps(found)


def _gates(found: Iterable[Figures]) -> Iterable[Metric]:
    labels = ["agent", "gate"]
    lag = GaugeMetricFamily(
        "ringbus_gate_lag_events",
        "Events between a gate and the tail; for the gate history, not stored yet.",
        labels=labels,
    )
    alive = GaugeMetricFamily("ringbus_gate_alive", "1 if its process is there.", labels=labels)
    for one in found:
        for gate in one.ring.gates if one.ring is not None else []:
            lag.add_metric([one.agent, gate.name], gate.lag)
            alive.add_metric([one.agent, gate.name], float(gate.alive))
    return [lag, alive]


def _gaps(found: Iterable[Figures]) -> Iterable[Metric]:
    labels = ["agent", "reason"]
    gaps = GaugeMetricFamily(
        "ringbus_history_gaps", "Named stretches that the history does not have.", labels=labels
    )
    missed = GaugeMetricFamily(
        "ringbus_history_missed_events", "Events in them, as far as known.", labels=labels
    )
    for one in found:
        for reason, (number, events) in one.history.gaps.items() if one.history else ():
            gaps.add_metric([one.agent, reason], number)
            missed.add_metric([one.agent, reason], events)
    return [gaps, missed]


class _Streams(Collector):
    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        of = self._streams
        yield GaugeMetricFamily("ringbus_sse_clients", "Event streams open now.", value=of.open)
        yield GaugeMetricFamily(
            "ringbus_sse_clients_limit", "Event streams that may be open.", value=of.limit
        )
        for name, text, value in (
            ("ringbus_sse_connects", "Event streams opened so far.", of.opened),
            ("ringbus_sse_refused", "Streams that were told to come back later.", of.refused),
            ("ringbus_sse_sent_bytes", "Bytes of frames sent so far.", of.sent_bytes),
            ("ringbus_sse_gaps", "Gaps that clients were told of.", of.gaps),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield InfoMetricFamily("ringbus_build", "What runs here.", value={"version": __version__})
