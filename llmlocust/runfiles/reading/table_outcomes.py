"""Requests and failures of each row of a table. Pure.

Failures and successes are counts, percent, shares from 0 to 1, or rates per second. A whole column has one form, which
its name, a % sign in its cells, or its numbers show. A column that fits several forms, or none, raises ValueError,
whose text is one line: a failure is never read as none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llmlocust.metrics.levels import RATE
from llmlocust.runfiles.reading.table_columns import FAILURES, Column, first, values_of
from llmlocust.runfiles.reading.table_headers import UNCLEAR_ERRORS
from llmlocust.text.message import Message, message

COUNT, PERCENT, SHARE, PER_SECOND = "count", "percent", "share", "per second"
_BY_EXACTNESS = (COUNT, PERCENT, SHARE, PER_SECOND)
_TOLERANCE = 0.01
"""Columns that differ by more than a percentage point contradict each other."""
_CALL = "call it errors_percent, error_rate (a share from 0 to 1), or errors beside a column requests (a count)"


@dataclass
class Outcomes:
    """Counts and shares, row by row; NaN if not known."""

    requests: Sequence[float]
    errors: Sequence[float]
    """Share of the requests that failed."""
    throughput: Sequence[float]
    """Successful requests a second."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was assumed."""


@dataclass(frozen=True)
class _Form:
    """A column and the form of its numbers: COUNT, PERCENT, SHARE or PER_SECOND."""

    column: Column
    name: str
    note: str = ""
    """Sentence about what was assumed; empty if the header or the cells show the form."""

    @property
    def is_part(self) -> bool:
        """Whether the column counts one kind of failures, such as timeouts."""
        return self.column.meaning.rank > 0


@dataclass(frozen=True)
class _Reading:
    """Share of the requests that failed, row by row, according to one column or several."""

    header: str
    errors: Sequence[float]
    notes: Sequence[str] = ()

    def is_known(self) -> bool:
        return not all(math.isnan(share) for share in self.errors)


@dataclass(frozen=True)
class _Row:
    """Counts of a row; NaN if not known."""

    line: int
    requests: float
    estimate: float
    """Requests that succeeded, by throughput and window."""
    ok: float
    failed: float

    def total(self) -> float:
        """Return the number of all requests, by counts alone."""
        if not math.isnan(self.ok + self.failed):
            if self.ok + self.failed > self.requests:
                raise ValueError(
                    f"line {self.line}: {self.ok:g} requests succeeded and {self.failed:g} failed, of {self.requests:g}"
                )
            return self.ok + self.failed
        if not math.isnan(self.requests):
            return self.requests
        return math.nan if math.isnan(self.estimate + self.failed) else round(self.estimate) + self.failed

    def total_with(self, errors: float) -> float:
        """Return the number of all requests; by the share that failed, if only successful ones were counted."""
        if not math.isnan(self.total()):
            return self.total()
        successful = self.estimate if math.isnan(self.ok) else self.ok
        share = 0.0 if math.isnan(errors) else errors
        return successful / (1.0 - share) if share < 1.0 else math.nan

    def share_of(self, failed: float, column: Column) -> float:
        if not failed > 0.0:
            return failed
        if math.isnan(self.total()):
            raise ValueError(f"line {self.line}: {column.header!r} is {failed:g}, of an unknown number of requests")
        if failed > self.total():
            raise ValueError(
                f"line {self.line}: {column.header!r} is {failed:g} of {self.total():g} requests; "
                f"call it errors_percent if it is in percent"
            )
        return failed / self.total()

    def lost_share(self) -> float:
        """Return the share of requests that did not succeed."""
        if self.ok > self.requests:
            raise ValueError(f"line {self.line}: {self.ok:g} requests succeeded, of {self.requests:g}")
        return 1.0 - self.ok / self.total() if self.total() > 0.0 else math.nan


def outcomes_of(columns: Sequence[Column], lines: Sequence[int]) -> Outcomes:
    """Work out requests and failures of all rows. `lines` are their line numbers in the file."""
    return _Table(columns, lines).outcomes()


