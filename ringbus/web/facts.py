"""What lines tell, whoever printed them: facts, and reading fields of any shape. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

LAST_NS = 4 * 10**18  # in the year 2096: what is later is no time
LONGEST = 160  # characters of words
FOR_PERMISSION = "for permission: "
_FIRST_OF_MILLISECONDS = 1e11  # larger numbers are no seconds


class Call(Struct, frozen=True):
    """A tool runs from here on; `words` say which and on what."""

    id: str
    words: str


class Result(Struct, frozen=True):
    """The call of this id is over."""

    id: str


class Doing(Struct, frozen=True):
    """What it does while no tool runs."""

    words: str


class Ask(Struct, frozen=True):
    """It waits for somebody, as `words` say."""

    words: str


class Limit(Struct, frozen=True):
    """It may not go on before `until_ns`, nobody knows when if that is None; `why` in words."""

    until_ns: int | None
    why: str


class Trouble(Struct, frozen=True):
    """Something failed; whether the turn does is told at its end.

    With `is_kind` the words are no more than what such failures are called.
    """

    words: str
    is_kind: bool = False


class Folder(Struct, frozen=True):
    """A session begins, and works in this folder; empty if it does not tell."""

    path: str


class Tokens(Struct, frozen=True):
    """What went in, caches included, and came out.

    Of the request that `message` names, told again with each of its lines; of all of a `thread` so
    far; with `is_sum` of all that was told one by one since the last sum; else of one more request.
    """

    into: int | None
    out: int | None
    message: str | None = None
    thread: str | None = None
    is_sum: bool = False


class Cost(Struct, frozen=True):
    """US dollars of one more request, or of all of a `session` so far."""

    usd: float
    session: str | None = None


Fact: TypeAlias = Call | Result | Doing | Ask | Limit | Trouble | Folder | Tokens | Cost


_TELLING = (
    "command", "file_path", "filePath", "absolute_path", "notebook_path", "pattern", "path",
    "description", "url", "query", "skill",
)  # fmt: skip
_NAMES = {
    "run_shell_command": "Bash", "bash": "Bash", "shell": "Bash", "shellToolCall": "Bash",
    "Execute": "Bash", "read_file": "Read", "read": "Read", "view": "Read", "write_file": "Write",
    "write": "Write", "replace": "Edit", "edit": "Edit", "search_file_content": "Grep",
    "grep": "Grep", "glob": "Glob",
}  # fmt: skip


def describe_call(name: str, given: Any) -> str:
    """A tool call in one short line."""
    fields = as_object(given)
    name = _NAMES.get(name, name)
    server = name.split("__", 2)
    if len(server) == 3 and server[0] == "mcp":
        name = f"{server[1]} {server[2]}"
    told = next((fields[key] for key in _TELLING if isinstance(fields.get(key), str)), "")
    sign = "$ " if name == "Bash" and told.strip() else ""
    return first_line(f"{name[:LONGEST]} {sign}{first_line(told)}")


def nearer(words: str, folder: str) -> str:
    """A call in words, with a path that lies below the folder from there on."""
    base = folder.rstrip("/")
    name, _, path = words.partition(f" {base}/")
    is_path = " " not in name.removeprefix(FOR_PERMISSION)
    return f"{name} {path.lstrip('/')}" if base and path.strip("/") and is_path else words


def first_line(text: str) -> str:
    """The first line that says something, shortened; half of a surrogate pair says nothing."""
    line = text[:8000].strip().partition("\n")[0].strip()[:LONGEST]
    return line.encode(errors="replace").decode()


# --- fields of any shape ----------------------------------------------------------------------


def moment_ns(value: Any) -> int | None:
    """A time given in seconds or milliseconds since 1970."""
    number = as_number(value) or 0
    nanoseconds = int(number * (1e6 if number > _FIRST_OF_MILLISECONDS else 1e9))
    return nanoseconds if 0 < nanoseconds < LAST_NS else None


def as_object(value: Any) -> dict[str, Any]:
    """The object, empty where it is none."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """The text, empty where it is none."""
    return value if isinstance(value, str) else ""


def as_number(value: Any) -> float | None:
    """The number from 0 on; None where it is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 1e18 else None


def as_count(value: Any) -> int | None:
    """The same as a whole number."""
    number = as_number(value)
    return None if number is None else int(number)


def as_sum(*values: Any) -> int | None:
    """The sum of those that are numbers; None where none is."""
    counts = [count for value in values if (count := as_count(value)) is not None]
    return sum(counts) if counts else None


def tokens_in_of(usage: dict[str, Any]) -> int | None:
    """What went in, told apart by whether a cache had it."""
    cached = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    return as_sum(usage.get("input_tokens"), *cached)
