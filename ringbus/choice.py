"""Which events are wanted: some kinds, or those that hold a text. Pure."""

from __future__ import annotations

import json

from msgspec import Struct

from ringbus.events import Envelope


class Choice(Struct, frozen=True):
    """Events of these `kinds` (none named: of all) whose JSON holds `text` (a to z in either case).

    It chooses by the event without its place, as the history does.
    """

    kinds: frozenset[str] = frozenset()
    text: str | None = None

    def takes(self, envelope: Envelope) -> bool:
        """Whether the event is wanted."""
        if self.kinds and envelope.kind not in self.kinds:
            return False
        return self.text is None or as_in_json(self.text).encode().lower() in (
            envelope.payload.lower()
        )


ALL = Choice()


def as_in_json(text: str) -> str:
    """The text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