class _Table:
    def __init__(self, columns: Sequence[Column], lines: Sequence[int]) -> None:
        self._lines = lines
        self._failures = [column for column in columns if column.kind in FAILURES]
        self._successes = [column for column in columns if column.kind == "success" and column.values]
        self._throughput = first(columns, "throughput")
        self._offered = first(columns, RATE)
        self._requests = self._values(first(columns, "requests"))
        windows = self._values(first(columns, "window"))
        self._estimates = [rate * window for rate, window in zip(self._values(self._throughput), windows, strict=True)]

    def _values(self, column: Column | None) -> Sequence[float]:
        return values_of(column, len(self._lines))

    def outcomes(self) -> Outcomes:
        successes, unclear_successes = _sorted_out(self._successes, self._form_of_successes)
        self._ok = self._values(next((form.column for form in successes if form.name == COUNT), None))
        failures, unclear = _sorted_out(self._failures, self._form_of_failures)
        failures.sort(key=lambda form: _BY_EXACTNESS.index(form.name))
        whole = [form for form in failures if not form.is_part]
        parts = [form for form in failures if form.is_part]
        self._rows = self._counted(whole[:1] or parts)
        readings, partial = [self._failed(form) for form in whole], [self._failed(form) for form in parts]
        if partial and not readings:
            readings, partial = [_added(partial)], []
        readings += [self._succeeded(form) for form in successes]
        readings = [reading for reading in readings if reading.is_known()]
        if not readings and (unclear or unclear_successes):
            raise [*unclear, *unclear_successes][0]
        self._refuse_contradictions(readings, partial)
        # a cell that is empty in one column may be filled in another
        errors = [
            _first_known(row)
            for row in zip(*(reading.errors for reading in (*readings, *partial)), self._values(None), strict=True)
        ]
        notes = [*(readings[0].notes if readings else ()), *self._unaccounted(), *self._unused([*failures, *successes])]
        return Outcomes(self._totals(errors), errors, self._successful(whole), notes)

    def _counted(self, failures: Sequence[_Form]) -> list[_Row]:
        counts = [form.column.values for form in failures if form.name == COUNT]
        failed = [_known_sum(values) for values in zip(*counts, strict=True)] if counts else self._values(None)
        rows = zip(self._lines, self._requests, self._estimates, self._ok, failed, strict=True)
        return [_Row(*row) for row in rows]

    def _unaccounted(self) -> Iterator[Message]:
        lost = sum(row.requests - row.total() for row in self._rows if row.requests > row.total())
        if lost:
            yield message(
                "Requests that neither succeeded nor failed are left out ({count} in all).", count=f"{lost:.0f}"
            )

    def _unused(self, forms: Sequence[_Form]) -> Iterator[Message]:
        clear = {id(form.column) for form in forms}
        unclear = [
            column.header for column in (*self._failures, *self._successes) if column.values and id(column) not in clear
        ]
        if unclear:
            yield message("Not used, because it is not clear what it counts: {columns}.", columns=", ".join(unclear))

    def _totals(self, errors: Sequence[float]) -> list[float]:
        return [row.total_with(share) for row, share in zip(self._rows, errors, strict=True)]

    def _successful(self, failures: Sequence[_Form]) -> Sequence[float]:
        """Return successful requests per second. Beside failures per second, requests per second count all requests."""
        failed = next((form.column for form in failures if form.name == PER_SECOND), None)
        if failed is None or self._throughput is None or "success" in self._throughput.meaning.tags:
            return self._values(self._throughput)
        pairs = zip(self._throughput.values, _per_second(failed), strict=True)
        return [rate if math.isnan(lost) else rate - lost for rate, lost in pairs]

    # -- forms

    def _form_of_failures(self, column: Column) -> _Form:
        if not column.values:
            raise ValueError(
                f"{column.header!r} contains words ({column.words[:40]!r}), not numbers of failures; {_CALL}"
            )
        if column.kind == UNCLEAR_ERRORS:
            raise ValueError(f"the meaning of {column.header!r} is not clear; {_CALL}, or leave it out")
        if not any(column.known()):
            return _Form(column, SHARE)
        form = _named_form(column) or _form_of_fractions(column)
        if form is None and not _any_known(self._requests, self._ok, self._estimates):
            raise ValueError(
                f"{column.header!r} goes up to {max(column.known()):g}, of an unknown number of requests; add a column "
                f"requests if these are counts, or call it errors_percent or error_rate"
            )
        return form or _counts(column)

    def _form_of_successes(self, column: Column) -> _Form:
        form = _named_form(column) or _form_of_fractions(column)
        if form is not None:
            return form
        most = max(column.known())
        is_named = bool(column.meaning.tags & {"request", "count", "total"}) or "complet" in column.header.lower()
        shares = [ok / all_ for ok, all_ in zip(column.values, self._requests, strict=True) if all_ > 0.0]
        if is_named:
            return _Form(column, COUNT)
        if most > 100.0 or max(shares, default=0.0) >= 0.5 or (most > 1.0 and self._failures_are_counts()):
            return _counts(column)
        if most <= 1.0:
            return _assumed(column, SHARE)
        if most == 100.0:
            return _assumed(column, PERCENT)
        raise ValueError(
            f"{column.header!r} may be a count or percent; call it successful_requests, success_percent or success_rate"
        )

    def _failures_are_counts(self) -> bool:
        return any(
            column.values
            and column.is_whole()
            and not column.is_percent
            and not column.meaning.tags & {"percent", "rate"}
            for column in self._failures
        )

    # -- shares

    def _failed(self, form: _Form) -> _Reading:
        if form.name == COUNT:
            errors = [
                row.share_of(count, form.column) for row, count in zip(self._rows, form.column.values, strict=True)
            ]
        elif form.name == PER_SECOND:
            errors = self._share_of_rates(form.column)
        else:
            errors = [value * _SCALES[form.name] for value in form.column.values]
        return _Reading(form.column.header, errors, [form.note] if form.note else [])

    def _succeeded(self, form: _Form) -> _Reading:
        if form.name == COUNT:
            errors = [row.lost_share() for row in self._rows]
        else:
            errors = [1.0 - value * _SCALES[form.name] for value in form.column.values]
        return _Reading(form.column.header, errors, [form.note] if form.note else [])

    def _share_of_rates(self, column: Column) -> list[float]:
        all_ = self._values(self._throughput or self._offered)
        failed = _per_second(column)
        if self._throughput is not None and "success" in self._throughput.meaning.tags:
            all_ = [ok + lost for ok, lost in zip(all_, failed, strict=True)]
        for line, lost, rate in zip(self._lines, failed, all_, strict=True):
            if lost > 0.0 and math.isnan(rate):
                raise ValueError(
                    f"line {line}: {column.header!r} is {lost:g}, of unknown requests/s; add a column Requests/s"
                )
            if lost > rate:
                raise ValueError(
                    f"line {line}: {column.header!r} is {lost:g}, of {rate:g} requests/s; check their units"
                )
        return [0.0 if lost == 0.0 else lost / rate for lost, rate in zip(failed, all_, strict=True)]

    def _refuse_contradictions(self, readings: Sequence[_Reading], parts: Sequence[_Reading]) -> None:
        for other in (*readings[1:], *parts):
            for line, share, differs in zip(self._lines, readings[0].errors, other.errors, strict=True):
                is_part = any(other is part for part in parts)
                if differs - share > _TOLERANCE or (share - differs > _TOLERANCE and not is_part):
                    raise ValueError(
                        f"line {line}: by {readings[0].header!r} {share:.2%} of the requests failed, by {other.header!r} "
                        f"{differs:.2%}; leave out the one that is not about failed requests, or call it something else"
                    )


