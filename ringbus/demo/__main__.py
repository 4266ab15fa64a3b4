"""The harness of the demo: one recorded turn after the other, for ever.

`python -m ringbus.demo --state DIR --parent PID` is a process of `run_demo`'s.
"""

import argparse
import itertools
import select
import subprocess
import sys

from ringbus._signals import Signals
from ringbus.demo import AGENT
from ringbus.demo.recording import TURNS, Turn
from ringbus.supervisor.service import end_with_parent

PAUSE_SECONDS = 4.0


class Harness:
    """Runs turns until a signal comes, which ends the running one too."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> None:
        with Signals(self._on_signal) as signals:
            for turn in itertools.cycle(TURNS):
                self._run_turn(turn)
                if not self._is_stopping:
                    select.select([signals], [], [], PAUSE_SECONDS)
                if self._is_stopping:
                    return

    def _run_turn(self, turn: Turn) -> None:
        options = ["--agent", AGENT, "--state", self._state, "--unread", str(turn.unread)]
        message = ["--from", turn.from_, "--body", turn.body]
        command = [sys.executable, "-P", "-m", "ringbus", "run", *options, *message, "--"]
        self._process = subprocess.Popen([*command, *turn.command()])
        if self._is_stopping:
            self._process.terminate()
        self._process.wait()

    def _on_signal(self, _number: int) -> None:
        self._is_stopping = True
        if self._process is not None:
            self._process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(prog="ringbus.demo", description="Run the demo's turns.")
    parser.add_argument("--state", required=True, help="folder of the history")
    parser.add_argument("--parent", type=int, required=True, help="the process that started us")
    options = parser.parse_args()
    end_with_parent(options.parent)
    Harness(options.state).run()


if __name__ == "__main__":
    main()
