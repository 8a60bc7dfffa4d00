"""The notation of a fault plan, and the order of its injections."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.faults import actions, notation
from llmlocust.faults.actions import Call, CommandAction, DockerAction, HttpAction, ProxyAction
from llmlocust.faults.proxy import faults as proxy_faults
from llmlocust.faults.schedule import (
    PlannedFault,
    Schedule,
    anchor_of,
    fault,
    injections,
    moments,
    parse,
    read_toml,
)
from llmlocust.metrics.vocabulary import PHASES

NOTATIONS = [
    "at 60s for 20s: down",
    "outage = at level 100 + 10s for 20s every 120s x3: status 503 on 50% of requests",
    'at phase surge + 5s: kill port 8000 restart "./serve.sh \\"a b\\" --x" healthy http://127.0.0.1:8000/health within 10s',
    'at 1s: term process vllm restart "systemctl start vllm"',
    "at 1s for 2s: freeze container llm-1",
    "at 0s for 500ms: freeze pid 123",
    'at 1s for 2s: tc eth0 "tbf rate 1mbit burst 32kbit latency 400ms" in netns a',
    "at 1s for 2s: block port 8000 in netns a",
    "at 1s for 2s: reject port 8000",
    "at 1s for 2s: cpu 2 load 50%",
    "at 1s for 2s: memory 2GB",
    'at 1s for 2s: disk 500MB in "/var/tmp/a b"',
    "at 1s for 2s every 3s: docker pause vllm",
    "at 1s every 3600s x2: docker restart vllm healthy http://127.0.0.1:8000/health",
    'at 1s for 2s: kubectl scale deployment/llm --replicas=0 until "scale deployment/llm --replicas=1"',
    'at 1s: run "./roll.sh --drain" check "./is_rolling.sh"',
    'at 1s for 2s: http POST http://127.0.0.1/fault body "{\\"a\\": 1}" until DELETE http://127.0.0.1/fault check http://127.0.0.1/fault',
    "at 1s for 2s: latency 200ms jitter 5ms upstream on 10% of connections via toxiproxy http://127.0.0.1:8474/llm",
]


@pytest.mark.parametrize("text", NOTATIONS)
def test_a_fault_is_written_as_it_is_read(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text, usual",
    [
        ("  at  1m  for 500 ms :  black hole ", "at 60s for 500ms: blackhole"),
        ("at 1s x3 every 2m for 1s: down", "at 1s for 1s every 120s x3: down"),
        ("at level 100.0: down", "at level 100 + 0s: down"),
        ("at level 2.5+1s: down", "at level 2.5 + 1s: down"),
        ("at 1s: KILL port 80", "at 1s: kill port 80"),
        ("a=at 1s: tc lo 'tbf rate 1mbit'", 'a = at 1s: tc lo "tbf rate 1mbit"'),
        (
            'at 1s for 1s: kubectl drain n1 until "kubectl uncordon n1"',
            'at 1s for 1s: kubectl drain n1 until "uncordon n1"',
        ),
        (
            'at 1s for 1s: http POST http://h/a until "DELETE http://h/a"',
            "at 1s for 1s: http POST http://h/a until DELETE http://h/a",
        ),
    ],
)
def test_other_ways_to_write_a_fault(text, usual):
    assert str(parse(text)) == usual


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "write it like 'at 60s for 20s: down'"),
        ("down", "write it like 'at 60s for 20s: down'"),
        ("at 1s: do\nwn", "write it like 'at 60s for 20s: down'"),
        ("at 60: down", "cannot read the moment '60': write 'at 60s', 'at level 100 + 10s'"),
        ("at 60s for 20s x3: down", "'x3' needs the interval of the injections: 'at 60s for 20s every 2m x3: down'"),
        ("at 60s every 2m: down", "overlap, because they last until the end of the run"),
        ("at 60s for 3m every 2m: down", "each lasts 180s, and the next one begins after 120s"),
        ("at 60s for 2m every 2m: down", "the injections overlap"),
        ("at 60s for 0s: down", "must be above zero"),
        ("at 60s for 1s every 2s x0: down", "must be above zero"),
        ("at 1s for 2s for 3s: down", "'for 3s' is one too many"),
        ("at 1s for 2s now every 5s: down", "cannot read 'now'"),
        ("at 800h: down", "longer than 30 days"),
        ("at phase x + 1s: down", "there is no phase 'x': the phases are baseline, linear"),
        ("at level a: down", "'a' is no load of a level: write it like 'at level 100 + 10s for 20s: down'"),
        ("at 1s: explode", "unknown action 'explode'; write one like 'down' or 'kill port 8000', of: down, refuse"),
        ("at 1s for 2s: latency", "write it like 'latency 200ms jitter 50ms'"),
        ("at 1s for 3s: kill port 80", "leave out 'for', or give 'restart \"COMMAND\"'"),
        ("at 1s for 3s: docker restart x", "cannot be lifted after a time"),
        ('at 1s for 3s: run "a"', "give 'until …'"),
        ("at 1s: freeze port 99999", "no number from 1 to 65535; write it like 'freeze port 8000'"),
        ("at 1s: freeze port 80 restart x", "it needs pid 123, port 8000"),
        ("at 1s every 5s: kill pid 80", "works once, because the next process has another pid: name a port"),
        ("at 1s: kill 80", "it needs pid 123, port 8000, container NAME or process NAME"),
        ("at 1s: kill port 80 within 3s", "'within' needs 'healthy URL'"),
        ("at 1s: kill port 80 healthy ftp://x", "is no URL: write one like http://127.0.0.1:8000/health"),
        ("at 1s: kill port 80 restart a b", "'restart' takes one value, in quotation marks if it has spaces"),
        ("at 1s: kill port 80 restart a restart b", "is given once"),
        ("at 1s: cpu 2 load 500%", "at most 100%; write it like 'cpu 2 load 50%'"),
        ("at 1s: memory lots", "'lots' is no size: write one like 500MB or 2GB"),
        ("at 1s: disk 1GB", "it needs a size and a folder"),
        ("at 1s: tc lo x in foo", "in netns NAME"),
        ("at 1s: tc -force x", "'-force' is no name"),
        ("at 1s: docker rm x", "it needs pause, stop, kill or restart"),
        ("at 1s: docker pause --all", "'--all' is no name"),
        ("at 1s: http FETCH http://a", "a call is a method"),
        ("at 1s: http POST http://a until", "a call is a method"),
        ('at 1s: run "a', "a quotation mark has no second one"),
        ("at 1s: status 503 via toxiproxy http://h:1/x", "toxiproxy has no 'status 503': it has down, latency"),
        ("at 1s: cut after 5 tokens via toxiproxy http://h:1/x", "toxiproxy has no 'cut after 5 tokens'"),
        ("at 1s: latency 1s on 5% of requests via toxiproxy http://h:1/x", "draws connections, not requests"),
        ("at 1s: bandwidth 1B/s via toxiproxy http://h:1/x", "whole kB/s"),
        ("at 1s: down via toxiproxy http://h:1/", "names no proxy: write it like 'via toxiproxy http://127.0.0.1:8474/NAME'"),
    ],
)  # fmt: skip
def test_a_bad_fault_is_an_error_of_one_line_with_a_valid_example(text, words):
    with pytest.raises(ValueError) as problem:
        parse(text)
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


def test_secrets_of_a_request_are_not_in_its_name():
    planned = parse(
        'at 1s for 1s: http POST http://u:secret@h/a?key=secret body "secret" until DELETE http://h/a?k=secret'
    )
    assert "secret" not in planned.shown_name
    assert "secret" in str(planned)


# ── round trips ──

durations = st.integers(1, 10**9).map(lambda micro: micro / 1e6)
words = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C", "Z"]) | st.just(" "), min_size=1
)
plain_words = words.map(str.strip).filter(bool)
names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_.-]{0,20}", fullmatch=True)
urls = st.builds("http://{}:{}/{}".format, names.map(str.lower), st.integers(1, 65535), names).filter(
    lambda url: "." not in url.split("/")[2]
)
proxied = st.sampled_from(
    ["down", "refuse on 20% of connections", "latency 20ms", "cut after 4kB", "status 503", "bandwidth 5kB/s"]
).map(proxy_faults.parse)
sizes = st.integers(1, 10**12)
lasting = st.one_of(
    proxied.map(lambda one: ProxyAction(one.kind, one)),
    st.builds(
        actions.SignalAction,
        st.sampled_from(["kill", "term"]),
        st.builds(actions.Target, st.just("process"), names),
        restart=plain_words,
        healthy=urls,
        within=durations,
    ),
    st.builds(actions.TrafficAction, st.just("tc"), names, st.lists(names, min_size=1).map(tuple), names),
    st.builds(actions.PortAction, st.sampled_from(["block", "reject"]), st.integers(1, 65535), names),
    st.builds(actions.PressureAction, st.just("memory"), sizes),
    st.builds(actions.PressureAction, st.just("disk"), sizes, folder=plain_words),
    st.builds(DockerAction, st.just("docker"), st.just("pause"), names),
    st.builds(CommandAction, st.just("run"), plain_words, plain_words, st.just("") | plain_words),
    st.builds(
        HttpAction,
        st.just("http"),
        st.builds(Call, st.sampled_from(["POST", "PUT"]), urls),
        st.just("") | plain_words,
        st.builds(Call, st.just("DELETE"), urls),
        st.just("") | urls,
    ),
)
anchors = st.one_of(
    st.just("run"),
    st.integers(1, 10**6).map("level {}".format),
    st.sampled_from(sorted(PHASES)).map("phase {}".format),
)


@st.composite
def planned_faults(draw):
    seconds = draw(durations)
    every = draw(st.none() | durations.map(lambda more: round(seconds + more, 6)))
    times = None if every is None else draw(st.none() | st.integers(1, 10**5))
    name = draw(st.just("") | names)
    return PlannedFault(draw(lasting), draw(durations), draw(anchors), seconds, every, times, name)


@given(planned_faults())
def test_every_fault_can_be_written_and_read(planned):
    assert parse(str(planned)) == planned


def read_or_refused(read, text):
    """Return what was read; None if the text was refused in one line."""
    try:
        return read(text)
    except ValueError as problem:
        lines = str(problem).splitlines()
    assert len(lines) == 1
    return None


@given(st.text())
def test_any_text_is_read_or_an_error_of_one_line(text):
    if planned := read_or_refused(parse, text):
        assert parse(str(planned)) == planned


@given(st.sampled_from(sorted(actions._GRAMMAR)), st.text())
def test_any_values_of_an_action_are_read_or_an_error_of_one_line(kind, text):
    if action := read_or_refused(actions.parse, f"{kind} {text}"):
        assert actions.parse(str(action)) == action


@given(durations)
def test_durations_are_written_exactly(seconds):
    assert notation.seconds(notation.duration(seconds)) == seconds


@given(st.lists(st.text()))
def test_words_are_split_as_they_were_joined(texts):
    assert notation.words_of(notation.joined(texts)) == texts


# ── Python and files ──


def test_a_locustfile_builds_a_fault_from_arguments():
    assert fault("down", at="60s", for_="20s") == parse("at 60s for 20s: down")
    assert fault("down", at=60, for_=0.5, every="2m", times=3, name="a") == parse(
        "a = at 60s for 500ms every 2m x3: down"
    )
    assert fault("down", at="level 100 + 10s") == parse("at level 100 + 10s: down")
    with pytest.raises(ValueError, match="write 'at 60s'"):
        fault("down", at="soon")


def test_a_file_has_tables_with_the_phrases_as_keys(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        """
[[fault]]
name = "crash"
at = "level 100 + 10s"
for = 20
every = "2m"
times = 3
do = "kill port 8000"
restart = "./serve.sh \\"x\\""
healthy = "http://127.0.0.1:8000/health"
within = 60

