"""What a turn has cost so far, added up from what its lines tell. Pure."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from ringbus.web.facts import Cost, Tokens

_Pair: TypeAlias = tuple[int | None, int | None]

_MOST_KEPT = 64  # sessions and requests of one turn that are told apart
_NONE: _Pair = (None, None)


class Spending:
    """Takes `Tokens` and `Cost` in their order; `tokens` and `cost_usd` are None until told.

    Where the beginning of the turn was not read, only what stands for all of it counts.
    """

    def __init__(self, *, is_whole: bool = True) -> None:
        self._is_whole = is_whole
        self._summed = _NONE
        self._since_sum = _NONE
        self._messages: deque[str] = deque(maxlen=_MOST_KEPT)
        self._threads: dict[str, _Pair] = {}
        self._sessions: dict[str, float] = {}
        self._cost: float | None = None

    @property
    def tokens(self) -> _Pair:
        """In and out."""
        total = _plus(self._summed, self._since_sum if self._is_whole else _NONE)
        for pair in self._threads.values():
            total = _plus(total, pair)
        return total

    @property
    def cost_usd(self) -> float | None:
        told = [*self._sessions.values()]
        if self._is_whole and self._cost is not None:
            told.append(self._cost)
        return round(sum(told), 6) if told else None

    def take(self, told: Tokens | Cost) -> None:
        """Adds what one line told."""
        if isinstance(told, Cost):
            self._take_cost(told)
        elif told.thread is not None:
            if len(self._threads) < _MOST_KEPT or told.thread in self._threads:
                self._threads[told.thread] = told.into, told.out
        elif told.is_sum:
            self._summed = _plus(self._summed, (told.into, told.out))
            self._since_sum = _NONE
        elif told.message is None or told.message not in self._messages:
            self._since_sum = _plus(self._since_sum, (told.into, told.out))
            if told.message is not None:
                self._messages.append(told.message)

    def _take_cost(self, told: Cost) -> None:
        if told.session is None:
            self._cost = (self._cost or 0) + told.usd
        elif len(self._sessions) < _MOST_KEPT or told.session in self._sessions:
            self._sessions[told.session] = max(told.usd, self._sessions.get(told.session, 0))


def _plus(one: _Pair, other: _Pair) -> _Pair:
    return _add(one[0], other[0]), _add(one[1], other[1])


def _add(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other
