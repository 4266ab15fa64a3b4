"""Who may use a ring: mode and group of its file."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest
from helpers import Child
from others import GROUP, become_other, need_root

import ringbus
from ringbus import NotPermitted, Ring


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/ringbus.{name}")


def permissions(name: str) -> int:
    return stat.S_IMODE(file_of(name).stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644, 0o666, 0o606])
def test_mode_is_what_was_asked_for_whatever_the_umask(
    ring_name: str, mode: int, umask: int
) -> None:
    """The umask neither widens nor narrows it."""
    before = os.umask(umask)
    try:
        with Ring.create(ring_name, size=64 << 10, mode=mode) as ring:
            assert permissions(ring_name) == mode
            assert ring.emit(b"x") == 0
    finally:
        os.umask(before)


def test_ring_is_its_creators_alone_unless_asked(ring: Ring) -> None:
    """Mode 0600 and the creator's own group."""
    status = file_of(ring.name).stat()
    assert (permissions(ring.name), status.st_uid, status.st_gid) == (
        0o600,
        os.geteuid(),
        os.getegid(),
    )


@pytest.mark.parametrize(
    "mode", [0, 0o400, 0o440, 0o700, 0o755, 0o620, 0o602, 0o650, 0o1600, 0o4600, -1, 640]
)
def test_mode_that_makes_no_sense_is_refused(ring_name: str, mode: int) -> None:
    """A ring is read, or read and written; the message gives good ones, and nothing is made."""
    with pytest.raises(ValueError, match=r"mode -?0o.* is none that a ring can have.*0o640"):
        Ring.create(ring_name, size=64 << 10, mode=mode)
    assert not file_of(ring_name).exists()


@pytest.mark.parametrize(
    ("group", "mode", "why"),
    [
        ("no-such-group", 0o640, "no group 'no-such-group' on this machine.*getent group"),
        (-5, 0o640, "group -5 is no number of a group"),
        (2**32, 0o640, "is no number of a group"),
        ("root", None, "group 'root' gets no access by mode 0o600: take 0o640"),
        (0, 0o604, "group 0 gets no access by mode 0o604"),
    ],
)
def test_group_that_makes_no_sense_is_refused(
    ring_name: str, group: str | int, mode: int | None, why: str
) -> None:
    """The message names it and says what to do, and nothing is made."""
    with pytest.raises(ValueError, match=why):
        Ring.create(ring_name, size=64 << 10, mode=mode, group=group)
    assert not file_of(ring_name).exists()


def test_group_is_given_by_name_or_number(ring_name: str) -> None:
    """And is set before anybody finds the file."""
    need_root()
    for group, number in (("daemon", 1), (GROUP, GROUP)):
        with Ring.open_or_create(ring_name, size=64 << 10, mode=0o660, group=group):
            status = file_of(ring_name).stat()
            assert (permissions(ring_name), status.st_gid) == (0o660, number)
        ringbus.unlink(ring_name)


def test_group_of_others_cannot_be_given(ring_name: str) -> None:
    """Only root may; anybody else gives groups of its own. Nothing is left."""
    need_root()

    def create(child: Child) -> None:
        become_other()
        with pytest.raises(NotPermitted, match=f"{ring_name}.*group 1|daemon.*not in it"):
            Ring.create(ring_name, size=64 << 10, mode=0o640, group=1)
        Ring.create(ring_name, size=64 << 10, mode=0o640, group=GROUP).close()
        ringbus.unlink(ring_name)

    with Child(create) as child:
        child.finish()
    assert not file_of(ring_name).exists()


def test_environment_says_who_shares_new_rings(
    ring_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RINGBUS_MODE and RINGBUS_GROUP, unless an argument says otherwise; a Bus heeds them, too."""
    monkeypatch.setenv("RINGBUS_MODE", "640")
    monkeypatch.setenv("RINGBUS_GROUP", str(os.getegid()))
    with ringbus.Bus(ring_name, size=64 << 10, persister=None, state=tmp_path):
        assert permissions(ring_name) == 0o640
    ringbus.unlink(ring_name)
    with ringbus.Bus(ring_name, size=64 << 10, mode=0o660, persister=None, state=tmp_path):
        assert permissions(ring_name) == 0o660


def test_bad_option_leaves_no_ring(ring_name: str) -> None:
    """Everything is checked before anything is made."""
    for bad in ({"policy": "wait"}, {"limit": -1}, {"colour": "red"}):
        with pytest.raises((ValueError, TypeError), match=next(iter(bad))):
            Ring.create(ring_name, size=64 << 10, **bad)  # type: ignore[arg-type]
        assert not file_of(ring_name).exists()


def test_refusal_pickles_and_is_a_permission_error() -> None:
    """It crosses process boundaries and is caught as either."""
    error = NotPermitted("ring 'x' is read-only")
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(twin, PermissionError)
    assert isinstance(twin, ringbus.RingbusError)
    assert (str(twin), twin.errno) == ("ring 'x' is read-only", errno.EACCES)
