"""The duration of the engine's steps: their work, and everything that slows it down. Pure: time is an argument, in seconds.

A step has two kinds of work. `step_ms` and `step_ms_per_seq` are reads of the weights and of the cache: the memory limits
them. `prefill_ms_per_token` and `compute_ms_per_token` are computation. Prompts are read after the rest, and add to it. The
other computation overlaps with the reads of memory, so the longer of the two counts.
"""

from math import inf
from typing import NamedTuple

from llmlocust.simulator.settings import Settings


class Work(NamedTuple):
    """The work of one step, and the time that it takes."""

    began: float
    due: float
    read: int  # tokens of prompts
    memory_seconds: float  # limited by the memory of the GPU
    compute_seconds: float  # limited by its computation
    clock: float  # share of the full clock


class Pace:
    """Remembers how long the GPU has been in use, on which its speed depends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._first = inf
        self._heat, self._cooled_until = 0.0, 0.0
        """Busy seconds minus idle seconds, and the time up to which they are counted."""

    def work(self, now: float, running: int, read: int, produced: int) -> Work:
        """Return the work of a step that begins now: it reads tokens of prompts, and produces tokens of answers."""
        settings = self._settings
        memory = settings.step_seconds(running)
        prefill = read * settings.prefill_ms_per_token / 1e3
        compute = max((read + produced) * settings.compute_ms_per_token / 1e3, prefill)
        clock = self._clock(now)
        seconds = max(memory + prefill, compute) * self._slowdown(now) / clock
        self._heat += seconds
        self._cooled_until = now + seconds
        return Work(now, now + seconds, read, memory, compute, clock)

    def _clock(self, now: float) -> float:
        limit = self._settings.power_cap_after_s
        # a GPU that is idle cools as fast as it heats up; it does not get hotter than twice the limit
        self._heat = max(min(self._heat, 2 * limit) - max(now - self._cooled_until, 0.0), 0.0)
        return self._settings.power_cap_factor if limit and self._heat >= limit else 1.0

    def _slowdown(self, now: float) -> float:
        settings = self._settings
        self._first = min(self._first, now)
        is_cold = now < self._first + settings.cold_start_s
        return (settings.cold_start_factor if is_cold else 1.0) / (1.0 - settings.tenant_share)
