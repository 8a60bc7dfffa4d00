import math
from copy import deepcopy

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.metrics.level_rows import LEVEL_COLUMNS, level_of_row, level_row
from llmlocust.metrics.levels import COUNTED, RATE, USERS, Level, LevelFigures, Summary, Tally
from llmlocust.metrics.vocabulary import ABORTED, CLIENT_KINDS, ERROR_KINDS, OK, QUANTILES

FAILURES = [kind for kind in ERROR_KINDS if kind != ABORTED]
HEADLINE = ["p50", "p95", "p99"]

# ── windows ──


@pytest.mark.parametrize(
    "warmed_up, ended, moment, measured",
    [
        (None, None, 5.0, False),
        (5.0, None, 4.999, False),
        (5.0, None, 5.0, True),
        (5.0, None, 1e9, True),
        (5.0, 10.0, 9.999, True),
        (5.0, 10.0, 10.0, False),
        (None, 10.0, 5.0, False),
        (5.0, 5.0, 5.0, False),
    ],
)
def test_the_window_begins_after_the_warmup_and_ends_before_the_end(warmed_up, ended, moment, measured):
    assert Level(0, 1, warmed_up=warmed_up, ended=ended).measures(moment) == measured


@pytest.mark.parametrize(
    "warmed_up, ended, now, window",
    [(None, None, 9.0, 0.0), (5.0, None, 9.0, 4.0), (5.0, 7.0, 9.0, 2.0), (5.0, None, 4.0, 0.0), (None, 7.0, 9.0, 0.0)],
)
def test_the_window_grows_until_its_end(warmed_up, ended, now, window):
    assert Level(0, 1, warmed_up=warmed_up, ended=ended).window(now) == window


# ── tallies ──


def tally_of(outcomes: dict[str, int], e2e: list[float] = [], **numbers: float) -> Tally:  # noqa: B006  # only read
    tally = Tally()
    tally.outcomes.update(outcomes)
    tally.numbers.update(numbers)
    tally.histogram("e2e").extend(e2e)
    return tally


TALLIES = st.builds(
    tally_of,
    st.dictionaries(st.sampled_from([OK, *ERROR_KINDS]), st.integers(0, 100)),
    st.lists(st.floats(0, 100), max_size=9),
    tokens_in_window=st.integers(0, 1000).map(lambda eighths: eighths / 8),
    chunks=st.integers(0, 9),
)


def content(tally: Tally) -> tuple[dict, dict, dict]:
    """Return all values of a tally except zeros."""
    outcomes, numbers = ({name: n for name, n in counter.items() if n} for counter in (tally.outcomes, tally.numbers))
    return outcomes, numbers, {name: histogram for name, histogram in tally.histograms.items() if histogram.count}


@given(TALLIES, TALLIES, TALLIES)
def test_tallies_merge_in_any_order(a, b, c):
    assert content(Tally.sum([Tally.sum([a, b]), c])) == content(Tally.sum([c, Tally.sum([b, a])]))


@given(TALLIES)
def test_a_packed_tally_is_unpacked_unchanged(tally):
    packed = msgpack.loads(msgpack.dumps(tally.pack()), raw=False, strict_map_key=False)
    unpacked = Tally()
    unpacked.merge_packed(packed)
    assert content(unpacked) == content(tally)


@given(TALLIES, TALLIES)
def test_a_sum_does_not_change_its_parts(a, b):
    before = content(deepcopy(a))
    Tally.sum([a, b]).merge(b)
    assert content(a) == before


# ── figures ──

EXAMPLE = LevelFigures.of(
    Level(2, 20, USERS, began=100.0, warmed_up=105.0, ended=125.0, reached=False),
    tally_of(
        {OK: 8, "http_503": 1, "truncated": 1, ABORTED: 3},
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
        ended=11,
        ended_ok=9,
        tokens_in_window=500.0,
        input_tokens=80,
        output_tokens=400,
        chunks=200,
        coalesced=50,
        counted_chunks=2,
        stalls=3,
    ),
    now=130.0,
    epoch=1_700_000_000.0,
    users=19.5,
)


