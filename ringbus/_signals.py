"""Signals for a thread that waits in `select`.

Python restarts a `select` that a signal interrupted, so a handler alone would not be noticed
until something else happens. Here each signal also makes a socket readable that the waiting
thread has among its files.
"""

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; a number without a name stays one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Signals:
    """While it is entered, SIGINT, SIGTERM and SIGHUP call `handle(number)` and make `fileno()`
    readable.

    `handle` runs in the main thread between any two steps of it. A SIGHUP that is ignored
    (`nohup`) stays so. Entered in another thread than the main one it changes nothing, for only
    the main thread may: `works` is False then. With `starts_programs` the exit of a child makes
    `fileno()` readable too, and programs started meanwhile are not stopped for touching the
    terminal. Everything is put back on leaving.
    """

    def __init__(self, handle: Callable[[int], None], *, starts_programs: bool = False) -> None:
        self._handle = handle
        self._starts_programs = starts_programs
        self._saved: dict[int, Any] = {}
        self._saved_wakeup = -1

    @property
    def works(self) -> bool:
        return bool(self._saved)

    def __enter__(self) -> Self:
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            self._install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.works:
            signal.set_wakeup_fd(self._saved_wakeup)
        for number, handler in self._saved.items():
            # None stands for a handler that C code installed, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._saved.clear()
        self._woken.close()
        self._waker.close()

    def fileno(self) -> int:
        return self._woken.fileno()

    def clear(self) -> None:
        """Makes `fileno()` unreadable. Look at what the signals changed after this, not before."""
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            return

    def _install(self) -> None:
        self._saved_wakeup = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._set(number, self._on_signal)
        if self._starts_programs:
            # A handler is enough to wake us. An ignored SIGCHLD, which we may have inherited,
            # would also make the kernel forget exit statuses.
            self._set(signal.SIGCHLD, _look_again)
            # Programs inherit what is ignored. In a process group of their own they count as
            # background jobs, and would stop for good when they read from the terminal or set
            # its modes.
            self._set(signal.SIGTTIN, signal.SIG_IGN)
            self._set(signal.SIGTTOU, signal.SIG_IGN)

    def _set(self, number: int, handler: Callable[[int, FrameType | None], None] | int) -> None:
        self._saved[number] = signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._handle(number)


def _look_again(_number: int, _frame: FrameType | None) -> None:
    """The waiting thread is awake by now, and looks by itself."""
