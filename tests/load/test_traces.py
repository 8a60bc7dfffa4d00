"""Recorded traces are read in their own formats, and every row is sent once by any number of streams."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.traces import Replay, TraceShare, open_trace
from tests.load.made_traces import INTERVALS, trace_of

MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]}
{"timestamp": 3000, "input_length": 915, "output_length": 355, "hash_ids": [0, 462]}
{"timestamp": 5999, "input_length": 500, "output_length": 1, "hash_ids": [], "chat_id": 7}
"""
BAILIAN = """{"chat_id": 1, "timestamp": 0.5, "input_length": 40, "output_length": 12, "type": "text", "hash_ids": [1, 2, 3]}
{"chat_id": 2, "timestamp": 2.25, "input_length": 30, "output_length": 8, "type": "search", "hash_ids": [1, 4]}
{"chat_id": 3, "timestamp": 4.0, "input_length": 20, "output_length": 9, "type": "text", "hash_ids": [1, 5]}
"""
VIDUR = """arrived_at,num_prefill_tokens,num_decode_tokens
0.021,374,44
0.058,396,109
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
def write_file(tmp_path):
    def write(text, name="trace"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def rows(trace):
    return list(zip(trace.moments, trace.prompt_tokens, trace.output_tokens, strict=True))


TRACES = [
    (MOONCAKE, [(0, 6758, 500), (3.0, 915, 355), (5.999, 500, 1)]),
    (BAILIAN, [(0, 40, 12), (1.75, 30, 8), (3.5, 20, 9)]),
    (AZURE, [(0, 374, 44), (4.314579, 396, 109), (60.0, 20000, 5)]),
    (AZURE_LATER, [(0, 2162, 5), (0.99007, 2399, 6)]),
    (AZURE_IMAGES, [(0, 900, 120), (0.5, 12, 3)]),
    (BURST, [(0, 472, 18), (40, 1087, 0)]),
    (BURST_LATER, [(0, 906, 446), (51, 36, 29)]),
    (VIDUR, [(0, 374, 44), (0.037, 396, 109)]),
    (PLAIN, [(0, 10, 20), (0.25, 30, 40)]),
]


@pytest.mark.parametrize("text, expected", TRACES)
@pytest.mark.parametrize("variant", ["", "CRLF", "no last line end", "a blank line at the end"])
def test_a_trace_is_recognised_by_the_names_of_its_columns(write_file, text, expected, variant):
    data = {
        "": text,
        "CRLF": text.replace("\n", "\r\n"),
        "no last line end": text.rstrip(),
        "a blank line at the end": text + "\n",
    }[variant]
    trace = open_trace(write_file(data))
    assert rows(trace) == [pytest.approx(row, abs=1e-6) for row in expected]
    assert trace.shuffled == 0


@pytest.mark.parametrize("text, expected", TRACES)
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: gzip.compress(text.encode(), mtime=0),
        lambda text: gzip.compress(text.encode("utf-16"), mtime=0),
    ],
)
def test_a_trace_is_read_in_other_encodings_and_compressed(write_file, text, expected, encode):
    trace = open_trace(write_file(encode(text)))
    assert rows(trace) == [pytest.approx(row, abs=1e-6) for row in expected]
    if trace.has_blocks:
        assert len(trace.row(0).blocks) == -(-trace.row(0).prompt_tokens // trace.block_tokens)


def test_a_chinese_column_of_a_trace_may_be_in_gbk(write_file):
    text = "seconds,prompt_tokens,output_tokens,模型\n1,2,3,通义千问大模型\n2,3,4,文心一言\n"
    assert rows(open_trace(write_file(text.encode("gbk")))) == [(0, 2, 3), (1, 3, 4)]


@pytest.mark.parametrize(
    "header",
    [
        "timestamp,input_length,output_length",
        "arrived_at,num_prefill_tokens,num_decode_tokens",
        "arrival_time,input_toks,output_toks",
        "Arrival Time [s];Prompt Tokens;Completion Tokens",
        "time\tcontext_tokens\tgenerated_tokens",
        "created|isl|osl",
        "timestamp,promptLen,completionLen",
        "start_time,input_token_count,output_token_count",
    ],
)
def test_columns_have_the_same_names_in_tables_and_in_json(write_file, header):
    delimiter = next(character for character in ",;\t|" if character in header)
    names = header.split(delimiter)
    table = "\n".join([header, *(delimiter.join(row) for row in (("0.5", "12.0", "1e1"), ("2", "7", "8")))])
    lines = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in ((0.5, 12.0, "10"), (2, "7.0", 8)))
    assert (
        rows(open_trace(write_file(table)))
        == rows(open_trace(write_file(lines, "lines")))
        == [(0, 12, 10), (1.5, 7, 8)]
    )


def test_numbers_may_have_a_decimal_comma_if_the_delimiter_is_another(write_file):
    text = "seconds;prompt_tokens;output_tokens\n0,5;10;2\n2,75;4;5\n"
    assert rows(open_trace(write_file(text))) == [(0, 10, 2), (2.25, 4, 5)]


@pytest.mark.parametrize(
    "times, seconds, unit",
    [
        ((0.5, 2.25, 4.0), 3.5, "seconds"),
        ((0.0, 2.0, 5.0), 5.0, "seconds"),
        ((0, 2, 5), 5.0, "seconds"),
        ((0, 30, 90), 90.0, "seconds"),
        ((0, 250, 600), 0.6, "milliseconds"),
        ((0, 60_000, 120_000), 120.0, "milliseconds"),
        ((0, 1_500_000, 2_750_000), 2.75, "microseconds"),
        ((1_700_000_000, 1_700_000_003), 3.0, "seconds"),
        ((1_700_000_000_250, 1_700_000_003_000), 2.75, "milliseconds"),
        ((1_700_000_000_250_000_000, 1_700_000_003_000_000_000), 2.75, "nanoseconds"),
        (("2024-05-10T00:00:00Z", "2024-05-10T00:00:01.5Z"), 1.5, "dates"),
        (("2024/05/10 00:00:00", "2024/05/10 00:01:00"), 60.0, "dates"),
        (("0.5", "2.5"), 2.0, "seconds"),
    ],
)
def test_the_unit_of_json_timestamps_is_found_from_their_values(write_file, times, seconds, unit):
    lines = [json.dumps({"timestamp": time, "input_length": 5, "output_length": 6}) for time in times]
    trace = open_trace(write_file("\n".join(lines)))
    assert (trace.clock.unit, trace.seconds) == (unit, pytest.approx(seconds))


@pytest.mark.parametrize("size", [1, 16, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("are_full", [False, True])
def test_the_size_of_blocks_is_found_from_the_rows(write_file, size, are_full):
    tokens = [size * 3 + size // 2, size * 7, size * 20 + 1, size]
    ids = [number // size if are_full else -(-number // size) for number in tokens]
    lines = [
        json.dumps({"timestamp": 0.5 * place, "input_length": number, "output_length": 1, "hash_ids": [*range(count)]})
        for place, (number, count) in enumerate(zip(tokens, ids, strict=True))
    ]
    trace = open_trace(write_file("\n".join(lines)))
    assert trace.block_tokens == size
    assert [(len(row.blocks), row.block_tokens) for row in map(trace.row, range(4))] == [(count, size) for count in ids]


def test_ids_may_be_texts_or_missing(write_file):
    lines = [
        {"timestamp": 0, "input_length": 1000, "output_length": 1, "hash_ids": ["a", "b"]},
        {"timestamp": 2000, "input_length": 9, "output_length": 1, "hash_ids": None},
        {"timestamp": 4000, "input_length": 9, "output_length": 1},
    ]
    trace = open_trace(write_file("\n".join(map(json.dumps, lines))))
    assert [list(trace.row(number).blocks) for number in range(3)] == [["a", "b"], [], []]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_blocks_are_read_from_the_file_by_row(write_file, bom):
    trace = open_trace(write_file(bom + b"\n" + MOONCAKE.encode()))
    assert [list(trace.row(number).blocks) for number in range(3)] == [[*range(14)], [0, 462], []]
    assert trace.has_blocks
    assert not open_trace(write_file(PLAIN, "plain")).has_blocks


def test_a_row_has_at_least_one_token(write_file):
    trace = open_trace(write_file("seconds,prompt_tokens,output_tokens\n0,0,0\n1,5,0\n2,7,8\n"))
    assert [trace.row(number)[1:3] for number in range(3)] == [(1, 1), (5, 1), (7, 8)]
    assert trace.empty == 2


def test_rows_are_sorted_by_time(write_file):
    lines = MOONCAKE.splitlines()
    trace = open_trace(write_file("\n".join([lines[2], lines[0], lines[1]])))
    assert rows(trace) == [(0, 6758, 500), (3.0, 915, 355), (5.999, 500, 1)]
    assert list(trace.row(1).blocks) == [0, 462]
    assert trace.shuffled == 2


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 9999), st.integers(0, 9999)), min_size=1, max_size=30))
def test_the_same_rows_are_the_same_in_every_format(tmp_path_factory, row_values):
    folder = tmp_path_factory.mktemp("traces")
    began = datetime(2023, 11, 16, tzinfo=UTC)
    texts = {
        "plain": ["seconds,prompt_tokens,output_tokens", *(f"{ms / 1000},{a},{b}" for ms, a, b in row_values)],
        "burst": ["Timestamp (s),Request tokens,Response tokens", *(f"{ms / 1000},{a},{b}" for ms, a, b in row_values)],
        "azure": [
            "TIMESTAMP,ContextTokens,GeneratedTokens",
            *(f"{began + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S.%f}0,{a},{b}" for ms, a, b in row_values),
        ],
        "json": [json.dumps({"timestamp_ms": ms, "input_length": a, "output_length": b}) for ms, a, b in row_values],
    }
    first, *others = [_read(folder / name, lines) for name, lines in texts.items()]
    assert sorted(round(moment * 1000) for moment, _, _ in first) == sorted(
        ms - min(row_values)[0] for ms, _, _ in row_values
    )
    for other in others:
        assert other == [pytest.approx(row, abs=1e-6) for row in first]


def _read(path, lines):
    path.write_text("\n".join(lines))
    return rows(open_trace(str(path)))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "missing: a time, tokens of the prompt, tokens of the answer; found: nothing"),
        ("a,b,c\n1,2,3\n", "under names such as timestamp, input_length, output_length; missing: a time, "),
        ("0.5,10,20\n", "found: 0.5, 10, 20; the first line of a CSV must have these names"),
        (
            "timestamp;input_length\n1;2\n",
            "missing: tokens of the answer; found: timestamp, input_length; the first line of a CSV",
        ),
        ("seconds,prompt_tokens,output_tokens\n", "the trace has no rows"),
        (PLAIN + "x,1,2\n", "trace:5: cannot be read as a row (seconds, prompt_tokens, output_tokens): x, 1, 2"),
        (PLAIN + "1,2\n", "trace:5: cannot be read as a row (seconds, prompt_tokens, output_tokens): 1, 2"),
        (PLAIN + "1,2.5,3\n", "trace:5: cannot be read as a row (seconds, prompt_tokens, output_tokens): 1, 2.5, 3"),
        (PLAIN + "1,,3\n", "trace:5: cannot be read as a row (seconds, prompt_tokens, output_tokens): 1, , 3"),
        (PLAIN + "-1,2,3\n", "trace:5: a time must be 0 or more, but is -1"),
        (PLAIN + "nan,2,3\n", "trace:5: a time must be 0 or more, but is nan"),
        (PLAIN + "inf,2,3\n", "trace:5: a time must be 0 or more, but is inf"),
        (PLAIN + "1,-2,3\n", "trace:5: tokens must be from 0 to 10000000, but are -2"),
        (PLAIN + "1,2,99999999999\n", "trace:5: tokens must be from 0 to 10000000, but are 99999999999"),
        (
            AZURE + "16.11.2023,1,2\n",
            "trace:5: cannot be read as a row (TIMESTAMP, ContextTokens, GeneratedTokens): 16.11",
        ),
        ("{]\n", "trace:1: a row is a JSON object: "),
        ('[{"timestamp": 1}]', "a trace in JSON has one row per line and is not an array; jq -c '.[]' converts it"),
        ('\n{"id": 1, "words": 2}\n', "trace:2: a row of a trace has a time, "),
        (MOONCAKE + "{]\n", "trace:4: a row of this trace has timestamp, input_length, output_length: "),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5}\n', "missing required field `output_length`"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5, "output_length": "x"}\n', "Expected `int`, got `str`"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5.5, "output_length": 1}\n', "trace:4: a row of this trace has "),
        (MOONCAKE + '{"timestamp": 1, "input_length": -5, "output_length": 1}\n', "trace:4: tokens must be from 0"),
        (
            MOONCAKE + '{"timestamp": 1, "input_length": 600, "output_length": 1, "hash_ids": [1, 2, 3, 4]}\n',
            "trace:4: 4 hash_ids for 600 tokens: no block size (16, 64, 512 or another power of two) fits this row",
        ),
        (
            '{"time": "2024-05-10T00:00:00", "isl": 6, "osl": 1}\n{"time": "soon", "isl": 6, "osl": 1}\n',
            "trace:2: not a date: 'soon'",
        ),
        (
            "seconds,prompt_tokens,output_tokens\né,1,2\n".encode("cp1252"),
            "trace:2: the text is not UTF-8, but probably",
        ),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "the compressed file is damaged or cut off"),
    ],
)
def test_an_invalid_row_gives_a_one_line_error_with_its_line(write_file, text, words):
    with pytest.raises(ValueError) as error:
        open_trace(write_file(text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_error(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="cannot read the trace"):
            open_trace(str(path))


@given(st.binary(max_size=200))
def test_any_file_gives_rows_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "trace"
    path.write_bytes(data)
    try:
        trace = open_trace(str(path))
    except ValueError:
        return
    assert len(trace)


# ── rows of the streams ──


@given(INTERVALS, st.floats(0.01, 100.0), st.integers(1, 9))
def test_every_row_is_sent_once_over_all_streams_at_any_speed(intervals, speed, streams):
    trace = trace_of(intervals)
    replay = Replay(trace, speed)
    sent = sorted(row for stream in range(streams) for row in replay.assigned([TraceShare(0.0, stream, streams)]))
    assert [row for _, row in sent] == list(range(len(trace)))
    assert [due for due, _ in sent] == pytest.approx([moment / speed for moment in trace.moments])


SHARES = st.lists(
    st.tuples(st.floats(0.0, 60.0, exclude_min=True), st.integers(1, 5)), max_size=4, unique_by=lambda share: share[0]
)


@given(INTERVALS, st.floats(0.1, 10.0), st.integers(1, 5), SHARES)
def test_rows_that_are_assigned_again_are_sent_once(intervals, speed, streams, later):
    """Streams start and stop at some moments; a stream that stopped sends nothing from then on."""
    replay = Replay(trace_of(intervals), speed)
    shares = [(0.0, streams), *sorted(later)]
    sent = []
    for stream in range(5):
        own = [TraceShare(since, stream, streams) for since, streams in shares if stream < streams]
        skipped = {row for (since, streams), (until, _) in zip(shares, [*shares[1:], (1e9, 0)], strict=True)
                if stream >= streams for row in range(replay._at(since), replay._at(until))}  # fmt: skip
        sent += [row for _, row in replay.assigned(own) if row not in skipped]
    assert sorted(sent) == list(range(replay.rows))


@given(INTERVALS, st.floats(0.1, 10.0), st.integers(0, 59), st.floats(0.0, 60.0), st.integers(1, 5))
def test_a_stream_that_is_assigned_again_continues_after_its_last_row(intervals, speed, sent, since, streams):
    replay = Replay(trace_of(intervals), speed)
    shares = [TraceShare(0.0, 0, 1), TraceShare(since, 0, streams)]
    complete = [row for _, row in replay.assigned(shares)]
    assert [row for _, row in replay.assigned(shares, after=sent)] == [row for row in complete if row > sent]


@given(INTERVALS, st.floats(0.1, 10.0), st.floats(0.0, 50.0), st.floats(0.0, 50.0))
def test_a_part_of_a_trace_is_replayed_from_its_beginning(intervals, speed, start, length):
    trace = trace_of(intervals)
    end = start + length if length else float("inf")
    inside = [place for place, moment in enumerate(trace.moments) if start <= moment < end]
    if not inside:
        with pytest.raises(ValueError, match="has no row from"):
            Replay(trace, speed, start, length)
        return
    replay = Replay(trace, speed, start, length)
    sent = list(replay.assigned([TraceShare(0.0, 0, 1)]))
    assert [row for _, row in sent] == inside
    assert [due for due, _ in sent] == pytest.approx([(trace.moments[row] - start) / speed for row in inside])
    assert max(due for due, _ in sent) <= replay.seconds + 1e-9
    assert replay.count(0.0, replay.seconds + 1.0) == len(inside) == replay.rows
