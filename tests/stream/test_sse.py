"""Events out of bodies: the decoder of record and the fast path beside it.

What the decoder does otherwise than the standard (WHATWG's HTML, section 9.2), all of it held by tests below:

- a byte order mark at the beginning is not taken off, so the first line is lost;
- blank lines count only where they end as the line before them does, or are a bare LF: not LF CRLF, LF CR, CR CRLF;
- CR CR is a blank line only if no LF follows, so a body cut between the two has an event that the whole body lacks;
- an event that ends with the body instead of a blank line is an event (we say that it is not whole);
- bytes that are no UTF-8 are an error, not U+FFFD.
"""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from sseclient import SSEClient

from llmlocust.stream import sse
from llmlocust.stream.sse import Event, NotText, events

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
    lambda all_: "".join(all_).encode()
)
BYTES = st.binary(max_size=40) | st.text(alphabet="data: \n\r\ufeffé{}", max_size=40).map(str.encode)
BODIES = st.one_of(MIXED, TIDY, PLAIN, BYTES)


class Counting(SSEClient):
    """The decoder as it comes, with the place that it has got to."""

    offset = 0

    def _read(self) -> Iterator[bytes]:
        for block in super()._read():
            self.offset += len(block)
            yield block


def decoders_own(body: bytes) -> list[Event] | None:
    """What the decoder itself says of a body that has come as one piece; None where it is no text."""
    client = Counting(iter([body]))
    try:
        found = [(event.data.encode(), client.offset, event.event) for event in client.events()]
    except UnicodeDecodeError:
        return None
    return [Event(*each) for each in found]


def without_wholeness(found: list[Event]) -> list[Event]:
    return [replace(event, whole=True) for event in found]


@given(BODIES)
@example(b"")
@example(b"\n\n")
@example(b"data: \n\n")
@example(b"data: a\n\n\ndata: b\n\n")
@example("\ufeffdata: a\n\n".encode())
@example(b"data: \xff\n\n")
@example(b"data: a\n\ndata: b")
def test_fast_path_is_the_decoder_wherever_it_answers(body):
    found = sse._plain(body)
    assert found is None or found == decoders_own(body)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9)))
def test_fast_path_answers_for_plain_frames(all_data):
    body = "".join(f"data: {data}\n\n" for data in all_data).encode()
    assert [event.data.decode() for event in sse._plain(body)] == all_data


@given(BODIES)
@example(b"data: a\r\r\n\r\ndata: b\n\n")
@example(b"data: a\n\r\ndata: b\n\n")
@example(b"\r\r\r\n\n\r\n\r\n\r")
def test_events_are_the_decoders(body):
    own = decoders_own(body)
    if own is None:
        with pytest.raises(NotText):
            # what ends in the middle of a character is cut, not bad; a further byte makes it bad
            events(body + b"\n")
    else:
        assert without_wholeness(events(body)) == own


@given(MIXED, st.binary(max_size=4))
def test_events_before_bytes_that_are_no_text_are_kept(before, after):
    whole = before + b"\n\n"
    with pytest.raises(NotText) as problem:
        events(whole + b"\xff" + after)
    assert problem.value.events == events(whole)


@given(MIXED | TIDY | PLAIN)
def test_a_cut_body_has_exactly_the_events_that_ended_before_the_cut(body):
    try:
        whole = events(body, complete=False)
    except NotText:
        return
    for cut in range(len(body) + 1):
        if body[cut - 2 : cut + 1] == b"\r\r\n":
            continue  # see the head of this file
        assert events(body[:cut], complete=False) == [event for event in whole if event.end <= cut]


@given(BODIES)
def test_only_the_last_event_can_be_unfinished_and_only_then_completeness_matters(body):
    try:
        found = events(body)
    except NotText:
        return
    assert all(event.whole for event in found[:-1])
    assert events(body, complete=False) == [event for event in found if event.whole]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("complete", [True, False])
def test_an_event_ends_with_its_blank_line(ending, complete):
    first = f"data: a{ending}{ending}".encode()
    second = f": comment{ending}event: error{ending}data: b{ending}data: c{ending}id: 5{ending}{ending}".encode()
    found = events(first + second, complete=complete)
    assert found == [Event(b"a", len(first)), Event(b"b\nc", len(first + second), "error")]


@pytest.mark.parametrize(
    "tail",
    ["data: b", "data: b\n", "data: b\r", "data: b\r\n", "data: b\r\n\r", "data: b\n\r", "data: b\n\r\n"],
)
def test_an_event_without_its_blank_line_counts_only_in_a_complete_body(tail):
    head = b"data: a\n\n"
    body = head + tail.encode()
    unfinished = Event(b"b", len(body), whole=False)
    assert events(body) == [Event(b"a", 9), unfinished]
    assert events(body, complete=False) == [Event(b"a", 9)]


@pytest.mark.parametrize(
    "body, found",
    [
        ("\ufeffdata: a\n\ndata: b\n\n", [b"b"]),
        ("data: a\n\r\ndata: b\n\n", [b"a\nb"]),
        ("data: a\r\n\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\r\r\ndata: b\n\n", [b"a\nb"]),
        ("data\n\n", [b""]),
        ("data:a\n\n", [b"a"]),
        ("data:  a\n\n", [b" a"]),
        ("data: \u2028\n\n", ["\u2028".encode()]),
        (": only a comment\n\n", []),
        ("event: ping\n\n", []),
        ("Data: a\n\n", []),
    ],
)
def test_corners_of_the_format(body, found):
    assert [event.data for event in events(body.encode())] == found


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("complete", [True, False])
def test_a_cut_inside_a_character_is_no_fault_of_the_text(cut, complete):
    body = b"data: a\n\n: " + "🙂".encode()[:cut]
    assert events(body, complete=complete) == [Event(b"a", 9)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "body, count",
    [
        (b"\n" * 1_000_000, 0),
        (b"\r" * 1_000_000, 0),
        (b": x\n" * 40_000, 0),
        (b":" * 1_000_000, 0),
        (b"data: x\n" * 35_000, 1),
        (b"data: {}\n\n" * 100_000, 100_000),
        (b"data: {}\r\n\r\n" * 100_000, 100_000),
        (b"data: " + b"x" * 1_000_000, 1),
    ],
    ids=["newlines", "returns", "comments", "one comment", "one event", "plain", "crlf", "unfinished"],
)
def test_large_bodies_take_no_long_time(body, count):
    assert len(events(body)) == count


@pytest.mark.parametrize("lines", [b"data:\n", b":\n", b"data: x\r", b"id: 1\r\n"])
def test_an_event_of_more_lines_than_text_has_is_none(lines):
    with pytest.raises(NotText, match="too many lines") as caught:
        events(b"data: before\n\n" + lines * 100_000)

    assert caught.value.events == [Event(b"before", len(b"data: before\n\n"))]


def test_an_event_may_be_long():
    long = b"data: " + b"x" * 10_000_000 + b"\n"
    assert [len(event.data) for event in events(long + b"data: y\n\n" + long)] == [10_000_002, 10_000_000]
