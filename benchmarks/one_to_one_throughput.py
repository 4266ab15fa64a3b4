"""How many records get from one process to another in a second.

    [emitter] --> ring --> [reader]          one emit for each record

Nothing may be lost: the reader has a gate, and the emitter waits when it is a whole ring ahead.
"""

from __future__ import annotations

from benchmarks.harness import Options, Result, Scenario
from benchmarks.rings import SIZES
from benchmarks.throughput import Goal, throughput
from benchmarks.transports import Shape

GOALS = (
    Goal("pyzmq PUB/SUB", 8),
    Goal("quick-queue", 3),
    Goal("Unix datagram", 2, size=16384),
)
NOTE = "Every record was compared; the comparison is part of all rows."


def run(options: Options) -> Result:
    shapes = [Shape(1, 1, size) for size in options.sizes(SIZES)]
    return throughput(shapes, GOALS, options, [NOTE])


SCENARIO = Scenario("One emitter process to one reader process, all delivered", run, cores=2)
