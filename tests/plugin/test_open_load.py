"""Whole runs of the real Locust in open load against the simulator."""

import json
import signal
from itertools import pairwise

import pytest

from tests.locusts import (
    ENDLESS_ANSWERS,
    NO_RAMP,
    RAMP,
    Locust,
    assert_files_agree,
    distributed,
    due_by_worker,
    outcomes,
    rows,
    run,
    run_info,
)
from tests.plugin.scripted import CHUNKED, keeps_open, scripted_server
from tests.simulators import running_simulator, served, wait_for

RATES = RAMP.replace("SteppedRamp", "RateRamp")
TWO_CLASSES = f"""{RATES}
from locust import task
from llmlocust import LLMUser

class Other(LLMUser):
    weight = 2

    @task
    def ask(self):
        self.chat(name="other")
"""
FAILING_TASK = RATES.replace("    pass\n", "    def on_start(self):\n        self.chat = None\n", 1)
SHORT = ["--llm-warmup", "0.5", "--llm-hold", "2", "--llm-max-tokens", "10"]
CONSTANT = ["--llm-arrivals", "constant", *SHORT]


@pytest.fixture
def simulator():
    with running_simulator(slots=50, step_ms=2) as started:
        yield started


def levels(folder):
    return rows(folder, "llm_levels.csv")


def ten_of_each(schedules):
    return len(schedules) == 2 and all(len(moments) >= 10 for moments in schedules.values())


def check_gaps(moments, gap):
    """All equal, but where a level began while requests of the one before were still sent."""
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(gaps) >= 5
    assert gaps[2:-2] == pytest.approx([gap] * (len(gaps) - 4), abs=0.001)


def check_all_is_told(folder, simulator):
    """Whatever was due was sent, whatever was sent came, and latency counts from when it was due."""
    for level in levels(folder):
        assert level["unit"] == "rate"
        assert int(level["dropped"]) == 0
        assert int(level["delay_count"]) == int(level["e2e_due_count"]) == int(level["ok"])
        assert float(level["e2e_due_mean"]) == pytest.approx(
            float(level["e2e_mean"]) + float(level["delay_mean"]), rel=1e-3
        )
    requests = rows(folder, "llm_requests.csv")
    assert all(float(row["delay"]) >= 0.0 for row in requests)
    assert len(requests) == served(simulator)


def test_levels_are_rates_and_what_is_due_is_sent(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, "--llm-levels", "8,20.5", *CONSTANT, locustfile=RATES)

    assert locust.process.returncode == 0, locust.log
    check_all_is_told(tmp_path, simulator)
    for index, (level, rate) in enumerate(zip(levels(tmp_path), (8.0, 20.5), strict=True)):
        assert float(level["load"]) == rate
        assert abs(int(level["due"]) - rate * float(level["window"])) <= 1.0
        (moments,) = due_by_worker(tmp_path, str(index)).values()
        check_gaps(moments, 1.0 / rate)
    plan = run_info(tmp_path)["plan"]
    assert (plan["unit"], plan["levels"], plan["arrivals"]) == ("rate", [8.0, 20.5], "constant")
    assert "level 2: 20.5 requests/s" in locust.log


@pytest.mark.parametrize("locustfile", [RAMP, NO_RAMP], ids=["a ramp", "no ramp"])
def test_an_option_makes_a_rate_of_any_locustfile(simulator, tmp_path, locustfile):
    locust = run(tmp_path, simulator.url, "--llm-rate", "20", *SHORT, locustfile=locustfile)

    assert locust.process.returncode == 0, locust.log
    check_all_is_told(tmp_path, simulator)
    assert [float(level["load"]) for level in levels(tmp_path)] == [20.0]
    assert run_info(tmp_path)["plan"]["arrivals"] == "poisson"


def test_the_rates_of_workers_add_up(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, "--llm-levels", "20,80", *CONSTANT, locustfile=RATES) as stack:
        assert stack.master.ends() == 0, stack.master.log

    check_all_is_told(tmp_path, simulator)
    for index, rate in enumerate((20.0, 80.0)):
        schedules = due_by_worker(tmp_path, str(index))
        assert len(schedules) == 2
        for moments in schedules.values():
            check_gaps(moments, 2.0 / rate)


