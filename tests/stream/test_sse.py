"""Events of bodies: compared with the standard, with another decoder, and with the fast path."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from sseclient import SSEClient

from llmlocust.stream import sse
from llmlocust.stream.sse import BOM, STRAY, Event, events

ENDINGS = ["\n", "\r", "\r\n"]
VALUES = ["", " ", "{}", '{"a": 1}', "[DONE]", "a: b", ":", "\u2028", "\x85", "é🙂", "\x0b", "data: x"]
LINES = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["data", "event", "id", "retry"]), st.sampled_from([":", ": ", ":  "]), st.sampled_from(VALUES)),
    st.builds(":{}".format, st.sampled_from(VALUES)),
    st.sampled_from(["", "", "", "data", "event", "Data: x", "\ufeffdata: x", " data: x", "\u2028", " "]),
)  # fmt: skip


def stream_of(lines: list[tuple[str, str]]) -> bytes:
    return "".join(line + ending for line, ending in lines).encode()


MIXED = st.lists(st.tuples(LINES, st.sampled_from(ENDINGS)), max_size=12).map(stream_of)
TIDY = st.builds(
    lambda lines, ending, rest: stream_of([(line, ending) for line in lines]) + rest,
    st.lists(LINES, max_size=12),
    st.sampled_from(ENDINGS),
    st.binary(max_size=3),
)
PLAIN = st.lists(st.builds("data: {}\n\n".format, st.text(max_size=5)), max_size=6).map(
    lambda frames: "".join(frames).encode()
)
BYTES = st.binary(max_size=40) | st.text(alphabet="data: \n\r\ufeffé{}", max_size=40).map(str.encode)
BODIES = st.one_of(MIXED, TIDY, PLAIN, BYTES)


class Counting(SSEClient):
    """Another decoder of the format, with its current offset."""

    offset = 0

    def _read(self) -> Iterator[bytes]:
        for block in super()._read():
            self.offset += len(block)
            yield block


def events_of_other_decoder(body: bytes) -> list[Event] | None:
    """Return the events of another decoder for a body in one piece; None if the body is not UTF-8."""
    client = Counting(iter([body]))
    try:
        events = [(event.data.encode(), client.offset, event.event) for event in client.events()]
    except UnicodeDecodeError:
        return None
    return [Event(*event) for event in events]


def without_wholeness(found_events: list[Event]) -> list[Event]:
    return [replace(event, whole=True) for event in found_events]


def without_strays(found_events: list[Event]) -> list[Event]:
    return [event for event in found_events if event.kind != STRAY]


def has_lines_of_json(body: bytes) -> bool:
    """Return whether several lines of data are adjacent, one of which may be an event."""
    adjacent: list[bytes] = []
    for line in [*re.split(rb"\r\n|\n|\r", body), b""]:
        if line == b"":
            if len(adjacent) > 1 and any(value[:1] == b"{" or value == b"[DONE]" for value in adjacent):
                return True
            adjacent = []
        elif line.partition(b":")[0].removeprefix(BOM) == b"data":
            adjacent.append(line.partition(b":")[2].strip())
    return False


@given(BODIES)
@example(b"")
@example(b"\n\n")
@example(b"data: \n\n")
@example(b"data: a\n\n\ndata: b\n\n")
@example("\ufeffdata: a\n\n".encode())
@example(b"data: \xff\n\n")
@example(b"data: a\n\ndata: b")
def test_the_fast_path_finds_the_events_of_reading_line_by_line(body):
    found_events = sse._plain(body)
    assert found_events is None or found_events == sse._decoded(body)


@given(TIDY | PLAIN)
@example(b"data: a\n\ndata: b")
def test_events_are_those_of_another_decoder(body):
    expected = events_of_other_decoder(body)
    assume(expected is not None)
    assume(not body.startswith(BOM))  # the other decoder does not remove it
    assume(not has_lines_of_json(body))
    assume(not re.search(rb"\r\r\n|\n\r|\r\n\n", body))  # the other decoder finds other blank lines
    assume(not body.endswith(b"\r"))  # this may be half of a line end
    assert without_wholeness(without_strays(events(body))) == expected


def events_of_the_standard(body: bytes) -> list[tuple[bytes, str]]:
    """Return data and names of the dispatched events, by WHATWG's HTML, section 9.2.6, word for word."""
    expected_events, data, kind = [], [], ""
    for line in re.split(rb"\r\n|\n|\r", body.removeprefix(BOM))[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            expected_events += [(b"\n".join(data), kind or "message")] if data else []
            data, kind = [], ""
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            kind = value.removeprefix(b" ").decode(errors="replace")
    return expected_events


@given(BODIES)
@example(b"data: a\r\r\n\r\ndata: b\n\n")
@example(b"data: a\n\r\ndata: b\n\n")
@example(b"\r\r\r\n\n\r\n\r\n\r")
@example(b"\xef\xbb\xbfdata: a\n\n")
def test_events_are_those_of_the_standard(body):
    assume(not has_lines_of_json(body))
    assume(not body.endswith(b"\r"))
    found_events = without_strays(events(body, complete=False))
    assert [(event.data, event.kind) for event in found_events] == events_of_the_standard(body)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9)))
def test_the_fast_path_reads_plain_frames(all_data):
    body = "".join(f"data: {data}\n\n" for data in all_data).encode()
    assert [event.data.decode() for event in sse._plain(body)] == all_data