_SCALES = {SHARE: 1.0, PERCENT: 0.01}


def _sorted_out(columns: Sequence[Column], form_of: Callable[[Column], _Form]) -> tuple[list[_Form], list[ValueError]]:
    """Return the forms of the clear columns, and the errors of the others."""
    forms: list[_Form] = []
    unclear: list[ValueError] = []
    for column in columns:
        try:
            forms.append(form_of(column))
        except ValueError as problem:
            unclear.append(problem)
    return forms, unclear


def _named_form(column: Column) -> _Form | None:
    """Return the form that the header or the cells show; None if they do not."""
    tags, most = column.meaning.tags, max(column.known())
    if column.is_percent or "percent" in tags:
        if most > 100.0:
            raise ValueError(f"{column.header!r} goes up to {most:g} %, which is more than all requests")
        return _Form(column, PERCENT)
    if tags & {"per second", "per minute"}:
        return _Form(column, PER_SECOND)
    if tags & {"count", "total"} and "rate" not in tags:
        return None if column.is_whole() else _refuse_fractions(column)
    return _form_of_shares(column) if "rate" in tags else None


def _form_of_fractions(column: Column) -> _Form | None:
    """Return SHARE or PERCENT for a column with fractions; None if all numbers are whole."""
    return None if column.is_whole() else _form_of_shares(column)


def _form_of_shares(column: Column) -> _Form:
    most = max(column.known())
    if most > 100.0:
        raise ValueError(
            f"{column.header!r} goes up to {most:g}, which is neither a share of the requests nor a percentage"
        )
    return _assumed(column, SHARE if most <= 1.0 else PERCENT)


def _refuse_fractions(column: Column) -> _Form:
    example = next(value for value in column.known() if not value.is_integer())
    raise ValueError(
        f"{column.header!r} is {example:g}, and a count is whole; call a share error_rate, percent errors_percent"
    )


def _counts(column: Column) -> _Form:
    return _Form(column, COUNT) if column.meaning.tags & {"count", "total", "request"} else _assumed(column, COUNT)


def _assumed(column: Column, form: str) -> _Form:
    header = column.header
    notes = {
        COUNT: message(
            "The column {column} is read as a count of requests, because its numbers are whole.", column=header
        ),
        SHARE: message(
            "The column {column} is read as a share from 0 to 1, because none of its numbers is above 1.", column=header
        ),
        PERCENT: message(
            "The column {column} is read as percent, because its numbers go up to {most}.",
            column=header,
            most=f"{max(column.known()):g}",
        ),
    }
    return _Form(column, form, notes[form])


def _added(parts: Sequence[_Reading]) -> _Reading:
    """Add up the failures of several kinds."""
    errors = [_known_sum(shares) for shares in zip(*(part.errors for part in parts), strict=True)]
    headers = ", ".join(part.header for part in parts)
    notes = [note for part in parts for note in part.notes]
    sources = message("Failed requests are those of {columns}: no column counts all of them.", columns=headers)
    return _Reading(headers, errors, [*notes, sources])


def _per_second(column: Column) -> list[float]:
    return [value * (column.meaning.scale or 1.0) for value in column.values]


def _known_sum(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else math.nan


def _first_known(values: Sequence[float]) -> float:
    return next((value for value in values if not math.isnan(value)), math.nan)


def _any_known(*columns: Sequence[float]) -> bool:
    return any(not math.isnan(value) for values in columns for value in values)
