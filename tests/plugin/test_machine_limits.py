"""Limits of the load generator's machine that stop a run before its load, in one line."""

import resource

import pytest

from llmlocust.plugin.startup import machine_limits
from llmlocust.plugin.startup.machine_limits import check
from tests.locusts import QUICK, distributed, run
from tests.simulators import running_simulator


@pytest.fixture
def limits(monkeypatch):
    """A limit of open files that may be raised from 100 to 1,000, and 5,000 ports."""
    raised = [100]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (raised[0], 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: raised.__setitem__(0, both[0]))
    monkeypatch.setattr(machine_limits, "_open_files", lambda: 10)
    monkeypatch.setattr(machine_limits, "_ports", lambda: 5000)
    return raised


@pytest.mark.parametrize(("users", "processes", "soft"), [(10, 1, 100), (800, 1, 874), (926, 1, 1000), (5000, 8, 699)])
def test_the_limit_of_open_files_is_raised_as_far_as_the_run_needs(limits, users, processes, soft):
    check(users, processes, ["http://a"])
    assert limits == [soft]


@pytest.mark.parametrize(
    ("users", "processes", "hosts", "words"),
    [
        (927, 1, [], "927 users in one process need about 1,001 open files, and it may open 1,000"),
        (2000, 2, ["http://a"], "1,000 users in one process need about 1,074 open files"),
        (5001, 8, ["http://a"], "5,001 users on one machine need one port each, and it has 5,000"),
        (10001, 16, ["http://a", "http://b"], "10,001 users on one machine need one port each, and it has 10,000"),
    ],
)
def test_more_users_than_files_or_ports_are_refused(limits, users, processes, hosts, words):
    with pytest.raises(ValueError, match=words):
        check(users, processes, hosts)


def test_a_system_that_does_not_say_its_limits_refuses_nothing(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(machine_limits, "_PORT_RANGE", machine_limits._PORT_RANGE / "nowhere")
    check(10**9, 1, [])


FEW_FILES = ["prlimit", "--nofile=200:200"]


@pytest.fixture(scope="module")
def server():
    with running_simulator(step_ms=2) as running:
        yield running


def test_a_run_of_more_users_than_files_is_refused_before_its_load(server, tmp_path):
    locust = run(tmp_path, server.url, "--llm-levels", "2,300", host=FEW_FILES)

    assert locust.process.returncode == 2
    assert "300 users in one process need about" in locust.log
    assert "Traceback" not in locust.log
    assert not server.truth()


def test_a_worker_with_too_few_files_ends_the_run(server, tmp_path):
    levels = ["--llm-levels", "2,400", *QUICK[2:]]
    with distributed(tmp_path, server.url, *levels, host=FEW_FILES) as processes:
        code = processes.master.ends()

    assert code == 2
    assert "200 users in one process need about" in processes.master.log
