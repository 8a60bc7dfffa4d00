"""Reading Prometheus' text format, scrape by scrape."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from llmlocust.observe.exposition import Exposition


def values(exposition, text):
    """Feed a scrape as an account does, and return the values of all series by name and labels."""
    for series, value in exposition.feed(text):
        series.raw = value
    return {
        (series.name, tuple(sorted(series.labels.items()))): series.raw
        for series in exposition.present()
        if not math.isnan(series.raw)
    }


def kinds(exposition):
    return {series.name: series.kind for series in exposition.series.values()}


label_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
numbers = st.floats(allow_nan=False)


@given(st.lists(st.lists(st.tuples(label_values, numbers), min_size=1, max_size=6), min_size=1, max_size=4))
def test_each_scrape_reads_as_prometheus_own_parser_does(scrapes):
    exposition = Exposition()
    for samples in scrapes:
        registry = CollectorRegistry()
        gauge = Gauge("a_gauge", "Help with a # and } in it", ["label", "other"], registry=registry)
        for label, value in samples:
            gauge.labels(label, 'x"\\\n').set(value)
        text = generate_latest(registry)
        expected = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }
        assert values(exposition, text) == expected


@pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
def test_kinds_follow_the_types_in_both_formats(generate):
    registry = CollectorRegistry()
    Gauge("busy", "", registry=registry).set(1)
    Counter("sent", "", registry=registry).inc(3)
    Histogram("seconds", "", registry=registry).observe(0.2)
    exposition = Exposition()
    values(exposition, generate(registry))
    assert kinds(exposition) == {
        "busy": "gauge",
        "sent_total": "counter",
        "sent_created": "created",
        "seconds_bucket": "bucket",
        "seconds_sum": "counter",
        "seconds_count": "counter",
        "seconds_created": "created",
    }


def test_a_histogram_may_be_named_total():
    text = b'# TYPE v:tokens_total histogram\nv:tokens_total_bucket{le="1"} 2\nv:tokens_total_sum 3\nv:tokens_total_count 2\n'
    exposition = Exposition()
    values(exposition, text)
    assert kinds(exposition) == {
        "v:tokens_total_bucket": "bucket",
        "v:tokens_total_sum": "counter",
        "v:tokens_total_count": "counter",
    }


def test_lines_with_a_time_an_example_or_a_carriage_return_are_read():
    text = b'a 1 1700000000000\r\nb{x="1 } 2"} 2.5e3\r\nc_bucket{le="1"} 4 # {trace="x"} 0.5 170.1\r\n d{y="1",} 6\n'
    assert values(Exposition(), text) == {
        ("a", ()): 1.0,
        ("b", (("x", "1 } 2"),)): 2500.0,
        ("c_bucket", (("le", "1"),)): 4.0,
        ("d", (("y", "1"),)): 6.0,
    }


def test_only_changed_series_are_reported():
    exposition = Exposition()
    values(exposition, b"a 1\nb 2\n")
    assert [(series.name, value) for series, value in exposition.feed(b"a 1\nb 3\nc 4\n")] == [("b", 3.0), ("c", 4.0)]


def test_a_series_that_vanished_is_not_present():
    exposition = Exposition()
    values(exposition, b"a 1\nb 2\nc 3\n")
    assert values(exposition, b"a 1\nc 3\n") == {("a", ()): 1.0, ("c", ()): 3.0}
    assert values(exposition, b"a 1\nb 2\nc 3\n") == {("a", ()): 1.0, ("b", ()): 2.0, ("c", ()): 3.0}


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"<html>", b'{"detail": "Not Found"}', b"# HELP only\n# TYPE only gauge\n"]
)
def test_text_without_a_metric_is_an_error(text):
    with pytest.raises(ValueError, match="no metric"):
        Exposition().feed(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_are_an_error(text):
    exposition = Exposition()
    values(exposition, b"a 1\n")
    with suppress(ValueError):
        values(exposition, text)
    assert values(exposition, b"a 2\n") == {("a", ()): 2.0}


def test_series_above_the_maximum_are_ignored(monkeypatch):
    monkeypatch.setattr("llmlocust.observe.exposition.MAX_SERIES", 2)
    exposition = Exposition()
    assert values(exposition, b"a 1\nb 2\nc 3\n") == {("a", ()): 1.0, ("b", ()): 2.0}
    assert exposition.is_cut
