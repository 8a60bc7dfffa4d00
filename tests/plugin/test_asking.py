"""What is asked in a real run: drawn values, lengths, conversations, one sequence for all workers, right answers."""

import json
from collections import Counter

import pytest

from llmlocust.load.distributions import Draws
from llmlocust.load.prompts import Prompts, load
from tests.locusts import QUICK, distributed, rows, run
from tests.plugin.scripted import CHUNKED, keeps_open, scripted_server
from tests.simulators import running_simulator

SHORT = ["--llm-levels", "4", "--llm-warmup", "0", "--llm-hold", "1.5", "--llm-preflight=false", "--llm-model", "m"]
SHORT += ["--llm-think-time", "0.05"]  # the server answers at once, and rows of too many requests would be sampled


@pytest.fixture
def server():
    with scripted_server(keeps_open(CHUNKED)) as started:
        yield started


def bodies(server) -> list[dict]:
    requests = [request.partition(b"\r\n\r\n") for request in server.requests]
    return [json.loads(body) for head, _, body in requests if head.startswith(b"POST")]


def url(server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_values_are_drawn_for_each_request(server, tmp_path):
    body = {"top_p": "uniform:0.5-0.9", "options": {"seed": "whole:1-9"}, "stop": "x-1"}
    sampling = ["--llm-temperature", "0.1-1.0", "--llm-max-tokens", "whole:64-2048", "--llm-force-length"]
    run(tmp_path, url(server), *SHORT, *sampling, "--llm-body", json.dumps(body))

    requests = bodies(server)
    assert len(requests) > 10
    assert all(0.1 <= request["temperature"] <= 1.0 and 0.5 <= request["top_p"] <= 0.9 for request in requests)
    assert all(
        64 <= request["max_tokens"] == request["min_tokens"] <= 2048 and request["ignore_eos"] for request in requests
    )
    assert {request["options"]["seed"] for request in requests} <= set(range(1, 10))
    assert {request["stop"] for request in requests} == {"x-1"}
    for values in zip(
        *((request["temperature"], request["top_p"], request["max_tokens"]) for request in requests), strict=True
    ):
        assert len(set(values)) > len(requests) // 2


def test_a_row_that_says_how_long_its_answer_is_to_be_is_asked_so(server, tmp_path):
    lengths = {"none": None, "five": 5, "six": 6}
    (tmp_path / "rows.csv").write_text(
        "prompt,output_tokens\n" + "".join(f"{k},{v or ''}\n" for k, v in lengths.items())
    )
    talks = ["--llm-turns", "2", "--llm-max-tokens", "7", "--llm-force-length", "--llm-unique=false"]
    run(tmp_path, url(server), *SHORT, *talks, "--llm-prompts", "rows.csv")

    sent = [(body["messages"][-1]["content"], body["max_tokens"], body["min_tokens"]) for body in bodies(server)]
    assert set(sent) == {("none", 7, 7), ("five", 5, 5), ("six", 6, 6)}


def prompts_of(server) -> list[str]:
    return [body["messages"][0]["content"] for body in bodies(server)]


def sequence(many: int) -> list[str]:
    """What a seed gives, whoever asks."""
    draws, prompts = Draws("a seed"), Prompts(load("short"))
    sources = [draws.next() for _ in range(many)]
    return [str(prompts.prepare(prompts.pick(source), source)) for source in sources]


USERS = 4
"""So many prompts may be drawn and not be sent: a user that is told to stop does not begin a request."""


def places(prompts: list[str]) -> list[int]:
    """Where in the sequence prompts stand, in its order; each is asked once."""
    known = sequence(3 * len(prompts) + 3 * USERS)
    positions = sorted(known.index(prompt) for prompt in prompts)
    assert len(set(positions)) == len(positions)
    return positions


def test_a_seed_gives_the_same_prompts_on_one_process_and_on_two_workers(tmp_path):
    options = [*SHORT, "--llm-seed", "a seed"]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with scripted_server(keeps_open(CHUNKED)) as server:
        run(tmp_path / "one", url(server), *options)
        alone = places(prompts_of(server))
    assert alone[-1] < len(alone) + USERS

    with scripted_server(keeps_open(CHUNKED)) as server:
        with distributed(tmp_path / "two", url(server), *options) as both:
            both.master.ends()
        together = places(prompts_of(server))
    parts = [[place // 2 for place in together if place % 2 == worker] for worker in (0, 1)]
    assert all(part and part[-1] < len(part) + USERS for part in parts)


def test_conversations_say_again_what_was_said_and_have_numbers_by_turn(server, tmp_path):
    talk = {"conversations": [{"from": "human", "value": text} for text in ("one", "two", "three", "four")]}
    (tmp_path / "talks.jsonl").write_text(json.dumps(talk))
    run(tmp_path, url(server), *SHORT, "--llm-prompts", "talks.jsonl", "--llm-turns", "3", "--llm-system", "be brief")

    conversations = [body["messages"] for body in bodies(server)]
    roles = {tuple(message["role"] for message in messages) for messages in conversations}
    turn = ("user", "assistant")
    assert roles == {("system", *turn * number, "user") for number in range(3)}
    third = next(messages for messages in conversations if len(messages) == 6)
    assert [message["content"] for message in third[2:]] == ["word more!", "two", "word more!", "three"]
    assert third[1]["content"].endswith("] one")
    by_name = Counter(row["name"] for row in rows(tmp_path, "llm_requests.csv"))
    assert set(by_name) == {"turn 1", "turn 2", "turn 3"}
    assert {row["name"] for row in rows(tmp_path, "llm_histograms.csv")} == set(by_name)


OWN_TALK = """
from locust import task
from llmlocust import LLMUser, SteppedRamp

class Talker(LLMUser):
    turns = 2
    prompts = ["and then?"]

    @task
    def have_a_talk(self):
        self.talk("hello", name="step", temperature=0.5)

class Ramp(SteppedRamp):
    pass
"""


def test_a_question_of_ones_own_begins_a_conversation_as_it_is(server, tmp_path):
    run(tmp_path, url(server), *SHORT, locustfile=OWN_TALK)

    words = {tuple(message["content"] for message in body["messages"]) for body in bodies(server)}
    assert words == {("hello",), ("hello", "word more!", "and then?")}
    assert {body["temperature"] for body in bodies(server)} == {0.5}
    assert {row["name"] for row in rows(tmp_path, "llm_requests.csv")} == {"step 1", "step 2"}


JUDGE_THAT_WAITS = """
import gevent
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    def is_right(self, question, record):
        gevent.sleep(1000)

class Ramp(SteppedRamp):
    pass
"""


def test_who_is_killed_while_it_judges_has_its_request_counted(server, tmp_path):
    run(tmp_path, url(server), *SHORT, "--llm-drain", "0", locustfile=JUDGE_THAT_WAITS)

    assert [(row["outcome"], row["right"]) for row in rows(tmp_path, "llm_requests.csv")] == [("ok", "")] * USERS
    assert len(bodies(server)) == USERS


def test_right_answers_are_counted_by_level(server, tmp_path):
    (tmp_path / "prompts.txt").write_text("known\nknown to be other\nnot known\n")
    answers = [{"prompt": "known", "answer": "more"}, {"prompt": "known to be other", "answer": "less"}]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    run(tmp_path, url(server), *SHORT, "--llm-prompts", "prompts.txt", "--llm-right-answers", "answers.jsonl")

    (level,) = rows(tmp_path, "llm_levels.csv")
    measured = [row["right"] for row in rows(tmp_path, "llm_requests.csv") if row["measured"] == "1"]
    assert int(level["judged"]) == len(measured) - measured.count("") > 0
    assert float(level["right"]) == pytest.approx(measured.count("1") / int(level["judged"]))
    assert {*measured} == {"1", "0", ""}


OWN_CHECK = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    prompts = ["good", "bad", "odd"]

    def is_right(self, question, record):
        if question == "odd":
            raise ValueError("cannot judge that")
        return question == "good" and record.text == "word more!"

class Ramp(SteppedRamp):
    pass
"""


def test_a_check_of_ones_own_judges_and_loses_nothing_when_it_fails(server, tmp_path):
    locust = run(tmp_path, url(server), *SHORT, locustfile=OWN_CHECK)

    requests = rows(tmp_path, "llm_requests.csv")
    assert {row["right"] for row in requests if row["outcome"] == "ok"} == {"1", "0", ""}
    assert len(requests) == len(bodies(server))
    assert "cannot judge that" in (tmp_path / "run_exceptions.csv").read_text(), locust.log


def test_prompts_have_the_length_that_was_asked_for_by_the_servers_own_count(tmp_path):
    sized = ["--llm-prompt-tokens", "300", "--llm-prefix-tokens", "100", "--llm-prefix-share", "0.5"]
    with running_simulator(step_ms=1) as simulator:
        locust = run(tmp_path, simulator.url, *QUICK, *sized)

    assert "lengths of prompts are estimated" in locust.log
    counted = [float(row["input_tokens"]) for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] == "ok"]
    assert all(count == pytest.approx(300, rel=0.15) for count in counted)


def test_who_forces_a_length_that_the_server_does_not_know_is_told(server, tmp_path):
    locust = run(tmp_path, url(server), *SHORT, "--llm-preflight=true", "--llm-force-length")

    assert "the server ended a first answer after 3 of 16 tokens" in locust.log
    assert locust.process.returncode == 0