@pytest.mark.parametrize(
    "figure, value",
    {
        "level": 2,
        "load": 20,
        "unit": "users",
        "users": 19.5,
        "began": 1_700_000_100.0,
        "warmed_up": 1_700_000_105.0,
        "ended": 1_700_000_125.0,
        "window": 20.0,
        "requests": 10,  # without the aborted ones
        "ok": 8,
        "failed": 2,
        "aborted": 3,
        "error_kinds": {"http_503": 1, "truncated": 1},
        "errors": 0.2,
        "throughput": 9 / 20,
        "output_tokens_per_s": 25.0,
        "output_tokens": 50.0,
        "input_tokens": 10.0,
        "coalesced": 0.25,
        "counted_chunks": 0.25,
        "stalls": 3,
        "reached": False,
    }.items(),
)
def test_figures_agree_with_values_computed_by_hand(figure, value):
    assert getattr(EXAMPLE, figure) == value


@pytest.mark.parametrize(
    "figure, seconds",
    {"mean": 0.45, "max": 0.8, "p50": 0.4, "p90": 0.8, "p95": 0.8, "p99": 0.8, "p99_9": 0.8}.items(),
)
def test_durations_agree_with_values_computed_by_hand(figure, seconds):
    assert EXAMPLE.metric("e2e")[figure] == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize("figure, seconds", {"p50": 0.5, "p95": math.inf, "p99": math.inf}.items())
def test_failures_count_as_infinitely_slow_but_aborted_requests_do_not(figure, seconds):
    assert EXAMPLE.metric("e2e").with_failures[figure] == pytest.approx(seconds, rel=0.01)


def test_a_level_without_requests_has_no_numbers():
    empty = LevelFigures.of(Level(0, 5, RATE, began=1.0), Tally(), now=9.0)
    shares = (empty.throughput, empty.output_tokens_per_s, empty.output_tokens, empty.coalesced, empty.errors)
    assert all(map(math.isnan, (*shares, empty.warmed_up, empty.ended, empty.metric("ttft")["p50"])))
    assert (empty.requests, empty.window) == (0, 0.0)


def test_a_level_of_only_failures_is_infinitely_slow():
    failed = LevelFigures.of(Level(0, 5, warmed_up=0.0), tally_of({"reset": 2}), now=9.0)
    assert failed.metric("ttft").with_failures["p50"] == math.inf
    assert (failed.ok, failed.errors, failed.throughput) == (0, 1.0, 0.0)


def test_a_metric_that_was_never_counted_is_not_known():
    assert math.isnan(LevelFigures(0, 1.0).metric("no such metric")["p50"])


# ── rows ──


def test_the_columns_are_those_of_a_row():
    assert list(level_row(EXAMPLE)) == LEVEL_COLUMNS


def test_a_row_has_milliseconds_and_epoch_seconds():
    row = level_row(EXAMPLE)
    cells = {name: row[name] for name in ("began", "e2e_mean", "e2e_count", "e2e_p99_with_failures", "ttft_p50")}
    assert cells == {
        "began": "1700000100",
        "e2e_mean": "450",
        "e2e_count": "8",
        "e2e_p99_with_failures": "inf",
        "ttft_p50": "",
    }


COUNTS = st.integers(0, 10**9)
MAYBE = st.floats(0, 1e7) | st.just(math.nan)
SUMMARIES = st.builds(
    Summary,
    COUNTS,
    MAYBE,
    MAYBE,
    st.fixed_dictionaries(dict.fromkeys(QUANTILES, MAYBE)),
    st.fixed_dictionaries(dict.fromkeys(HEADLINE, st.tuples(MAYBE, MAYBE))),
    st.fixed_dictionaries(dict.fromkeys(HEADLINE, MAYBE | st.just(math.inf))),
)
FIGURES = st.builds(
    LevelFigures,
    COUNTS,
    st.floats(0, 1e6),
    st.sampled_from([USERS, RATE]),
    users=MAYBE,
    began=st.floats(1.7e9, 1.9e9),
    warmed_up=st.floats(1.7e9, 1.9e9) | st.just(math.nan),
    ended=st.floats(1.7e9, 1.9e9) | st.just(math.nan),
    window=MAYBE,
    requests=COUNTS,
    ok=COUNTS,
    aborted=COUNTS,
    retries=COUNTS,
    retried=st.dictionaries(st.sampled_from(FAILURES), st.integers(1, 10**9)),
    error_kinds=st.dictionaries(st.sampled_from(FAILURES), st.integers(1, 10**9)),
    throughput=MAYBE,
    output_tokens_per_s=MAYBE,
    output_tokens=MAYBE,
    input_tokens=MAYBE,
    coalesced=MAYBE,
    counted_chunks=MAYBE,
    stalls=COUNTS,
    reached=st.booleans(),
    metrics=st.fixed_dictionaries(dict.fromkeys(COUNTED, SUMMARIES)),
)