[[fault]]
at = 5
do = "cpu 2"
load = "50%"
"""
    )
    crash, cpu = map(str, read_toml(path))
    assert crash == (
        'crash = at level 100 + 10s for 20s every 120s x3: kill port 8000 restart "./serve.sh \\"x\\"" '
        "healthy http://127.0.0.1:8000/health within 60s"
    )
    assert cpu == "at 5s: cpu 2 load 50%"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "has only [[fault]] tables with keys such as"),
        ("x = 1", "has only [[fault]] tables"),
        ("fault = 3", "has only [[fault]] tables"),
        ("[[fault]", "plan.toml: "),
        ('[[fault]]\nat = "1s"', "fault 1: 'do' is missing: write at ="),
        ('[[fault]]\nat = "1s"\ndo = "down"\ndrain = 1', "unknown key 'drain'; the keys are at, body, check, do, every, for"),
        ('[[fault]]\nat = true\ndo = "down"', "at = True has the wrong type"),
        ('[[fault]]\nat = "1s"\ndo = "down"\n[[fault]]\nat = "1s"\ndo = "up"', "fault 2: unknown action 'up'"),
        ('[[fault]]\nat = "1s"\ndo = "down"\nrestart = "x"', "fault 1: fault 'down restart \"x\"': its values cannot be read"),
    ],
)  # fmt: skip
def test_a_bad_file_is_an_error_that_names_the_place(tmp_path, text, words):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as problem:
        read_toml(path)
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


# ── the schedule ──


def plan(*texts):
    return [parse(text) for text in texts]


def test_injections_are_due_relative_to_their_anchors():
    faults = plan("at 60s for 20s every 100s x2: down", "at level 100 + 10s: reset", "at phase surge: kill port 1")
    due = injections(faults, {"run": 1000.0, "level 100": 1050.0}, 2000.0)
    assert [(one.due, one.lift, one.id) for one in due] == [
        (1060.0, 1080.0, "1.1"),
        (1060.0, None, "2.1"),
        (1160.0, 1180.0, "1.2"),
    ]
    assert moments(due) == [
        (1060.0, "inject", "1.1"),
        (1060.0, "inject", "2.1"),
        (1080.0, "lift", "1.1"),
        (1160.0, "inject", "1.2"),
        (1180.0, "lift", "1.2"),
    ]


def test_an_anchor_counts_once():
    schedule = Schedule(plan("at level 100 + 1s for 1s: down"))
    schedule.start(anchor_of("level 100.0"), 10.0)
    assert len(schedule.take(20.0)) == 1
    schedule.start("level 100", 30.0)
    assert schedule.take(100.0) == []


def test_injections_that_were_never_due_are_left():
    schedule = Schedule(plan("at 1s for 1s every 2s x3: down", "at level 5: down", "at 1s for 1s every 2s: reset"))
    schedule.start("run", 0.0)
    schedule.take(3.0)
    assert [injection_id for injection_id, _ in schedule.left()] == ["1.3", "2.1"]
    schedule.take(5.0)
    assert [injection_id for injection_id, _ in schedule.left()] == ["2.1"]
    assert [injection_id for injection_id, _ in Schedule(plan("at 1s for 1s every 2s: down")).left()] == ["1.1"]


@given(st.lists(planned_faults(), max_size=5), st.lists(st.floats(0.0, 1e4), min_size=1, max_size=10))
def test_taking_in_pieces_gives_the_same_injections_as_at_once(faults, steps):
    faults = [one for one in faults if one.every is None or one.every > 10.0]
    started = {one.anchor: 100.0 for one in faults}
    schedule, until, taken = Schedule(faults), 100.0, []
    for anchor, moment in started.items():
        schedule.start(anchor, moment)
    for step in steps:
        until += step
        taken += schedule.take(until)
        assert schedule.next_due is None or schedule.next_due > until
    assert taken == injections(faults, started, until)
    assert len({one.id for one in taken}) == len(taken)
    assert all(first.due <= second.due for first, second in pairwise(taken))
    for one in taken:
        assert one.fault.times is None or int(one.id.partition(".")[2]) <= one.fault.times
