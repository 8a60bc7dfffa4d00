"""`Requests`: the requests of a run as arrays, by scheduled arrival. Pure.

A request belongs to the moment at which it was due, so the time in which a stalled client could not send counts. Rows may be
a sample: each represents `weight` requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from llmlocust.analysis.arrays import Bools, Floats, Texts
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import ABORTED, CLIENT_KINDS, OK

WRONG_SUCCESS = "wrong_success"
"""Key of answers whose status says success, but whose text is empty or has no end."""
_EMPTY_ANSWER = "empty_answer"
_USUAL = 0.5
"""Share of the successful answers with a finish reason, above which an answer without one is cut."""


@dataclass(frozen=True)
class Requests:
    """First attempts and what became of them. Moments are epoch seconds, durations seconds; NaN where not known."""

    due: Floats
    """Scheduled arrival. All arrays are in its order."""
    ended: Floats
    outcome: Texts
    ttft: Floats
    """From the scheduled arrival."""
    tpot: Floats
    e2e: Floats
    """From the scheduled arrival."""
    tokens: Floats
    """Tokens that the client received."""
    is_cut: Bools
    """Whether the request failed after its first token."""
    is_wrong: Bools
    """Whether the answer is a wrong success."""
    weight: Floats
    attempts: Floats
    """Attempts of the client, the first one included."""
    meets: Bools
    """Whether a successful request meets every threshold; True without thresholds."""
    is_judged: bool
    """Whether thresholds were given. Otherwise the baseline decides which requests are good."""

    def __len__(self) -> int:
        return len(self.due)

    @classmethod
    def of(
        cls,
        due: Sequence[float] | Floats,
        duration: Sequence[float] | Floats,
        outcome: Sequence[str] | Texts,
        *,
        ttft: Sequence[float] | Floats | None = None,
        tpot: Sequence[float] | Floats | None = None,
        tokens: Sequence[float] | Floats | None = None,
        is_cut: Sequence[bool] | Bools | None = None,
        is_wrong: Sequence[bool] | Bools | None = None,
        weight: Sequence[float] | Floats | None = None,
        attempts: Sequence[float] | Floats | None = None,
        meets: Sequence[bool] | Bools | None = None,
    ) -> Self:
        """Make requests from arrays in any order. Durations count from the scheduled arrival."""
        moments = np.asarray(due, dtype=float)
        order = np.argsort(moments, kind="stable")

        def floats(values: Sequence[float] | Floats | None, default: float) -> Floats:
            return np.full(len(moments), default) if values is None else np.asarray(values, dtype=float)[order]

        def flags(values: Sequence[bool] | Bools | None, default: bool) -> Bools:
            return np.full(len(moments), default) if values is None else np.asarray(values, dtype=bool)[order]

        outcomes = np.asarray(outcome, dtype=object)[order]
        is_ok, lengths = outcomes == OK, floats(duration, math.nan)
        first = floats(ttft, math.nan)
        return cls(
            due=moments[order],
            ended=moments[order] + lengths,
            outcome=outcomes,
            ttft=first,
            tpot=floats(tpot, math.nan),
            e2e=np.where(is_ok, lengths, math.nan),
            tokens=np.nan_to_num(floats(tokens, 0.0)),
            is_cut=~is_ok & ~np.isnan(first) if is_cut is None else flags(is_cut, default=False),
            is_wrong=flags(is_wrong, default=False),
            weight=floats(weight, 1.0),
            attempts=floats(attempts, math.nan),
            meets=flags(meets, default=True),
            is_judged=meets is not None,
        )

    @classmethod
    def of_frame(cls, rows: pd.DataFrame, thresholds: Sequence[Threshold] = ()) -> Self:
        """Make requests from the rows of a requests file (REQUEST_COLUMNS, milliseconds), judged by thresholds.

        A column `attempts` is used if the frame has one. Rows without a moment, a duration or an outcome are left out.
        """
        rows = rows[rows["sent"].notna() & rows["duration"].notna() & rows["outcome"].notna()]
        delay = _column(rows, "delay").fillna(0.0) / 1000.0
        seconds = {key: _column(rows, key) / 1000.0 for key in ("ttft", "tpot", "duration")}
        tokens, chunks = _column(rows, "output_tokens"), _column(rows, "chunks")
        is_ok = rows["outcome"] == OK
        return cls.of(
            due=(rows["sent"] - delay).to_numpy(dtype=float),
            duration=(seconds["duration"] + delay).to_numpy(dtype=float),
            outcome=rows["outcome"].to_numpy(dtype=object),
            ttft=(seconds["ttft"] + delay).to_numpy(dtype=float),
            tpot=seconds["tpot"].to_numpy(dtype=float),
            tokens=tokens.fillna(chunks).to_numpy(dtype=float),
            is_cut=(~is_ok & ((chunks > 0) | seconds["ttft"].notna())).to_numpy(dtype=bool),
            is_wrong=_is_wrong(rows, tokens, chunks).to_numpy(dtype=bool),
            weight=_column(rows, "weight").fillna(1.0).clip(lower=1.0).to_numpy(dtype=float),
            attempts=_column(rows, "attempts").to_numpy(dtype=float),
            meets=_meets(rows, thresholds, delay).to_numpy(dtype=bool) if _judge(thresholds) else None,
        )

    def where(self, is_selected: Bools) -> Self:
        """Return the selected requests."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        selected = {name: values[is_selected] for name, values in columns.items() if name != "is_judged"}
        return replace(self, **selected)

    @cached_property
    def is_ok(self) -> Bools:
        """Whether a request has an answer that is one."""
        return np.asarray((self.outcome == OK) & ~self.is_wrong, dtype=bool)

    @cached_property
    def is_aborted(self) -> Bools:
        """Whether the end of the run cut the request off: its outcome is not known."""
        return np.asarray(self.outcome == ABORTED, dtype=bool)

    @cached_property
    def has_failed(self) -> Bools:
        return ~self.is_ok & ~self.is_aborted

    def of_the_server(self) -> Self:
        """Return the requests without those that failed on the load generator."""
        is_clients = pd.Series(self.outcome).isin(CLIENT_KINDS).to_numpy()
        return self.where(~is_clients) if is_clients.any() else self

    def in_flight(self, moments: Floats) -> Floats:
        """Return the requests that were due and had not ended at moments."""
        cumulated = np.concatenate(([0.0], np.cumsum(self.weight)))
        order = np.argsort(self.ended)
        ended = np.concatenate(([0.0], np.cumsum(self.weight[order])))
        begun = cumulated[np.searchsorted(self.due, moments, side="right")]
        return np.asarray(begun - ended[np.searchsorted(self.ended[order], moments, side="right")])


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    if name in rows:
        return pd.to_numeric(rows[name], errors="coerce")
    return pd.Series(math.nan, index=rows.index, dtype=float)


