"""A fixed number of requests: so many are sent and no more, however many processes send them."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.plugin.generator.quota import Quota
from llmlocust.plugin.run.assignment import quotas
from tests.locusts import RAMP, Locust, distributed, rows, run, run_info
from tests.simulators import running_simulator, served, wait_for

USERS = "from llmlocust import ChatUser\n\nclass Chat(ChatUser):\n    pass\n"
MIXED = f"{RAMP}\nfrom locust import HttpUser\n\nclass Plain(HttpUser):\n    def on_start(self):\n        pass\n"


@pytest.fixture
def simulator():
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


def test_a_run_sends_exactly_so_many_with_so_many_users_at_once(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, "-u", "6", "--llm-requests", "61", "--llm-max-tokens", "20", locustfile=USERS)

    assert locust.process.returncode == 0, locust.log
    assert served(simulator) == 61
    (level,) = rows(tmp_path, "llm_levels.csv")
    assert (int(level["requests"]), int(level["ok"]), float(level["load"])) == (61, 61, 6)
    requests = rows(tmp_path, "llm_requests.csv")
    first, last = min(float(request["sent"]) for request in requests), max(ended(request) for request in requests)
    # the window is that of the requests, not of the seconds in which it is noticed that they are over
    assert float(level["ended"]) == pytest.approx(last, abs=0.02)
    assert float(level["warmed_up"]) <= first
    assert run_info(tmp_path)["plan"] == {"unit": "users", "levels": [6], "warmup": None, "hold": None, "requests": 61}
    assert run_info(tmp_path)["stopped"] is False


def ended(request):
    return float(request["sent"]) + float(request["duration"]) / 1000.0


@pytest.mark.parametrize("users", [1, 5])
def test_workers_share_them(simulator, tmp_path, users):
    how = ["--llm-levels", str(users), "--llm-requests", "47", "--llm-max-tokens", "20"]
    with distributed(tmp_path, simulator.url, *how) as stack:
        assert stack.master.ends() == 0, stack.master.log

    assert served(simulator) == 47
    assert int(rows(tmp_path, "llm_levels.csv")[0]["requests"]) == 47
    assert len({row["worker"] for row in rows(tmp_path, "llm_requests.csv")}) == min(users, 2)


def test_a_run_that_is_stopped_keeps_what_it_had(simulator, tmp_path):
    args = ["--headless", "--only-summary", "--host", simulator.url, "--csv", "run", "-u", "2", "--llm-requests", "900"]
    with Locust(tmp_path, args, locustfile=USERS) as locust:
        wait_for(lambda: served(simulator), lambda requests: requests > 5)
        locust.process.send_signal(signal.SIGINT)
        locust.ends()

    assert run_info(tmp_path)["stopped"] is True
    assert len(rows(tmp_path, "llm_requests.csv")) == served(simulator) < 900


@pytest.mark.parametrize(
    "options, words",
    [
        (["--llm-requests", "-1"], "--llm-requests must be a number of requests such as 200"),
        (["--llm-requests", "5", "--llm-levels", "10"], "10 users cannot share 5 requests"),
        (["--llm-requests", "50", "--llm-levels", "5,10"], "--llm-requests needs one level, not 2"),
        (["--llm-requests", "50", "--llm-rate", "5"], "leave out --llm-rate, --llm-search"),
        (["--llm-requests", "50", "--llm-search"], "leave out --llm-rate, --llm-search"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, options, words):
    locust = run(tmp_path, "http://127.0.0.1:1", *options, locustfile=USERS)

    assert locust.process.returncode == 2
    assert words in locust.log


def test_users_that_cannot_be_counted_are_refused(tmp_path):
    locust = run(tmp_path, "http://127.0.0.1:1", "--llm-requests", "50", "--llm-levels", "5", locustfile=MIXED)

    assert "only users of llmlocust can count requests: make Plain an LLMUser" in locust.log


# -- pure


@given(st.integers(0, 10**6), st.lists(st.integers(0, 300), min_size=1, max_size=50))
def test_parts_add_up_and_follow_the_users(requests, users):
    assigned = quotas(requests, {str(n): many for n, many in enumerate(users)})

    assert list(assigned) == [str(n) for n in range(len(users))]
    assert sum(assigned.values()) == (requests if sum(users) else 0)
    for many, quota in zip(users, assigned.values(), strict=True):
        assert abs(quota - requests * many / max(sum(users), 1)) < 1
        assert many or not quota


def test_without_a_fixed_number_the_quota_is_unlimited():
    quota = Quota()

    assert all(quota.take() for _ in range(1000))
    assert quota.idle == 0


def test_a_quota_that_is_set_again_is_the_same_quota():
    quota = Quota()
    quota.set(0)
    assert not quota.take()
    quota.set(2)
    assert quota.take()
    quota.set(2)
    assert quota.take()
    assert not quota.take()
