"""The long-lived side: processes that are kept running.

A `Supervisor` starts its services in order and starts one again that dies: after 0.2 s, then
twice as long each time up to 5 s; a life of 30 s makes it 0.2 s again. On SIGINT or SIGTERM it
stops them in the opposite order, one after the other, so that those who emit go before those
who store. Each gets SIGTERM and five seconds; a second signal kills them all.
"""

import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ringbus._console import warn
from ringbus._signals import Signals, signal_name
from ringbus.supervisor.service import Service, WebService, persister_service

STOP_SECONDS = 5.0


def up(
    *,
    agents: Sequence[str],
    host: str,
    port: int,
    state: Path,
    allow_hosts: Sequence[str],
    on_url: Callable[[str], None],
) -> int:
    """Keeps a persister and a web process running until SIGINT or SIGTERM; returns an exit status.

    Blocks; for the main thread. `on_url` is called with the address of the page, when
    that can be opened, and again with a new login link when a web process that died is there
    again. Without `agents` the persister serves all. A web process that cannot
    start at all ends it with status 1.
    """
    web = WebService(host=host, port=port, state=state, allow_hosts=allow_hosts, on_url=on_url)
    return Supervisor([persister_service(agents, state), web]).run()


class Supervisor:
    """Keeps `services` running. `run` blocks, and is for the main thread, whose signals end it."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = list(services)
        self._is_stopping = False
        self._has_failed = False

    def run(self) -> int:
        """Returns 0 after a signal, 1 when a service cannot run at all."""
        with Signals(self._on_signal, starts_programs=True) as signals:
            try:
                while not self._is_stopping:
                    self._tend_all()
                    self._wait(signals, self._until_next_start())
            finally:
                for service in reversed(self._services):
                    self._stop(service, signals)
        return 1 if self._has_failed else 0

    def _on_signal(self, _number: int) -> None:
        if self._is_stopping:
            for service in self._services:
                service.kill()
        self._is_stopping = True

    def _tend_all(self) -> None:
        for service in self._services:
            pid, status = service.pid, service.take_death()
            if status is not None:
                self._report(service, pid, status)
        for service in self._services:
            is_due = not service.is_running and service.start_at <= time.monotonic()
            if is_due and not self._is_stopping:
                self._start(service)

    def _start(self, service: Service) -> None:
        try:
            service.start()
        except OSError as error:
            service.put_off()
            warn(f"the {service.name} process cannot be started for now: {error}")

    def _report(self, service: Service, pid: int | None, status: int) -> None:
        was = f"exited with status {status}"
        if status < 0:
            was = f"was killed by {signal_name(-status)}"
        if service.is_hopeless(status):
            self._has_failed = self._is_stopping = True
            warn(f"the {service.name} process ({pid}) {was}: giving up")
        else:
            delay = max(service.start_at - time.monotonic(), 0.0)
            warn(f"the {service.name} process ({pid}) {was}: starting it again in {delay:.1f} s")

    def _until_next_start(self) -> float | None:
        waiting = [service.start_at for service in self._services if not service.is_running]
        return max(min(waiting) - time.monotonic(), 0.0) if waiting else None

    def _wait(self, signals: Signals, timeout: float | None) -> None:
        """Waits for a signal, the end of a process, something said by one, or the time."""
        talking = {file: service for service in self._services if (file := service.output)}
        ready, _, _ = select.select([signals.fileno(), *talking], [], [], timeout)
        signals.clear()
        for file in talking.keys() & ready:
            talking[file].listen()

    def _stop(self, service: Service, signals: Signals) -> None:
        service.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while service.is_running and service.take_death() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                warn(f"the {service.name} process ({service.pid}) does not end: killing it")
                service.kill()
                deadline += STOP_SECONDS
            self._wait(signals, max(left, 0.0))