@given(FIGURES)
def test_a_row_is_read_back_as_it_was_written(figures):
    assert level_row(level_of_row(level_row(figures))) == level_row(figures)


def close(value: object) -> object:
    return pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value


@given(FIGURES)
def test_figures_read_from_a_row_are_the_figures_that_were_written(figures):
    read = level_of_row(level_row(figures))
    plain = {name for name in LevelFigures.__dataclass_fields__ if name not in ("metrics", "began")}
    assert {name: getattr(read, name) for name in plain} == {name: close(getattr(figures, name)) for name in plain}
    assert read.began == pytest.approx(figures.began, abs=1e-3)
    assert read.metrics["itl"].quantiles == {name: close(figures.metrics["itl"][name]) for name in QUANTILES}


def test_intervals_are_read_from_a_row():
    summary, read = EXAMPLE.metric("e2e"), level_of_row(level_row(EXAMPLE)).metric("e2e")
    assert read.intervals == {name: pytest.approx(summary.intervals[name]) for name in HEADLINE}


def test_missing_columns_give_unknown_figures():
    read = level_of_row({"level": "3", "load": "7.5", "throughput": ""})
    assert (read.level, read.load, read.requests, read.reached, math.isnan(read.throughput)) == (3, 7.5, 0, True, True)


@pytest.mark.parametrize("cell", ["level", "load", "requests", "e2e_p50", "error_reset"])
def test_a_cell_that_is_no_number_is_an_error(cell):
    with pytest.raises(ValueError):
        level_of_row({"level": "3", "load": "7", cell: "x"})


@pytest.mark.parametrize("missing", ["level", "load"])
def test_a_row_without_level_or_load_is_an_error(missing):
    row = level_row(EXAMPLE)
    del row[missing]
    with pytest.raises(ValueError, match=missing):
        level_of_row(row)


@pytest.mark.parametrize("columns", range(2, len(LEVEL_COLUMNS)))
def test_a_truncated_row_has_the_figures_of_its_cells(columns):
    row = {name: cell if place < columns else None for place, (name, cell) in enumerate(level_row(EXAMPLE).items())}
    read = level_of_row(row)
    assert level_row(read) == {name: cell if cell is not None else level_row(read)[name] for name, cell in row.items()}


# ── requests that never reached the server ──


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_requests_that_never_reached_the_server_do_not_count_as_errors(kind):
    tally = tally_of({OK: 8, "http_503": 2, kind: 30, ABORTED: 1}, [0.1] * 8)
    figures = LevelFigures.of(Level(0, 5, warmed_up=0.0, ended=10.0), tally, 10.0)

    assert (figures.requests, figures.failed, figures.unsent, figures.attempted) == (10, 2, 30, 40)
    assert figures.errors == 0.2
    assert figures.error_kinds == {"http_503": 2, kind: 30}
    # 2 of 10 count as infinitely slow: p50 is finite, and p99 is infinite
    assert figures.metric("e2e").with_failures["p50"] == pytest.approx(0.1, rel=0.01)
    assert figures.metric("e2e").with_failures["p99"] == math.inf
    assert level_of_row(level_row(figures)).errors == 0.2


def test_a_level_without_requests_at_the_server_has_no_error_rate():
    figures = LevelFigures.of(Level(0, 5, warmed_up=0.0, ended=10.0), tally_of({"network": 30}), 10.0)

    assert math.isnan(figures.errors)
    assert math.isnan(figures.metric("e2e").with_failures["p99"])


def test_times_of_a_level_have_the_precision_of_request_times():
    row = level_row(LevelFigures(0, 5.0, began=1796046892.141, warmed_up=1796046894.1429964, ended=1796046896.144))
    assert (row["began"], row["warmed_up"], row["ended"]) == ("1796046892.141", "1796046894.142996", "1796046896.144")