def _is_wrong(rows: pd.DataFrame, tokens: pd.Series, chunks: pd.Series) -> pd.Series:
    """Select answers whose status says success, but that are empty, or lack the finish reason that others have."""
    is_ok = rows["outcome"] == OK
    is_empty = is_ok & (chunks == 0) & (tokens == 0)
    is_unfinished = pd.Series(False, index=rows.index)
    if "finish" in rows and is_ok.any():
        has_finish = rows["finish"].fillna("").astype(str) != ""
        if has_finish[is_ok].mean() >= _USUAL:
            is_unfinished = is_ok & ~has_finish & (chunks > 0)
    return (rows["outcome"] == _EMPTY_ANSWER) | is_empty | is_unfinished


def _judge(thresholds: Sequence[Threshold]) -> bool:
    """Whether thresholds judge single requests."""
    return any(threshold.column is not None for threshold in thresholds)


def _meets(rows: pd.DataFrame, thresholds: Sequence[Threshold], delay: pd.Series) -> pd.Series:
    """Return which requests meet every latency threshold. A value that a request does not have meets its threshold."""
    meets = pd.Series(True, index=rows.index)
    for threshold in thresholds:
        if threshold.column is None:
            continue
        base = METRICS[threshold.metric].from_due
        seconds = _column(rows, base) / 1000.0 + delay if base else _column(rows, threshold.column) / 1000.0
        meets &= seconds.isna() | threshold.met_by(seconds)
    return meets
