"""How many records get from one process to three others in a second, each of which gets all.

                  +--> [reader]
    [emitter] --> ring --> [reader]          one emit for each record
                  +--> [reader]

Where a record that is read is gone for others, the emitter sends it three times.
"""

from __future__ import annotations

from benchmarks.harness import Options, Result, Scenario
from benchmarks.throughput import Goal, throughput
from benchmarks.transports import Shape

GOALS = (Goal("pyzmq PUB/SUB", 5),)
SIZES = (256, 16384)
NOTE = "Records that each of the three got; nobody is pinned to a core."


def run(options: Options) -> Result:
    shapes = [Shape(1, 3, size) for size in options.sizes(SIZES)]
    return throughput(shapes, GOALS, options, [NOTE])


SCENARIO = Scenario("One emitter process to three readers, each gets all", run, cores=4)
