"""What a persister stores in one transaction: records, and what was lost after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringbus._native import Record
from ringbus.errors import Lapped, RingUnlinked
from ringbus.events import Gap
from ringbus.history import Row
from ringbus.ring.subscriber import Subscriber

MOST_RECORDS = 5000
MOST_BYTES = 8 << 20


@dataclass
class Batch:
    """Records in order; `gaps` lie behind them. `size` is bytes of payload."""

    records: list[Record] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    size: int = 0

    def __bool__(self) -> bool:
        return bool(self.records or self.gaps)

    @property
    def is_full(self) -> bool:
        return len(self.records) >= MOST_RECORDS or self.size >= MOST_BYTES

    @property
    def rows(self) -> list[Row]:
        """Transient records have none."""
        return [
            (record.seq, record.ts_ns, record.kind, record.payload)
            for record in self.records
            if not record.transient
        ]

    @property
    def next_seq(self) -> int:
        """One past its end, which a gate's cursor is not: that may be past a loss not yet told."""
        ends = [record.seq for record in self.records[-1:]]
        ends += [gap.to for gap in self.gaps if gap.to is not None]
        return max(ends) + 1

    def add(self, records: Sequence[Record]) -> None:
        self.records += records
        self.size += sum(len(record.payload) for record in records)


def read_batch(gate: Subscriber, epoch: str, timeout: float) -> Batch:
    """Everything that is there, up to a batch; sleeps up to `timeout` s for the first record.

    A loss ends the batch. Raises `RingUnlinked` when everything of a removed ring was read.
    """
    batch = Batch()
    try:
        while not batch.is_full:
            room = MOST_RECORDS - len(batch.records)
            records = gate.read(room, 0.0 if batch else timeout)
            if not records:
                break
            batch.add(records)
    except Lapped as lapped:
        first = lapped.next_seq - lapped.missed
        batch.gaps.append(Gap(epoch, first, lapped.next_seq - 1, lapped.missed, "lapped"))
    except RingUnlinked:
        if not batch:
            raise
    return batch
