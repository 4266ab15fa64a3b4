"""Stands in for the agent: prints one recorded turn as the agent would, at a pace one can watch.

`python -m ringbus.demo.replay N [--speed X]` exits with the status that the turn had.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence

from ringbus.demo.recording import TURNS, Turn, turn

# Seconds before a line of each kind. They are fixed, so that two replays look the same.
PAUSES = {
    "assistant": 0.02,
    "rate_limit_event": 0.02,
    "result": 0.4,
    "stream_event/content_block_delta": 0.055,
    "stream_event/message_start": 1.6,
    "system/api_retry": 1.2,
    "system/init": 0.4,
    "system/task_started": 0.2,
    "user": 0.9,
}
OTHER_PAUSE = 0.03


def pause_before(line: bytes) -> float:
    """Seconds to wait before this line is printed at speed 1."""
    value = json.loads(line)
    kind = value["type"]
    if kind == "stream_event":
        kind = f"{kind}/{value['event']['type']}"
    elif kind == "system":
        kind = f"{kind}/{value['subtype']}"
    return PAUSES.get(kind, OTHER_PAUSE)


def replay(recorded: Turn, *, speed: float) -> None:
    """Prints the turn to stdout and its one plain line to stderr, each flushed as it is printed."""
    for number, line in enumerate(recorded.lines(), start=1):
        time.sleep(pause_before(line) / speed)
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
        if number == recorded.stderr_after:
            print(recorded.stderr, file=sys.stderr, flush=True)


def positive(text: str) -> float:
    """The number in `text`, which must be above zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays the turn that the arguments name and returns its exit status."""
    parser = argparse.ArgumentParser(prog="ringbus.demo.replay", description="Replay a demo turn.")
    parser.add_argument("number", type=int, choices=[known.number for known in TURNS])
    parser.add_argument("--speed", type=positive, default=1.0, help="2 takes half the time")
    options = parser.parse_args(arguments)
    recorded = turn(options.number)
    replay(recorded, speed=options.speed)
    return recorded.exit_status


if __name__ == "__main__":
    # An agent that is interrupted, or whose reader left, dies of the signal without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
