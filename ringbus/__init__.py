"""ringbus: events of many processes, live and afterwards.

    bus = ringbus.Bus("agent-7")
    bus.emit(ringbus.Note("hello"))

A ring in shared memory carries the events, a persister writes them to SQLite, and everybody follows
both at a cursor of their own: contiguous, or with an explicit gap.
"""

from importlib.metadata import version

from ringbus._native import Record
from ringbus.bus import Bus
from ringbus.errors import (
    BackPressure,
    EventError,
    GateTaken,
    HistoryError,
    IncompatibleRing,
    Lapped,
    LimitReached,
    NoSpace,
    NotPermitted,
    RecordTooLarge,
    RingbusError,
    RingClosed,
    RingExists,
    RingForked,
    RingNotFound,
    RingUnlinked,
)
from ringbus.events import Envelope, Event, Gap, Note, Reset, Stream, TurnEnd, TurnStart
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.persister import Persister
from ringbus.ring import Ring, list_rings, unlink
from ringbus.ring.stats import RingStats
from ringbus.ring.subscriber import Subscriber

__version__ = version("ringbus")

__all__ = [
    "BackPressure",
    "Bus",
    "Envelope",
    "Event",
    "EventError",
    "Follow",
    "Gap",
    "GateTaken",
    "History",
    "HistoryError",
    "IncompatibleRing",
    "Lapped",
    "LimitReached",
    "NoSpace",
    "NotPermitted",
    "Note",
    "Persister",
    "Record",
    "RecordTooLarge",
    "Reset",
    "Ring",
    "RingClosed",
    "RingExists",
    "RingForked",
    "RingNotFound",
    "RingStats",
    "RingUnlinked",
    "RingbusError",
    "Stream",
    "Subscriber",
    "TurnEnd",
    "TurnStart",
    "__version__",
    "list_rings",
    "unlink",
]
