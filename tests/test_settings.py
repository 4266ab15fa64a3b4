"""Names, places and environment variables."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ringbus import settings
from ringbus.settings import Retention

VARIABLES = [
    "RINGBUS_STATE",
    "RINGBUS_EVENTS_DB",
    "HYPERHIVE_EVENTS_DB",
    "RINGBUS_HISTORY",
    "RINGBUS_HISTORY_DAYS",
    "RINGBUS_HISTORY_BYTES",
    "RINGBUS_SIZE",
    "RINGBUS_MODE",
    "RINGBUS_GROUP",
    "RINGBUS_POLICY",
    "RINGBUS_TOKEN",
    "XDG_STATE_HOME",
]


@pytest.fixture(autouse=True, params=["unset", "empty"])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs twice: an empty variable has to be like one that is unset."""
    monkeypatch.setenv("HOME", "/home/someone")
    for name in VARIABLES:
        if request.param == "empty":
            monkeypatch.setenv(name, "")
        else:
            monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    """Without any variable everything has its documented value."""
    assert settings.env("RINGBUS_TOKEN") is None
    assert settings.token() is None
    assert settings.state_dir() == Path("/home/someone/.local/state/ringbus")
    assert settings.events_db_override() is None
    assert settings.ring_size() == 4 * 1024 * 1024
    assert (settings.ring_mode(), settings.ring_group()) == (0o600, None)
    assert settings.policy() == "block"
    assert settings.retention() == Retention(rows=10_000_000, days=30.0, bytes=2 * 1024**3)


@pytest.mark.parametrize("name", ["a", "7", "agent-7", "A.b_c-D", "a" * 64, "a.sqlite"])
def test_agent_names(name: str) -> None:
    """Letters, digits, dot, underscore and hyphen, 64 at most."""
    assert settings.check_agent_name(name) == name
    assert settings.history_path(name, Path("/s")) == Path(f"/s/{name}.sqlite")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".a", "-a", "_a", "a/b", "../a", "a b", "a\n", "a\0", "é", "\u0661", "a" * 65],
)
def test_bad_agent_names_are_refused(name: str) -> None:
    """No name leads out of the state folder; the message tells the rule."""
    with pytest.raises(ValueError, match="begin with a letter or digit"):
        settings.check_agent_name(name)
    with pytest.raises(ValueError, match="agent name"):
        settings.history_path(name, Path("/s"))


def test_state_folder_is_chosen_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An argument wins over RINGBUS_STATE, and that over XDG_STATE_HOME."""
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert settings.state_dir() == Path("/xdg/ringbus")
    monkeypatch.setenv("RINGBUS_STATE", "/state")
    assert settings.state_dir() == Path("/state")
    assert settings.state_dir(tmp_path) == tmp_path
    assert settings.state_dir("") == Path("/state")


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes started elsewhere must find the same files."""
    monkeypatch.chdir(tmp_path)
    assert settings.state_dir("here") == tmp_path / "here"
    monkeypatch.setenv("RINGBUS_STATE", "here")
    assert settings.state_dir() == tmp_path / "here"
    monkeypatch.setenv("RINGBUS_EVENTS_DB", "events.db")
    assert settings.events_db_override() == tmp_path / "events.db"


def test_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules for XDG_STATE_HOME say so."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert settings.state_dir() == Path("/home/someone/.local/state/ringbus")


def test_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user nobody knows."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ValueError, match="RINGBUS_STATE"):
        settings.state_dir()


def test_events_database_is_chosen_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable wins over the one of the original."""
    monkeypatch.setenv("HYPERHIVE_EVENTS_DB", "/old.db")
    assert settings.events_db_override() == Path("/old.db")
    monkeypatch.setenv("RINGBUS_EVENTS_DB", "/new.db")
    assert settings.events_db_override() == Path("/new.db")


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("64K", 65536), ("4M", 4 << 20), ("1g", 1 << 30), ("1G", 1 << 30)],
)
def test_ring_sizes(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    """Bytes, or a number with a unit."""
    monkeypatch.setenv("RINGBUS_SIZE", text)
    assert settings.ring_size() == size


def test_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken as it stands."""
    monkeypatch.setenv("RINGBUS_POLICY", "drop")
    assert settings.policy() == "drop"


def test_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Space around it does not count; one that can be guessed is refused, and not repeated."""
    monkeypatch.setenv("RINGBUS_TOKEN", " s3cret-16-letter ")
    assert settings.token() == "s3cret-16-letter"
    monkeypatch.setenv("RINGBUS_TOKEN", "   ")
    assert settings.token() is None
    monkeypatch.setenv("RINGBUS_TOKEN", " s3cret-15-lettr ")
    with pytest.raises(ValueError, match=r"RINGBUS_TOKEN has 15 .* at least 16") as refused:
        settings.token()
    assert "s3cret" not in str(refused.value)


def test_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, days and bytes each have a variable."""
    monkeypatch.setenv("RINGBUS_HISTORY", "2000")
    monkeypatch.setenv("RINGBUS_HISTORY_DAYS", "0.5")
    monkeypatch.setenv("RINGBUS_HISTORY_BYTES", "100M")
    assert settings.retention() == Retention(rows=2000, days=0.5, bytes=100 << 20)


@pytest.mark.parametrize(
    ("variable", "call", "value"),
    [
        *(
            ("RINGBUS_SIZE", settings.ring_size, value)
            for value in ["0", "32K", "2G", "3M", "65537", "4MB", "4 M", "-4M", "4.0M", "\u0664M"]
        ),
        *(("RINGBUS_POLICY", settings.policy, value) for value in ["Block", "wait", " block"]),
        *(
            ("RINGBUS_HISTORY", settings.retention, value)
            for value in ["0", "-1", "2_000", "2e3", "all", "9" * 5000, " 5"]
        ),
        *(
            ("RINGBUS_HISTORY_DAYS", settings.retention, value)
            for value in ["0", "-1", "nan", "inf", "a month"]
        ),
        *(("RINGBUS_HISTORY_BYTES", settings.retention, value) for value in ["0", "2GB", "x"]),
    ],
)
def test_bad_values_name_variable_value_and_remedy(
    monkeypatch: pytest.MonkeyPatch, variable: str, call: Callable[[], object], value: str
) -> None:
    """Nobody has to search for the setting that was wrong."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=r"set it to .+, or unset it") as refusal:
        call()
    assert variable in str(refusal.value)
    assert repr(value)[:20] in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "mode"), [("600", 0o600), ("0640", 0o640), ("0o660", 0o660), ("777", 0o777)]
)
def test_mode_is_octal(monkeypatch: pytest.MonkeyPatch, text: str, mode: int) -> None:
    """As `chmod` takes it; whether it makes sense for a ring is seen when one is made."""
    monkeypatch.setenv("RINGBUS_MODE", text)
    assert settings.ring_mode() == mode


@pytest.mark.parametrize("text", ["64", "6400", "0x1a4", "689", "rw-r-----", "-640", "0o64"])
def test_mode_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The message names the variable, the value and good ones."""
    monkeypatch.setenv("RINGBUS_MODE", text)
    with pytest.raises(ValueError, match=f"RINGBUS_MODE is '{text}'.* 640 or 660"):
        settings.ring_mode()


@pytest.mark.parametrize(("text", "group"), [("staff", "staff"), ("50", 50), ("5a", "5a")])
def test_group_is_a_name_or_a_number(
    monkeypatch: pytest.MonkeyPatch, text: str, group: str | int
) -> None:
    """Digits alone are a number."""
    monkeypatch.setenv("RINGBUS_GROUP", text)
    assert settings.ring_group() == group