def test_a_worker_that_goes_leaves_its_part_to_the_others(simulator, tmp_path):
    hold = ["--llm-rate", "20", "--llm-hold", "100", "--llm-arrivals", "constant", "--llm-max-tokens", "5"]
    with distributed(tmp_path, simulator.url, *hold, locustfile=RATES) as stack:
        file = tmp_path / "run_llm_requests.csv"
        wait_for(lambda: file.exists() and ten_of_each(due_by_worker(tmp_path)))
        stack.workers[0].stop(signal.SIGTERM)
        stack.master.wait_for_log("1 worker sends the whole rate from now on")
        before = served(simulator)
        wait_for(lambda: served(simulator), lambda requests: requests >= before + 40)
        stack.master.stop()

    schedules = due_by_worker(tmp_path)
    last = max(schedules.values(), key=lambda moments: moments[-1])
    assert len(schedules) == 2
    check_gaps(last[:10], 0.1)
    check_gaps(last[-20:], 0.05)


def test_a_server_that_cannot_keep_up_is_not_spared(tmp_path):
    with running_simulator(slots=2, step_ms=10, step_ms_per_seq=0) as simulator:  # some 10 a second
        locust = run(
            tmp_path, simulator.url, "--llm-rate", "40", "--llm-drain", "60", *CONSTANT, *ENDLESS_ANSWERS, "--llm-max-tokens", "20", locustfile=RATES
        )  # fmt: skip
        assert locust.process.returncode == 0, locust.log
        check_all_is_told(tmp_path, simulator)

    level = levels(tmp_path)[0]
    assert int(level["due"]) >= 70
    assert int(level["requests"]) == int(level["ok"])
    assert float(level["throughput"]) < 20.0
    assert float(level["ttft_max"]) > 1000.0
    (moments,) = due_by_worker(tmp_path).values()
    check_gaps(moments, 0.025)


@pytest.mark.parametrize("drain, outcome", [("60", "ok"), ("1", "aborted")])
def test_what_workers_have_in_flight_at_the_end_is_waited_for_and_counted(tmp_path, drain, outcome):
    """Some eight seconds of it: longer than a master waits where it believes that no user is left."""
    impatient = f"from llmlocust.plugin.generator import collector\ncollector._USERS_END_WITHIN = 0.5\n{RATES}"
    with running_simulator(slots=1, step_ms=10, step_ms_per_seq=0) as simulator:  # some 10 a second
        options = ["--llm-rate", "40", "--llm-drain", drain, *CONSTANT, *ENDLESS_ANSWERS]
        with distributed(tmp_path, simulator.url, *options, locustfile=impatient) as stack:
            assert stack.master.ends() == 0, stack.master.log
        assert sum(outcomes(tmp_path).values()) == served(simulator)

    assert_files_agree(tmp_path)
    assert outcomes(tmp_path)[outcome] > 20
    assert outcomes(tmp_path)["aborted"] == 0 or outcome == "aborted"


def test_a_cap_of_requests_in_flight_says_when_it_bites(tmp_path):
    with running_simulator(slots=2, step_ms=10, step_ms_per_seq=0) as simulator:
        options = ["--llm-max-in-flight", "6", "--llm-max-tokens", "20", *ENDLESS_ANSWERS]
        locust = run(tmp_path, simulator.url, "--llm-rate", "40", *CONSTANT, *options, locustfile=RATES)

    level = levels(tmp_path)[0]
    assert int(level["dropped"]) > 20
    assert int(level["requests"]) + int(level["dropped"]) == pytest.approx(int(level["due"]), abs=6)
    assert max(float(row["in_flight"]) for row in rows(tmp_path, "llm_timeline.csv")) <= 6
    assert f"{level['dropped']} dropped by the cap of requests in flight" in locust.log


def test_what_is_cut_off_is_counted_as_aborted(tmp_path):
    slow = ["--llm-rate", "20", "--llm-hold", "100", "--llm-max-tokens", "5000", *ENDLESS_ANSWERS]
    args = ["--headless", "--only-summary", "--csv", "run", *slow]
    with running_simulator(slots=100, step_ms=20) as simulator:
        with Locust(tmp_path, [*args, "--host", simulator.url], RATES) as locust:
            wait_for(lambda: served(simulator), lambda requests: requests >= 20)
            locust.stop()

        assert outcomes(tmp_path)["aborted"] >= 20
        counts = run_info(tmp_path)["counts"]
        assert sum(outcomes(tmp_path).values()) == counts["sent"] == counts["ended"]


def test_several_classes_share_the_rate_by_their_weights(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, "--llm-rate", "30", *CONSTANT, locustfile=TWO_CLASSES)

    assert locust.process.returncode == 0, locust.log
    names = [row["name"] for row in rows(tmp_path, "llm_requests.csv")]
    assert names.count("other") == pytest.approx(2 * names.count("chat"), abs=2)


