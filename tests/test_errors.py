"""The exception tree."""

import copy
import pickle
import re

import pytest

from ringbus import errors

ALL = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, errors.RingbusError)
]
WITH_ATTRIBUTES = [
    (errors.RecordTooLarge("too long", published=3), {"published": 3}),
    (
        errors.BackPressure("gate history", gate="history", lag=64, published=2),
        {"gate": "history", "lag": 64, "published": 2},
    ),
    (errors.Lapped(missed=5, next_seq=17), {"missed": 5, "next_seq": 17}),
]


def test_docstring_draws_every_exception() -> None:
    """The tree in the docstring names each exception of the module, and no other."""
    drawn = re.findall(r"^ +(?:\| +)?(?:\+-- )?(\w+)(?:  .*)?$", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [error.__name__ for error in ALL]


@pytest.mark.parametrize("error", ALL)
def test_every_exception_is_a_ringbus_error(error: type[Exception]) -> None:
    """One `except RingbusError` catches all of them."""
    assert issubclass(error, errors.RingbusError)


def test_forked_handle_counts_as_closed() -> None:
    """Code that expects a closed ring meets a forked one the same way."""
    assert issubclass(errors.RingForked, errors.RingClosed)


@pytest.mark.parametrize(("error", "attributes"), WITH_ATTRIBUTES)
def test_attributes_survive_pickle_and_copy(
    error: errors.RingbusError, attributes: dict[str, object]
) -> None:
    """What an exception carries goes with it to another process."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert {name: getattr(twin, name) for name in attributes} == attributes


def test_plain_exceptions_and_their_notes_survive_pickle() -> None:
    """An exception without attributes of its own keeps its message and notes."""
    error = errors.RingNotFound("no ring named x")
    error.add_note("while opening")
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(twin), str(twin)) == (errors.RingNotFound, "no ring named x")
    assert twin.__notes__ == ["while opening"]


def test_lapped_has_a_message_of_its_own() -> None:
    """Who is lapped reads how much is lost and where reading goes on."""
    assert "missed 5 records" in str(errors.Lapped(missed=5, next_seq=17))
    assert "17" in str(errors.Lapped(missed=5, next_seq=17))
    assert str(errors.Lapped("ring x", missed=5, next_seq=17)) == "ring x"


def test_nothing_is_published_unless_said() -> None:
    """Outside `emit_many` the count of what is already out is 0."""
    assert errors.RecordTooLarge("too long").published == 0
    pressure = errors.BackPressure("full")
    assert (pressure.published, pressure.gate, pressure.lag) == (0, None, None)
