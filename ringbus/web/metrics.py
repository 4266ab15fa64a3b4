"""`/metrics`. The figures live in the rings: they are read at each scrape, counted nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ringbus.agents import agents
from ringbus.web.rings import ring_stats
from ringbus.web.streams import Streams


def exposition(state: Path, streams: Streams) -> bytes:
    """The Prometheus text for all agents of this machine and state folder."""
    registry = CollectorRegistry()
    registry.register(_Rings(state))
    registry.register(_Clients(streams))
    return generate_latest(registry)


class _Rings(Collector):
    def __init__(self, state: Path) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        tail = GaugeMetricFamily(
            "ringbus_ring_tail_seq", "One past the newest seq in the ring.", labels=["agent"]
        )
        floor = GaugeMetricFamily(
            "ringbus_ring_floor_seq", "The oldest seq still in the ring.", labels=["agent"]
        )
        lag = GaugeMetricFamily(
            "ringbus_gate_lag_events",
            "Events between a gate and the tail; for the gate history, not stored yet.",
            labels=["agent", "gate"],
        )
        for agent in agents(self._state):
            stats = ring_stats(agent)
            if stats is None:
                continue
            tail.add_metric([agent], stats.tail)
            floor.add_metric([agent], stats.floor)
            for gate in stats.gates:
                lag.add_metric([agent, gate.name], gate.lag)
        return [tail, floor, lag]


class _Clients(Collector):
    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "ringbus_sse_clients", "Event streams open now.", value=self._streams.open
        )
        yield CounterMetricFamily(
            "ringbus_sse_connects", "Event streams opened so far.", value=self._streams.opened
        )
