"""How many records get from one process to another in a second.

    [emitter] --> ring --> [reader]          256 bytes, one emit for each

Nothing may be lost: the reader has a gate, and the emitter waits when it is a whole ring ahead.
"""

from __future__ import annotations

from benchmarks.baselines.multiprocessing_queue import QueueTransport
from benchmarks.delivery import one_to_one
from benchmarks.harness import Figure, Options, Result, Scenario, round_robin
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.transports import RingTransport

RING = "ringbus"
QUEUE = "multiprocessing.Queue"


def run(options: Options) -> Result:
    count = options.pick(200_000, 5_000)

    def through_ring() -> float:
        with fresh_ring() as ring:
            return one_to_one(RingTransport(ring.name), count)

    def through_queue() -> float:
        return one_to_one(QueueTransport(), count)

    rates = round_robin(
        {RING: through_ring, QUEUE: through_queue},
        options.pick(5, 1),
        warm_ups=options.pick(1, 0),
    )
    figures = [Figure(name, "delivered", "records/s", of) for name, of in rates.items()]
    ratios = [ring / queue for ring, queue in zip(rates[RING], rates[QUEUE], strict=True)]
    figures.append(Figure(RING, f"over {QUEUE}", "times", ratios))
    return Result(
        figures,
        parameters={"payload_bytes": RECORD_BYTES, "records_a_round": count},
        notes=["Every record was compared; the comparison is part of all rows."],
    )


SCENARIO = Scenario("One emitter process to one reader process, all delivered", run, cores=2)
