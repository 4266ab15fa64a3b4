"""The persister process: one `AgentPersister` thread for each agent it serves.

A thread sleeps in the kernel while its ring is calm. One agent's full disk or locked database
holds up that agent's history alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

from ringbus._native import folder_changed_ns, lib
from ringbus.agents import agent_rings, database_of, is_read_only
from ringbus.errors import RingbusError
from ringbus.persister.agent import LINGER, AgentPersister, Outcome
from ringbus.ring import list_rings

log = logging.getLogger(__name__)

LOOK_EVERY = 0.2  # seconds between looks whether rings came or went
LOOK_THROUGH_EVERY = 2.0  # seconds: a ring that is there may have become an agent's
STOP_EVERY = 0.1  # seconds between the calls that stop them


class Persister:
    """Serves the named agents, or with None every agent's ring, those that appear later, too.

    `database` is the file of a single agent; the others' are in the folder `state`. `wait`: wait
    where another persister serves an agent; else `run()` ends when all of `agents` are served by
    others. `automatic`: started by a Bus, and gone when it has not been needed for `linger`
    seconds.
    """

    def __init__(
        self,
        agents: Sequence[str] | None,
        state: Path,
        *,
        database: Path | None = None,
        wait: bool = False,
        automatic: bool = False,
        linger: float = LINGER,
    ) -> None:
        self._agents = agents
        self._state = state
        self._database = database
        self._wait = wait or agents is None
        self._automatic = automatic
        self._linger = linger
        self._is_stopping = False
        self._running: dict[str, tuple[threading.Thread, AgentPersister]] = {}
        self._just_ended: SimpleQueue[str] = SimpleQueue()
        self._ended: dict[str, Outcome] = {}
        self._refused: dict[str, Exception] = {}
        self._lost: dict[str, list[str]] = {}  # by agent: epochs whose loss is yet to be stored
        self._changed_ns = 0  # state of the rings' folder when it was last looked through
        self._look_through_at = float("-inf")

    def stop(self) -> None:
        """Makes `run()` store what is there and return; safe in a signal handler."""
        self._is_stopping = True  # no Event: its lock may be held by what the signal interrupted

    def run(self, on_taken: Callable[[str, str], None] | None = None) -> dict[str, Outcome]:
        """Blocks until `stop()`, or until nothing is left to do; how the agents' persisters ended.

        `on_taken` is told of an agent that another persister serves, and who that is. Raises
        `RingbusError` if no named agent can be served and one of their rings is why.
        """
        lib.rb_return_large_blocks()  # hundreds of agents: what one needed, another needs next
        while not self._is_stopping:
            self._collect_ended(on_taken)
            if self._is_done():
                break
            if self._is_due():
                self._start_new()
            time.sleep(LOOK_EVERY)
        self._stop_all()
        self._collect_ended(on_taken)
        for error in self._refused.values():
            if self._agents is not None and not self._is_stopping:
                raise error
        return self._ended

    def _stop_all(self) -> None:
        """Again and again: a wake-up is lost on who was about to fall asleep."""
        while any(thread.is_alive() for thread, _ in self._running.values()):
            for thread, persister in self._running.values():
                if thread.is_alive():
                    persister.stop()
            for thread, _ in self._running.values():
                thread.join(STOP_EVERY / len(self._running))

    def _is_done(self) -> bool:
        """Only automatic persisters, and those that can serve nobody, end themselves."""
        if self._agents is None or self._running:
            return False
        final = set(Outcome) if self._automatic else {Outcome.TAKEN}
        return all(
            agent in self._refused or self._ended.get(agent) in final for agent in self._agents
        )

    def _is_due(self) -> bool:
        """Whether to look through all rings: as a rule there is nothing new, and many of them."""
        changed_ns, now = folder_changed_ns(), time.monotonic()
        if changed_ns != self._changed_ns:
            for _, persister in self._running.values():
                persister.look()
        elif now < self._look_through_at:
            return False
        self._changed_ns = changed_ns
        self._look_through_at = now + LOOK_THROUGH_EVERY
        return True

    def _start_new(self) -> None:
        wanted = agent_rings(self._running) if self._agents is None else self._agents
        there = set(list_rings())
        for agent in sorted(set(wanted) - set(self._running)):
            if agent in there and not self._is_taken(agent) and not self._is_anothers(agent):
                self._start(agent)
            elif self._automatic:
                self._ended.setdefault(agent, Outcome.RING_GONE)

    def _is_taken(self, agent: str) -> bool:
        return self._agents is not None and self._ended.get(agent) is Outcome.TAKEN

    def _is_anothers(self, agent: str) -> bool:
        """Where all agents are served, those that this user can only read are not meant."""
        return self._agents is None and is_read_only(agent)

    def _start(self, agent: str) -> None:
        persister = AgentPersister(
            agent,
            self._database or database_of(agent, self._state),
            automatic=self._automatic,
            wait=self._wait,
            linger=self._linger,
            lost=self._lost.pop(agent, ()),
        )
        thread = threading.Thread(target=self._run_one, args=(agent, persister), name=agent)
        self._running[agent] = (thread, persister)
        thread.start()

    def _run_one(self, agent: str, persister: AgentPersister) -> None:
        try:
            self._ended[agent] = persister.run()
            self._refused.pop(agent, None)
        except (RingbusError, OSError) as error:
            if str(error) != str(self._refused.get(agent)):
                log.warning("%s: cannot be served: %s", agent, error)
            self._refused[agent] = error
        finally:
            self._just_ended.put(agent)

    def _collect_ended(self, on_taken: Callable[[str, str], None] | None) -> None:
        while not self._just_ended.empty():
            agent = self._just_ended.get()
            thread, persister = self._running.pop(agent)
            thread.join()
            if persister.lost:
                self._lost[agent] = persister.lost
            self._look_through_at = float("-inf")  # there may be a ring of this name again
            if on_taken is not None and self._ended.get(agent) is Outcome.TAKEN:
                on_taken(agent, persister.rival)
