"""`Course`: good(t), the share of good requests by scheduled arrival in buckets. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmlocust.analysis.arrays import Bools, Floats
from llmlocust.analysis.faults.requests import Requests


@dataclass(frozen=True)
class Course:
    """Buckets of requests, one after another."""

    began: float
    width: float
    total: Floats
    """Requests of each bucket, weighted."""
    good: Floats
    rows: Floats
    """Requests of each bucket that were observed. A run may record a sample of its requests."""
    off: Floats

    @property
    def starts(self) -> Floats:
        return np.asarray(self.began + self.width * np.arange(len(self.total)))

    @property
    def share(self) -> Floats:
        """good(t); NaN for a bucket without requests."""
        return _ratio(self.good, self.total)

    def windows(self, seconds: float) -> Floats:
        """Return the share of good requests in each window of buckets; NaN for a window without requests."""
        size = max(1, round(seconds / self.width))
        if len(self.total) < size:
            return np.array([])
        ones = np.ones(size)
        return _ratio(np.convolve(self.good, ones, "valid"), np.convolve(self.total, ones, "valid"))


def course_of(
    requests: Requests, is_known: Bools, is_good: Bools, is_off: Bools, began: float, ended: float, width: float = 1.0
) -> Course:
    """Return the course between two moments. Its last bucket is complete. Requests without a known outcome are left out."""
    count = max(0, int((ended - began) / width + 1e-9))
    places = np.floor((requests.due - began) / width + 1e-9).astype(int)
    is_inside = (places >= 0) & (places < count) & is_known
    places, weight = places[is_inside], requests.weight[is_inside]

    def counts(values: Floats) -> Floats:
        return np.asarray(np.bincount(places, values, minlength=count), dtype=float)

    return Course(
        began=began,
        width=width,
        total=counts(weight),
        good=counts(weight * is_good[is_inside]),
        rows=counts(np.ones(len(places))),
        off=counts(is_off[is_inside].astype(float)),
    )


def _ratio(good: Floats, total: Floats) -> Floats:
    return np.asarray(np.where(total > 0, good / np.maximum(total, 1e-12), math.nan))
