"""The observing process, run as a thread of the test with sources that the test controls."""

import os
import threading
import time
from contextlib import contextmanager

import msgspec
import pytest

from llmlocust.observe.engines import ENGINES
from llmlocust.observe.program import Program
from llmlocust.observe.sources.source import Scrape, Source, SourceError

PATIENCE = 30.0


class Fake(Source):
    """A source that answers with the text of the moment; an exception is raised, and an Event is waited for."""

    def __init__(self, name, answer, *, server="", is_beside=False):
        self.name, self.url, self.answer, self.scrapes = name, f"http://{name}/metrics", answer, 0
        self.server, self.is_beside = server, is_beside

    def scrape(self):
        self.scrapes += 1
        answer = self.answer() if callable(self.answer) else self.answer
        if isinstance(answer, threading.Event):
            answer.wait()
            raise SourceError("ended")
        if isinstance(answer, Exception):
            raise answer
        return [Scrape(time.time(), answer)]


def vllm(**figures):
    values = {"num_requests_running": 2, "kv_cache_usage_perc": 0.5, "generation_tokens_total": 10} | figures
    return "".join(f"vllm:{name} {value}\n" for name, value in values.items()).encode()


class Running:
    """A running program: `send` a command, `wait_for` a message."""

    def __init__(self, sources, interval):
        self._commands, self._messages = os.pipe(), os.pipe()
        self.seen = []
        program = Program(sources, ENGINES, interval, os.fdopen(self._messages[1], "wb"))
        self._input = os.fdopen(self._commands[0], "rb")
        self.thread = threading.Thread(target=program.run, args=(self._input,), daemon=True)
        self.thread.start()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with os.fdopen(self._messages[0], "rb") as messages:
            for line in messages:
                self.seen.append(msgspec.json.decode(line))

    def send(self, do, **fields):
        os.write(self._commands[1], msgspec.json.encode({"do": do, **fields}) + b"\n")

    def wait_for(self, condition):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for message in list(self.seen):
                if condition(message):
                    return message
            time.sleep(0.01)
        pytest.fail(f"no such message among {self.seen[-5:]}")

    def close(self):
        os.close(self._commands[1])
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@contextmanager
def running(*sources, interval=0.05):
    program = Running(sources, interval)
    yield program
    program.close()


def level_rows(message):
    return {(row[1], row[2]): row for row in message["levels"]}


def test_a_level_has_rows_when_it_has_ended():
    tokens = iter(range(10, 10_000, 7))
    with running(Fake("a", lambda: vllm(generation_tokens_total=next(tokens)))) as program:
        program.wait_for(lambda message: message.get("values", {}).get("running") == 2.0)
        program.send("begin", level=3, time=time.time())
        count = len(program.seen)
        program.wait_for(lambda _: len(program.seen) > count + 5)
        program.send("end", level=3, time=time.time())
        message = program.wait_for(lambda message: message.get("level") == 3)
        rows = level_rows(message)
        assert rows["a", "kv.usage"][6] == 0.5
        assert rows["a", "generation_tokens"][11] > 0
        assert ("a", "vllm:kv_cache_usage_perc") in rows
        program.send("finish")
        assert program.wait_for(lambda message: message.get("done"))["cpu"] > 0.0
        source = program.wait_for(lambda message: message.get("sources") and message["sources"][0]["state"] == "ok")
        assert source["sources"][0]["engine"] == "vLLM"
        assert "running" in source["sources"][0]["exposes"]


def test_the_process_of_a_server_in_python_is_no_engine_of_its_own():
    python = b'python_info{version="3.11.7"} 1\nprocess_cpu_seconds_total 5\n'
    with running(Fake("server", lambda: vllm() + python), Fake("other", lambda: python)) as program:
        done = [{"server": "vLLM", "other": "Python process 3.11.7"}]
        program.wait_for(
            lambda message: [{source["name"]: source["engine"] for source in message.get("sources", [])}] == done
        )


def test_the_version_of_a_server_is_shown_with_its_name():
    source = Fake("a", vllm())
    source.version = "0.33.0"
    with running(source) as program:
        program.wait_for(lambda message: any(one["engine"] == "vLLM 0.33.0" for one in message.get("sources", ())))


def test_settings_of_a_source_are_those_of_its_metrics_and_those_beside_them():
    info = b'vllm:cache_config_info{gpu_memory_utilization="0.8"} 1\n'
    source = Fake("a", vllm() + info)
    source.settings = {"max_num_seqs": "4", "gpu_memory_utilization": "0.9"}
    with running(source) as program:
        expected = {"max_num_seqs": "4", "gpu_memory_utilization": "0.8"}
        program.wait_for(lambda message: any(one["settings"] == expected for one in message.get("sources", ())))


def test_a_source_that_hangs_delays_no_other_and_not_the_end():
    never = threading.Event()
    with running(Fake("good", vllm()), Fake("hangs", never)) as program:
        program.wait_for(lambda message: message.get("values"))
        program.send("begin", level=0, time=time.time())
        count = len(program.seen)
        program.wait_for(lambda _: len(program.seen) > count + 5)
        program.send("end", level=0, time=time.time())
        assert level_rows(program.wait_for(lambda message: message.get("level") == 0))
        program.send("finish")
        program.wait_for(lambda message: message.get("done"))
        last = [message for message in program.seen if "sources" in message][-1]["sources"]
        assert [source["state"] for source in last] == ["ok", "failed"]
    never.set()


