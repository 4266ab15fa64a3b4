"""The demo's recording: three turns of an invented agent, what each was asked, how each ended.

The turns tell one story: a flaky test is understood, mended, and then the same is tried in a second
place, where the agent runs out of its rate limit. Each line is what `claude --output-format
stream-json --include-partial-messages` would print.
"""

import sys
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Turn:
    """One recorded turn: its message, its lines, its line on stderr and its exit status."""

    number: int
    from_: str
    body: str
    unread: int
    file: str
    stderr: str
    stderr_after: int
    exit_status: int

    def lines(self) -> list[bytes]:
        """The lines of the turn as printed on stdout, without their newlines."""
        return (resources.files("ringbus.demo") / "turns" / self.file).read_bytes().splitlines()

    def command(self, *, speed: float = 1.0) -> list[str]:
        """The command that replays this turn; `speed` 2 takes half the time."""
        replay = [sys.executable, "-m", "ringbus.demo.replay"]
        return [*replay, str(self.number), "--speed", str(speed)]


TURNS = (
    Turn(
        number=1,
        from_="operator",
        body="test_poller_reports_stale_gauge fails now and then, ticket TW-118. "
        "Find out why, but change nothing yet.",
        unread=0,
        file="1-find-the-cause.jsonl",
        stderr="[mcp] charts: connection refused, going on without it",
        stderr_after=3,
        exit_status=0,
    ),
    Turn(
        number=2,
        from_="planner",
        body="Good find. Go ahead: give the poller a clock of its own and let the test turn it.",
        unread=2,
        file="2-fix-it.jsonl",
        stderr="[mcp] charts: connection refused, going on without it",
        stderr_after=1,
        exit_status=0,
    ),
    Turn(
        number=3,
        from_="operator",
        body="Now the same for test_alerts.py, please.",
        unread=1,
        file="3-alerts-too.jsonl",
        stderr="error: the request failed after 3 retries (429 rate_limit)",
        stderr_after=86,
        exit_status=1,
    ),
)


def turn(number: int) -> Turn:
    """The turn of this number, counted from 1; KeyError if the recording has none such."""
    for candidate in TURNS:
        if candidate.number == number:
            return candidate
    raise KeyError(f"the recording has turns 1 to {len(TURNS)}, not {number}")
