"""Numbers as text, in the unit of their metric."""

import math

import pytest

from llmlocust.metrics.telemetry import VOCABULARY, in_words
from llmlocust.text.figures import amount


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (0.0, "share", "0 %"),
        (0.935, "share", "94 %"),
        (0.0425, "s", "42.5 ms"),
        (0.0, "", "0"),
        (12.34, "tokens", "12.3"),
        (1.0, "cores", "1 core"),
        (2.5, "cores", "2.5 cores"),
        (0.0, "bytes", "0 B"),
        (1536.0, "bytes", "1.5 KiB"),
        (3.25 * 2**20, "bytes", "3.25 MiB"),
        (12.5 * 2**30, "bytes", "12.5 GiB"),
        (2.0**43, "bytes", "8 TiB"),
        (0.5, "/s", "0.5/s"),
        (312.0, "W", "312 W"),
        (1410.0, "MHz", "1410 MHz"),
        *((math.nan, unit, "–") for unit in ("", "share", "s", "tokens", "cores", "bytes", "/s", "W")),
    ],
)
def test_an_amount_has_its_unit(value, unit, text):
    assert amount(value, unit) == text


def test_every_metric_of_the_vocabulary_can_be_written():
    for key in VOCABULARY:
        assert in_words(key, math.nan) == "–"
        assert in_words(key, 0.25).startswith(("0.25", "25", "250"))
    assert in_words("vllm:x", 0.25) == "0.25"