def test_a_task_that_fails_stops_no_other(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, "--llm-rate", "20", *CONSTANT, locustfile=FAILING_TASK)

    (failure,) = rows(tmp_path, "exceptions.csv")
    assert "'NoneType' object is not callable" in failure["Message"]
    assert int(failure["Count"]) >= int(levels(tmp_path)[0]["due"]) >= 30, locust.log


def test_failures_do_not_slow_the_rate(tmp_path):
    with running_simulator(fault="http:503") as simulator:
        run(tmp_path, simulator.url, "--llm-rate", "20", "--llm-preflight", "false", *CONSTANT, locustfile=RATES)

    level = levels(tmp_path)[0]
    assert int(level["error_http_503"]) >= 10
    assert set(outcomes(tmp_path)) <= {"http_503", "aborted"}
    # requests count by the moment at which they were sent
    assert int(level["requests"]) == pytest.approx(int(level["due"]), abs=3)


def test_conversations_arrive_at_the_rate_and_their_turns_follow(tmp_path):
    with scripted_server(keeps_open(CHUNKED)) as server:
        talks = ["--llm-turns", "3", "--llm-think-time", "0.3", "--llm-preflight=false", "--llm-model", "m"]
        url = f"http://127.0.0.1:{server.port}"
        locust = run(tmp_path, url, "--llm-rate", "10", *CONSTANT, *talks, locustfile=RATES)
        bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]

    assert locust.process.returncode == 0, locust.log
    requests = rows(tmp_path, "llm_requests.csv")
    firsts = [row for row in requests if row["name"] == "turn 1"]
    check_gaps(sorted(float(row["sent"]) - float(row["delay"]) / 1000.0 for row in firsts), 0.1)
    assert {row["name"] for row in requests} == {"turn 1", "turn 2", "turn 3"}
    assert not any(row["delay"] for row in requests if row["name"] != "turn 1")
    (level,) = levels(tmp_path)
    assert int(level["due"]) > int(level["delay_count"]) > 10  # what follows is due too, once it is asked for
    # each turn says again what was said in its own conversation, however many are under way
    conversations = [json.loads(body)["messages"] for body in bodies if body]
    assert len({messages[0]["content"] for messages in conversations}) == len(firsts)
    for messages in conversations:
        assert [message["role"] for message in messages] == ["user", *["assistant", "user"] * (len(messages) // 2)]
        assert len(messages) == 1 or messages[:-2] in conversations


def test_who_thinks_is_not_in_flight_and_asks_no_more_when_the_load_ends(tmp_path):
    with scripted_server(keeps_open(CHUNKED)) as server:
        talks = ["--llm-turns", "9", "--llm-think-time", "1000", "--llm-drain", "500", "--llm-preflight=false"]
        url = f"http://127.0.0.1:{server.port}"
        capped = ["--llm-rate", "10", "--llm-max-in-flight", "15"]
        locust = run(tmp_path, url, *capped, *CONSTANT, *talks, locustfile=RATES)

    assert locust.process.returncode == 0, locust.log
    requests = rows(tmp_path, "llm_requests.csv")
    assert {(row["name"], row["outcome"]) for row in requests} == {("turn 1", "ok")}
    assert len(requests) > 20
    assert "Traceback" not in locust.log


def test_bad_rates_are_refused_in_one_line(simulator, tmp_path):
    plain = f"from locust import User\n{RATES}\nclass Plain(User):\n    tasks = [print]\n"
    for args, locustfile, words in (
        (["--llm-rate", "-1"], RATES, "--llm-rate must be requests per second"),
        (["--llm-rate", "5", "--llm-levels", "3,x"], RATES, "levels of requests a second must be numbers"),
        (["--llm-rate", "5", "--llm-arrivals", "poison"], RATES, "arrivals are constant, poisson, gamma:CV"),
        (["--llm-rate", "5", "--llm-max-in-flight", "0"], RATES, "--llm-max-in-flight must be 1"),
        ([], f"{RATES}    arrivals = 'poison'\n", "arrivals are constant, poisson, gamma:CV"),
        ([], plain, "only users of llmlocust can send at a rate: make Plain an LLMUser"),
    ):
        locust = run(tmp_path, simulator.url, *args, locustfile=locustfile)
        assert locust.process.returncode == 2, locust.log
        assert words in locust.log
        assert "Traceback" not in locust.log
    assert served(simulator) == -1, "nothing was sent, not even a first request"
