"""Recorded traces are read as they are, and their rows are sent once each, whoever shares them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.traces import Deal, Replay, Trace, open_trace

MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]}
{"timestamp": 3000, "input_length": 915, "output_length": 355, "hash_ids": [0, 462]}
{"timestamp": 5999, "input_length": 500, "output_length": 1, "hash_ids": [], "chat_id": 7}
"""
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:46.6805900,20000,5
"""
AZURE_LATER = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01+00:00,2399,6
"""
AZURE_IMAGES = """TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 00:00:00.0000000,2,900,120
2024-10-15 00:00:00.5000000,0,12,3
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,0,1087,API log
"""
BURST_LATER = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,906,446,1352,Conversation log
19440161.0,,2,ChatGPT,36,29,65,"Conversation log"
"""
PLAIN = "seconds,prompt_tokens,output_tokens\n0.5,10,20\n\n0.75,30,40\n"


@pytest.fixture
def written(tmp_path):
    def write(text, name="trace"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def rows(trace):
    return list(zip(trace.moments, trace.prompt_tokens, trace.output_tokens, strict=True))


@pytest.mark.parametrize(
    "text, kind, expected",
    [
        (MOONCAKE, "Mooncake", [(0, 6758, 500), (3.0, 915, 355), (5.999, 500, 1)]),
        (AZURE, "Azure", [(0, 374, 44), (4.314579, 396, 109), (60.0, 20000, 5)]),
        (AZURE_LATER, "Azure", [(0, 2162, 5), (0.99007, 2399, 6)]),
        (AZURE_IMAGES, "Azure", [(0, 900, 120), (0.5, 12, 3)]),
        (BURST, "BurstGPT", [(0, 472, 18), (40, 1087, 0)]),
        (BURST_LATER, "BurstGPT", [(0, 906, 446), (51, 36, 29)]),
        (PLAIN, "plain", [(0, 10, 20), (0.25, 30, 40)]),
    ],
)
@pytest.mark.parametrize("how", ["", "BOM", "CRLF", "no last line end", "a blank line at the end"])
def test_a_trace_is_known_by_its_first_line(written, text, kind, expected, how):
    data = text.encode()
    data = {
        "": data,
        "BOM": b"\xef\xbb\xbf" + data,
        "CRLF": data.replace(b"\n", b"\r\n"),
        "no last line end": data.rstrip(),
        "a blank line at the end": data + b"\n",
    }[how]
    trace = open_trace(written(data))
    assert trace.kind == kind
    assert rows(trace) == [pytest.approx(each, abs=1e-6) for each in expected]
    assert trace.shuffled == 0


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_blocks_are_read_when_they_are_asked_for(written, bom):
    trace = open_trace(written(bom + b"\n" + MOONCAKE.encode()))
    assert [list(trace.row(number).blocks) for number in range(3)] == [[*range(14)], [0, 462], []]
    assert trace.has_blocks
    assert not open_trace(written(PLAIN, "plain")).has_blocks


def test_a_row_asks_for_a_token_at_least(written):
    trace = open_trace(written("seconds,prompt_tokens,output_tokens\n0,0,0\n1,5,0\n2,7,8\n"))
    assert [trace.row(number)[1:3] for number in range(3)] == [(1, 1), (5, 1), (7, 8)]
    assert trace.empty == 2


def test_rows_are_put_in_the_order_of_their_times(written):
    lines = MOONCAKE.splitlines()
    trace = open_trace(written("\n".join([lines[2], lines[0], lines[1]])))
    assert rows(trace) == [(0, 6758, 500), (3.0, 915, 355), (5.999, 500, 1)]
    assert list(trace.row(1).blocks) == [0, 462]
    assert trace.shuffled == 2


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 9999), st.integers(0, 9999)), min_size=1, max_size=30))
def test_the_same_rows_are_the_same_in_every_format(tmp_path_factory, told):
    folder = tmp_path_factory.mktemp("traces")
    began = datetime(2023, 11, 16, tzinfo=UTC)
    texts = {
        "plain": ["seconds,prompt_tokens,output_tokens", *(f"{ms / 1000},{a},{b}" for ms, a, b in told)],
        "burst": ["Timestamp,Request tokens,Response tokens", *(f"{ms / 1000},{a},{b}" for ms, a, b in told)],
        "azure": [
            "TIMESTAMP,ContextTokens,GeneratedTokens",
            *(f"{began + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S.%f}0,{a},{b}" for ms, a, b in told),
        ],
        "mooncake": [json.dumps({"timestamp": ms, "input_length": a, "output_length": b}) for ms, a, b in told],
    }
    first, *others = [_read(folder / name, lines) for name, lines in texts.items()]
    assert sorted(round(moment * 1000) for moment, _, _ in first) == sorted(ms - min(told)[0] for ms, _, _ in told)
    for other in others:
        assert other == [pytest.approx(each, abs=1e-6) for each in first]


def _read(path, lines):
    path.write_text("\n".join(lines))
    return rows(open_trace(str(path)))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no trace that is known by its first line"),
        ("a,b,c\n1,2,3\n", "a CSV has a header with the columns timestamp,contexttokens,generatedtokens"),
        ("0.5,10,20\n", "a CSV has a header"),
        ("seconds,prompt_tokens,output_tokens\n", "the trace has no rows"),
        (PLAIN + "x,1,2\n", "trace:5: cannot be read as a row (plain): x,1,2"),
        (PLAIN + "1,2\n", "trace:5: cannot be read as a row (plain): 1,2"),
        (PLAIN + "1,2.5,3\n", "trace:5: cannot be read as a row (plain): 1,2.5,3"),
        (PLAIN + "-1,2,3\n", "trace:5: a moment is a time from 0 on, and not -1 s"),
        (PLAIN + "nan,2,3\n", "trace:5: a moment is a time from 0 on, and not nan s"),
        (PLAIN + "inf,2,3\n", "trace:5: a moment is a time from 0 on, and not inf s"),
        (PLAIN + "1,-2,3\n", "trace:5: tokens are from 0 to 10000000, and not -2"),
        (PLAIN + "1,2,99999999999\n", "trace:5: tokens are from 0 to 10000000, and not 99999999999"),
        (AZURE + "16.11.2023,1,2\n", "trace:5: cannot be read as a row (Azure): 16.11.2023,1,2"),
        (MOONCAKE + "{]\n", 'trace:4: a row of a JSONL trace has numbers "timestamp"'),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5}\n', "missing required field `output_length`"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5, "output_length": "x"}\n', "Expected `int`, got `str`"),
        (MOONCAKE + '{"timestamp": 1, "input_length": -5, "output_length": 1}\n', "trace:4: tokens are from 0"),
        (
            MOONCAKE + '{"timestamp": 1, "input_length": 600, "output_length": 1, "hash_ids": [1, 2, 3, 4]}\n',
            'trace:4: "hash_ids" stand for 512 tokens each: 600 tokens have 2 of them, here are 4',
        ),
        (b"seconds,prompt_tokens,output_tokens\n\xff,1,2\n", "cannot read the trace"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line_with_its_place(written, text, words):
    with pytest.raises(ValueError) as refused:
        open_trace(written(text))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_file_is_told_in_one_line(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="cannot read the trace"):
            open_trace(str(path))


@given(st.binary(max_size=200))
def test_no_file_breaks_the_reader(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "trace"
    path.write_bytes(data)
    try:
        trace = open_trace(str(path))
    except ValueError:
        return
    assert len(trace)


# ── who sends what ──


def made(gaps):
    trace = Trace("made")
    moment = 0.0
    for gap in gaps:
        trace.moments.append(moment)
        trace.prompt_tokens.append(1)
        trace.output_tokens.append(1)
        moment += gap
    return trace


GAPS = st.lists(st.sampled_from([0.0, 0.001, 0.5, 3.0, 40.0]), min_size=1, max_size=60)


@given(GAPS, st.floats(0.01, 100.0), st.integers(1, 9))
def test_every_row_is_sent_once_over_all_streams_at_any_speed(gaps, speed, streams):
    trace = made(gaps)
    replay = Replay(trace, speed)
    sent = sorted(each for stream in range(streams) for each in replay.dealt([Deal(0.0, stream, streams)]))
    assert [row for _, row in sent] == list(range(len(trace)))
    assert [due for due, _ in sent] == pytest.approx([moment / speed for moment in trace.moments])


DEALS = st.lists(
    st.tuples(st.floats(0.0, 60.0, exclude_min=True), st.integers(1, 5)), max_size=4, unique_by=lambda deal: deal[0]
)


@given(GAPS, st.floats(0.1, 10.0), st.integers(1, 5), DEALS)
def test_rows_that_are_dealt_anew_are_sent_once(gaps, speed, streams, later):
    """Streams come and go at some moments; who is gone sends nothing from then on."""
    replay = Replay(made(gaps), speed)
    deals = [(0.0, streams), *sorted(later)]
    sent = []
    for stream in range(5):
        there = [Deal(since, stream, streams) for since, streams in deals if stream < streams]
        gone = {row for (since, streams), (until, _) in zip(deals, [*deals[1:], (1e9, 0)], strict=True)
                if stream >= streams for row in range(replay._at(since), replay._at(until))}  # fmt: skip
        sent += [row for _, row in replay.dealt(there) if row not in gone]
    assert sorted(sent) == list(range(replay.rows))


@given(GAPS, st.floats(0.1, 10.0), st.integers(0, 59), st.floats(0.0, 60.0), st.integers(1, 5))
def test_a_stream_that_is_dealt_anew_goes_on_behind_what_it_has_sent(gaps, speed, sent, since, streams):
    replay = Replay(made(gaps), speed)
    deals = [Deal(0.0, 0, 1), Deal(since, 0, streams)]
    whole = [row for _, row in replay.dealt(deals)]
    assert [row for _, row in replay.dealt(deals, after=sent)] == [row for row in whole if row > sent]


@given(GAPS, st.floats(0.1, 10.0), st.floats(0.0, 50.0), st.floats(0.0, 50.0))
def test_a_stretch_of_a_trace_is_replayed_from_its_beginning(gaps, speed, start, length):
    trace = made(gaps)
    end = start + length if length else float("inf")
    inside = [place for place, moment in enumerate(trace.moments) if start <= moment < end]
    if not inside:
        with pytest.raises(ValueError, match="has no row from"):
            Replay(trace, speed, start, length)
        return
    replay = Replay(trace, speed, start, length)
    sent = list(replay.dealt([Deal(0.0, 0, 1)]))
    assert [row for _, row in sent] == inside
    assert [due for due, _ in sent] == pytest.approx([(trace.moments[row] - start) / speed for row in inside])
    assert max(due for due, _ in sent) <= replay.seconds + 1e-9
    assert replay.count(0.0, replay.seconds + 1.0) == len(inside) == replay.rows
