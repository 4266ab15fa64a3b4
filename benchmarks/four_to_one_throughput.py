"""How many records four processes get to one in a second.

    [emitter] --+
    [emitter] --+--> ring --> [reader]          one emit for each record
    [emitter] --+
    [emitter] --+

The reader checks that each emitter's records all come, and in order.
"""

from __future__ import annotations

from benchmarks.harness import Options, Result, Scenario
from benchmarks.throughput import Goal, throughput
from benchmarks.transports import Shape

GOALS = (Goal("pyzmq PUSH/PULL", 4), Goal("quick-queue", 2))
SIZES = (256, 16384)
NOTE = "Records of all four together; nobody is pinned to a core."


def run(options: Options) -> Result:
    shapes = [Shape(4, 1, size) for size in options.sizes(SIZES)]
    return throughput(shapes, GOALS, options, [NOTE])


SCENARIO = Scenario("Four emitter processes to one reader, all delivered", run, cores=5)