@pytest.mark.parametrize(
    "nonsense", [SourceError("HTTP 500: no"), b"<html>", b"", b"\x00\xff" * 1000, RuntimeError("a defect")]
)
def test_nonsense_costs_only_its_samples(nonsense):
    with running(Fake("good", vllm()), Fake("bad", nonsense)) as program:
        program.wait_for(lambda message: message.get("values"))
        program.send("finish")
        program.wait_for(lambda message: message.get("done"))
        last = [message for message in program.seen if "sources" in message][-1]["sources"]
        assert [source["state"] for source in last] == ["ok", "failed"]
        assert last[1]["says"]


def test_seconds_without_an_answer_are_an_event(monkeypatch):
    monkeypatch.setattr("llmlocust.observe.program._SILENT", 0.2)
    state = {"answer": vllm()}
    with running(Fake("a", lambda: state["answer"])) as program:
        program.wait_for(lambda message: message.get("values"))
        state["answer"] = SourceError("refused")
        program.wait_for(lambda message: any("refused" in source["says"] for source in message.get("sources", ())))
        time.sleep(0.3)
        state["answer"] = vllm()
        event = program.wait_for(lambda message: "event" in message)["event"]
        assert (event["kind"], event["source"]) == ("silent", "a")
        assert event["seconds"] >= 0.2
        assert "refused" in event["says"]


def test_a_restart_is_an_event():
    state = {"answer": vllm(generation_tokens_total=500)}
    with running(Fake("a", lambda: state["answer"])) as program:
        program.wait_for(lambda message: message.get("values"))
        state["answer"] = vllm(generation_tokens_total=3)
        assert program.wait_for(lambda message: "event" in message)["event"]["kind"] == "restart"


def events_of(program):
    return [message["event"] for message in program.seen if "event" in message]


def ended(program):
    program.send("finish")
    program.wait_for(lambda message: message.get("done"))
    return sorted((event["kind"], event["source"]) for event in events_of(program))


def test_one_silent_server_is_one_event_however_many_sources_ask_it(monkeypatch):
    monkeypatch.setattr("llmlocust.observe.program._SILENT", 0.2)
    state = {"answer": vllm()}

    def answer():
        return state["answer"]

    sources = [
        Fake("port 8000", answer, server="localhost:8000", is_beside=True),
        Fake("metrics", answer, server="localhost:8000"),
        Fake("slots", answer, server="localhost:8000"),
        Fake("another", answer, server="gpu-box:8000"),
    ]
    with running(*sources) as program:
        program.wait_for(lambda message: message.get("values", {}).get("running") == 8.0)
        state["answer"] = SourceError("refused")
        failed = {"port 8000", "metrics", "slots", "another"}
        program.wait_for(
            lambda message: failed == {one["name"] for one in message.get("sources", ()) if "refused" in one["says"]}
        )
        time.sleep(0.3)
        state["answer"] = vllm()
        counts = [source.scrapes for source in sources]
        program.wait_for(
            lambda _: all(source.scrapes > count + 2 for source, count in zip(sources, counts, strict=True))
        )
        assert ended(program) == [("silent", "another"), ("silent", "metrics")]


def test_the_end_of_a_process_is_an_event_where_nothing_else_describes_the_server(monkeypatch):
    monkeypatch.setattr("llmlocust.observe.program._SILENT", 0.2)
    state = {"answer": vllm()}
    with running(Fake("port 8000", lambda: state["answer"], server="localhost:8000", is_beside=True)) as program:
        program.wait_for(lambda message: message.get("values"))
        state["answer"] = SourceError("no process")
        program.wait_for(lambda message: any("no process" in source["says"] for source in message.get("sources", ())))
        time.sleep(0.3)
        state["answer"] = vllm()
        program.wait_for(lambda message: "event" in message)
        assert ended(program) == [("silent", "port 8000")]


def test_one_restart_is_one_event_however_many_sources_see_it():
    state = {"answer": vllm(generation_tokens_total=500)}

    def answer():
        return state["answer"]

    sources = [
        Fake("port 8000", answer, server="localhost:8000", is_beside=True),
        Fake("metrics", answer, server="localhost:8000"),
    ]
    with running(*sources) as program:
        program.wait_for(lambda message: message.get("values", {}).get("running") == 4.0)
        for _ in range(2):
            for tokens in (3, 500):
                state["answer"] = vllm(generation_tokens_total=tokens)
                counts = [source.scrapes for source in sources]
                program.wait_for(
                    lambda _, counts=counts: all(
                        source.scrapes > count + 2 for source, count in zip(sources, counts, strict=True)
                    )
                )
        assert ended(program) == [("restart", "metrics")] * 2


def test_the_program_ends_with_its_input():
    with running(Fake("a", vllm())):
        pass  # `close` asserts that it ends


def test_sources_of_the_same_name_get_distinct_names():
    with running(Fake("a", vllm()), Fake("a", vllm(num_requests_running=5))) as program:
        program.wait_for(lambda message: message.get("values", {}).get("running") == 7.0)
        program.send("finish")
        program.wait_for(lambda message: message.get("done"))
        last = [message for message in program.seen if "sources" in message][-1]["sources"]
        assert [source["name"] for source in last] == ["a", "a (2)"]


def test_a_remark_of_a_source_is_shown_once():
    source = Fake("a", vllm())
    source.notice = "open files need root"
    with running(source) as program:
        program.wait_for(lambda message: message.get("says") == "a: open files need root")
        count = len(program.seen)
        program.wait_for(lambda _: len(program.seen) > count + 5)
        assert sum("says" in message for message in program.seen) == 1
