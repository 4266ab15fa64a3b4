"""Signals to a harness: they reach its program, and its turn ends."""

from __future__ import annotations

import signal
import threading

import pytest
from turns import DEADLINE_SECONDS, Agent, lines_of, shell, started, wait_until

from ringbus.bus import Bus
from ringbus.events import TurnEnd
from ringbus.harness import run_turn

# Programs say that they are ready, then sleep a little at a time: sh handles a signal in between.
NAP = "echo > ready; while :; do sleep 0.05; done"
# With a trap nothing may be started once it is ready: dash loses a signal that comes while it does.
WAIT = "sleep 60 > /dev/null 2>&1 & echo > ready; while :; do wait; done"


def interrupted(agent: Agent, code: str, *signals: signal.Signals) -> int:
    """The status of `ringbus run` on a shell program that gets signals once it is ready."""
    agent.state.mkdir(exist_ok=True)
    ready = agent.state / "ready"
    with started("run", *agent.place, "--", *shell(code), cwd=agent.state) as process:
        for number in signals:
            wait_until(ready.exists, "the program's word that it is ready")
            ready.unlink()
            process.send_signal(number)
        return process.wait(DEADLINE_SECONDS)


def test_interrupt_reaches_the_program_once(agent: Agent) -> None:
    """SIGINT to us is one SIGINT to it, and it may end as it likes."""
    code = f"trap 'echo caught; kill $!; exit 5' INT; {WAIT}"
    assert interrupted(agent, code, signal.SIGINT) == 5
    assert lines_of(agent.events()) == [b"caught"]
    assert agent.events()[-1] == TurnEnd(ok=False, note="exit status 5")


def test_second_interrupt_kills_the_program(agent: Agent) -> None:
    """A program that does not mind the first one is killed by the second."""
    code = f"trap 'echo caught; echo > ready' INT; {WAIT}"
    assert interrupted(agent, code, signal.SIGINT, signal.SIGINT) == 137
    assert lines_of(agent.events()) == [b"caught"]
    assert agent.events()[-1] == TurnEnd(ok=False, note="killed by SIGKILL")


def test_interrupt_reaches_the_whole_group(agent: Agent) -> None:
    """Children of the program get it too, as they would from a terminal."""
    code = "sh -c 'echo > ready; exec sleep 60' & wait; wait"
    assert interrupted(agent, code, signal.SIGINT) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminate_is_passed_on(agent: Agent, number: signal.Signals) -> None:
    """SIGTERM to us, or the end of our terminal, is SIGTERM to it, and the turn has its end."""
    assert interrupted(agent, NAP, number) == 143
    assert agent.events()[-1] == TurnEnd(ok=False, note="killed by SIGTERM")


@pytest.mark.slow
def test_program_that_ignores_terminate_is_killed(agent: Agent) -> None:
    """It has five seconds."""
    assert interrupted(agent, f"trap '' TERM; {NAP}", signal.SIGTERM) == 137


def test_turn_in_another_thread_leaves_signals_alone(agent: Agent, bus: Bus) -> None:
    """Only the main thread may handle signals; a turn elsewhere works without."""
    handler = signal.getsignal(signal.SIGINT)
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(run_turn(bus, shell("exit 4"))))
    thread.start()
    thread.join()
    assert statuses == [4]
    assert signal.getsignal(signal.SIGINT) is handler


def test_handlers_are_put_back(bus: Bus) -> None:
    """After a turn signals do what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTOU)
    before = [signal.getsignal(number) for number in numbers]
    run_turn(bus, ["true"])
    assert [signal.getsignal(number) for number in numbers] == before
