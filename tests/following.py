"""Accounts of following: whether a reader got all that was emitted once, or in a gap."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringbus.events import Envelope, Gap, Note, Position, Reset, parse_position


@dataclass
class Truth:
    """Text of every record of every epoch, in order; those of transient records are None.

    `forgotten` are epochs that no history knows any more, so that they may be passed over.
    """

    epochs: dict[str, list[str | None]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    def add(self, epoch: str, seq: int, text: str, *, transient: bool) -> None:
        records = self.epochs.setdefault(epoch, [])
        assert seq == len(records)
        records.append(None if transient else text)

    def later(self, epoch: str) -> list[str]:
        """The epochs after one, in order."""
        order = list(self.epochs)
        return order[order.index(epoch) + 1 :]

    @property
    def end(self) -> Position:
        """The position after the last record."""
        epoch = list(self.epochs)[-1]
        return epoch, len(self.epochs[epoch])


class Account:
    """One reader's. `take()` fails unless records come in order, each once or in an exact gap."""

    def __init__(self, truth: Truth) -> None:
        self.received = 0
        self.gaps: list[Gap] = []
        self.position: Position | None = None  # of the last record that came, or was in a gap
        self._truth = truth
        self._epoch: str | None = None  # None: whatever comes first is right
        self._next = 0
        self._is_lost = False  # the rest of the epoch, as a gap without an end said

    def take(self, item: Envelope | Gap | Reset) -> None:
        if isinstance(item, Reset):
            self._reset(item)
        elif isinstance(item, Gap):
            self._go_to(item.epoch, item.from_)
            self._take_gap(item)
        else:
            self._go_to(item.epoch, item.seq)
            self._take_event(item)

    def finish(self) -> None:
        """Fails unless the reader has come to the end."""
        epoch, end = self._truth.end
        self._go_to(epoch, end)
        assert self._next == end, f"{epoch}-{self._next} to {end - 1} never came"

    def is_at_the_end(self) -> bool:
        return (self._epoch, self._next) == self._truth.end

    def _reset(self, item: Reset) -> None:
        assert parse_position(item.position)[0] in self._truth.forgotten, item
        self._epoch = None

    def _go_to(self, epoch: str, seq: int) -> None:
        """Passes over what need not come: transient records, and epochs that are forgotten."""
        if self._epoch is None:
            self._epoch, self._next, self._is_lost = epoch, seq, False
        if self._epoch != epoch:
            self._leave_for(epoch)
        records = self._truth.epochs[epoch]
        while self._next < seq and records[self._next] is None:
            self._next += 1

    def _leave_for(self, epoch: str) -> None:
        assert self._epoch is not None
        later = self._truth.later(self._epoch)
        assert epoch in later, f"back from {self._epoch} to {epoch}"
        rest = [text for text in self._truth.epochs[self._epoch][self._next :] if text]
        assert self._is_lost or not rest, f"left {self._epoch}-{self._next}, lacking {len(rest)}"
        for passed in later[: later.index(epoch)]:
            assert passed in self._truth.forgotten or not any(self._truth.epochs[passed]), passed
        self._epoch, self._next, self._is_lost = epoch, 0, False

    def _take_event(self, item: Envelope) -> None:
        assert (item.seq, self._is_lost) == (self._next, False), item
        text = self._truth.epochs[item.epoch][item.seq]
        assert isinstance(item.event, Note)
        assert text is None or item.event.text == text
        self.received += text is not None
        self._next += 1
        self.position = (item.epoch, item.seq)

    def _take_gap(self, gap: Gap) -> None:
        if gap.to is None:  # told again to who comes back: it has no position to go on from
            assert (gap.reason, gap.missed) == ("ring-lost", None)
            assert gap.from_ == self._next
            self._is_lost = True
        else:
            assert (gap.from_, self._is_lost) == (self._next, False), gap
            self._check_missed(gap, gap.to)
            self._next = gap.to + 1
            self.position = (gap.epoch, gap.to)
        self.gaps.append(gap)

    def _check_missed(self, gap: Gap, to: int) -> None:
        records = self._truth.epochs[gap.epoch][gap.from_ : to + 1]
        assert len(records) == to - gap.from_ + 1, f"{gap}: more than was emitted"
        kept = sum(text is not None for text in records)
        if gap.reason != "retention":
            assert gap.missed == len(records), gap
        elif gap.missed is not None:  # rows, and what was in the gaps between them
            assert kept <= gap.missed <= len(records), gap
