"""What is looked at whenever metrics are exported: queues, indexes, budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation

from common.telemetry._switch import active

Reading = tuple[float, Mapping[str, str]]
"""A value now, and the labels it goes by. Labels come from a fixed set: lanes, states; never from what callers send."""


def observe(name: str, read: Callable[[], Iterable[Reading]], *, unit: str, description: str) -> None:
    """Reports what `read` returns as gauges. Does nothing while observation is off.

    `read` is called from another thread and must be quick. Call this once for a name while the process runs.
    """
    live = active()
    if live is not None:

        def readings(_: CallbackOptions) -> Iterable[Observation]:
            try:
                return [Observation(value, labels) for value, labels in read()]
            except RuntimeError:
                return []  # what is read changed meanwhile; the next export has it

        live.meter.create_observable_gauge(name, [readings], unit, description)
