"""The demo: a recorded agent, replayed through the whole system.

`run_demo` keeps a persister, a web process and a harness running; the harness (`__main__.py`)
does turn after turn with `ringbus run`, as anybody would, on a program that replays one
(`replay.py`) from the recording (`recording.py`).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

AGENT = "demo"
HOST = "127.0.0.1"


def run_demo(*, port: int, state: Path | None, on_url: Callable[[str], None]) -> int:
    """Shows the demo until SIGINT or SIGTERM and returns an exit status.

    Blocks; for the main thread. `on_url` is called with the address of the page. Without `state`
    the history is in a temporary folder that goes with the demo; the ring goes in any case.
    Raises RingbusError if another demo runs.
    """
    if state is not None:
        return _show(port, state, on_url)
    with tempfile.TemporaryDirectory(prefix="ringbus-demo-") as folder:
        return _show(port, Path(folder), on_url)


def _show(port: int, state: Path, on_url: Callable[[str], None]) -> int:
    # Imported late: the replaying programs import this package too, and want none of it.
    from ringbus.supervisor import Supervisor
    from ringbus.supervisor.service import Service, WebService, persister_service

    _remove_ring(state)
    services = [
        persister_service([AGENT], state),
        WebService(host=HOST, port=port, state=state, allow_hosts=(), on_url=on_url),
        Service("harness", "ringbus.demo", ["--state", str(state)]),
    ]
    try:
        return Supervisor(services).run()
    finally:
        _remove_ring(state)


def _remove_ring(state: Path) -> None:
    """Frees the name, unless somebody uses it."""
    from ringbus.errors import RingbusError, RingNotFound
    from ringbus.removal import remove_agent
    from ringbus.ring import Ring

    try:
        with Ring.open(AGENT, observer=True) as ring:
            is_used = ring.is_attached()
    except RingNotFound:
        return
    if is_used:
        raise RingbusError(f"agent {AGENT!r} is in use: another demo runs on this machine")
    remove_agent(AGENT, state, purge=False)
