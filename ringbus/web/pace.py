"""How many events came of late, in stretches of the same length. Pure."""

from __future__ import annotations

STRETCH_NS = 2 * 10**9
STRETCHES = 30


class Pace:
    """Counts events by when they were emitted: the last minute up to the newest of them."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._newest = 0

    def add(self, ts_ns: int, events: int = 1) -> None:
        """So many were emitted then."""
        at = ts_ns // STRETCH_NS
        if at <= self._newest - STRETCHES:
            self._counts.clear()  # the clock was set back
            self._newest = at
        self._newest = max(self._newest, at)
        for old in [one for one in self._counts if one <= self._newest - STRETCHES]:
            del self._counts[old]
        self._counts[at] = self._counts.get(at, 0) + events

    def recall(self, ts_ns: int) -> None:
        """One was emitted then, before those that were added: too long ago it does not count."""
        at = ts_ns // STRETCH_NS
        if at > self._newest - STRETCHES:
            self.add(ts_ns)

    def counts(self) -> tuple[int, tuple[int, ...]]:
        """Number of the newest stretch since 1970, and the counts up to it, from the first one."""
        if not self._counts:
            return self._newest, ()
        first = min(self._counts)
        return self._newest, tuple(self._counts.get(at, 0) for at in range(first, self._newest + 1))