@given(MIXED | TIDY | PLAIN)
def test_a_cut_body_has_exactly_the_events_that_ended_before_the_cut(body):
    assume(not has_lines_of_json(body))
    all_events = without_strays(events(body, complete=False))
    for cut in range(len(body) + 1):
        if body[cut - 1 : cut] == b"\r":
            continue  # this may be half of a line end
        found_events = without_strays(events(body[:cut], complete=False))
        assert found_events == [event for event in all_events if event.end <= cut]


@given(BODIES)
def test_only_the_last_event_can_be_unfinished_and_depend_on_completeness(body):
    found_events = without_strays(events(body))
    assume(not has_lines_of_json(body))
    assert all(event.whole for event in found_events[:-1])
    assert without_strays(events(body, complete=False)) == [event for event in found_events if event.whole]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("complete", [True, False])
def test_an_event_ends_with_its_blank_line(ending, complete):
    first = f"data: a{ending}{ending}".encode()
    second = f": comment{ending}event: error{ending}data: b{ending}data: c{ending}id: 5{ending}{ending}".encode()
    found_events = events(first + second, complete=complete)
    assert found_events == [Event(b"a", len(first)), Event(b"b\nc", len(first + second), "error")]


@pytest.mark.parametrize(
    "tail",
    ["data: b", "data: b\n", "data: b\r", "data: b\r\n", "data: b\r\n\r", "data: b\n\r"],
)
def test_an_event_without_its_blank_line_counts_only_in_a_complete_body(tail):
    head = b"data: a\n\n"
    body = head + tail.encode()
    unfinished = Event(b"b", len(body), whole=False)
    assert events(body) == [Event(b"a", 9), unfinished]
    assert events(body, complete=False) == [Event(b"a", 9)]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("\ufeffdata: a\n\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\n\r\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\r\n\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\r\r\ndata: b\n\n", [b"a", b"b"]),
        ("data\n\n", [b""]),
        ("data:a\n\n", [b"a"]),
        ("data:  a\n\n", [b" a"]),
        ("data: \u2028\n\n", ["\u2028".encode()]),
        (": only a comment\n\n", []),
        ("event: ping\n\n", []),
        ("Data: a\n\n", []),
    ],
)
def test_special_cases_of_the_format(body, expected):
    assert [event.data for event in without_strays(events(body.encode()))] == expected


@pytest.mark.parametrize(
    "body, expected",
    [
        (b'data: {"a": 1}\ndata: {"b": 2}\n', [(b'{"a": 1}', 15), (b'{"b": 2}', 30)]),
        (b'data: {}\ndata: {"b": 2}\ndata: [DONE]\n\n', [(b"{}", 9), (b'{"b": 2}', 24), (b"[DONE]", 37)]),
        (b'data: {}\r\ndata: {"b": [1,', [(b"{}", 10), (b'{"b": [1,', 25)]),
        (b'data: {"a":\ndata: {"b": 2}\ndata: }\n\n', [(b'{"a":\n{"b": 2}\n}', 36)]),  # a single object
        (b"data: one\ndata: two\n\n", [(b"one\ntwo", 21)]),
        (b'event: x\ndata: {"a": 1}\nevent: y\ndata: {"b": 2}\n', [(b'{"a": 1}', 24), (b'{"b": 2}', 48)]),
    ],
)
def test_adjacent_lines_of_json_objects_are_separate_events(body, expected):
    assert [(event.data, event.end) for event in events(body)] == expected


@pytest.mark.parametrize(
    "body, strays",
    [
        (b'data: a\n\nerror: {"code": 500}\n\n', [b'error: {"code": 500}']),
        (b'data: a\n\n{"error": "full"}', [b'{"error": "full"}']),
        (b"data: a\n\nupstream timed out\n", [b"upstream timed out"]),
        (b"data: a\n\n   \n\t\n: comment\nid: 1\nretry: 5\n\n", []),
        (b"data: a\n\ndat", []),  # the cut beginning of a field
        (b"data: a\n\nX", [b"X"]),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_lines_outside_the_format_are_kept_as_strays(body, strays, complete):
    assert [event.data for event in events(body, complete=complete) if event.kind == STRAY] == strays


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "body, count",
    [
        (b"\n" * 1_000_000, 0),
        (b"\r" * 1_000_000, 0),
        (b": x\n" * 40_000, 0),
        (b":" * 1_000_000, 0),
        (b"data: x\n" * 350_000, 1),
        (b"data: {}\n" * 100_000, 100_000),
        (b"data: {}\n\n" * 100_000, 100_000),
        (b"data: {}\r\n\r\n" * 100_000, 100_000),
        (b"data: " + b"x" * 1_000_000, 1),
    ],
    ids=["newlines", "returns", "comments", "one comment", "one event", "lines of JSON", "plain", "crlf", "unfinished"],
)
def test_large_bodies_are_read_completely(body, count):
    assert len(events(body)) == count


def test_an_event_may_be_long():
    long = b"data: " + b"x" * 10_000_000 + b"\n"
    assert [len(event.data) for event in events(long + b"data: y\n\n" + long)] == [10_000_002, 10_000_000]


def test_an_event_that_a_server_names_stray_is_an_ordinary_event():
    (event,) = events(b"event: stray\ndata: 1\n\n")
    assert event.kind != STRAY
