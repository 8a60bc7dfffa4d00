"""Masters and workers that are killed, frozen, late, cut off or of another version: every request that the server saw is
in the files, once, but for what died with a process; and then the run says so.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.runfiles.reading.locate import load_run
from tests.hosts import Host, hosts
from tests.locusts import (
    ENDLESS_ANSWERS,
    MANUAL_RAMP,
    QUICK,
    RAMP,
    UNTIL_STOPPED,
    Distributed,
    Locust,
    assert_counted_once,
    distributed,
    end_level,
    ids,
    rows,
    run_info,
    wait_for_level,
)
from tests.simulators import ROOT, RunningSimulator, options, running_simulator, wait_for, wait_for_requests
from tests.wire import Wire

IMPATIENT = f"from llmlocust.plugin.cluster import master\nmaster.MAX_SILENCE = 5\nmaster.RETURNS_WITHIN = 10\n{RAMP}"
FORGETFUL = f"from locust import runners\nrunners.HEARTBEAT_DEAD_INTERNAL = -1\n{IMPATIENT}"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=10) as started:
        yield started


def gives_users(simulator: RunningSimulator, users: int) -> None:
    wait_for(lambda: simulator.metric("vllm:num_requests_running"), lambda now: now == users)


def check(folder: Path, name: str):
    return next(entry for entry in assess(load_run(folder / "run")).checks if entry.key == name)


# ── hosts ──


class Machines:
    """A server, a master and two workers on hosts of their own."""

    def __init__(self, stack: ExitStack, folder: Path, args: list[str], locustfile: str = RAMP) -> None:
        self.server, self.main, *self.others = stack.enter_context(hosts(4))
        main = self.main
        serves = ["--host", self.server.address, *options(port=8000, slots=8, step_ms=10)]
        self.url = f"http://{self.server.address}:8000"
        stack.enter_context(OnHost(self.server, ["-m", "llmlocust.simulator", *serves]))
        self._ask = stack.enter_context(self.server.json_client())
        bind = ["--master", "--master-bind-host", main.address, "--expect-workers", "2", "--headless", "--only-summary"]
        joins = ["--worker", "--master-host", main.address]
        for host in self.others:
            stack.enter_context(Locust(folder, joins, locustfile, host=host.command))
        self.master = Locust(folder, [*bind, "--host", self.url, "--csv", "run", *args], locustfile, host=main.command)
        stack.enter_context(self.master)

    def served(self) -> int:
        return sum(self._summary()["received"].values())

    def time(self) -> float:
        """The server's, in seconds."""
        return self._summary()["clock"]["monotonic_ns"] / 1e9

    def _summary(self) -> dict[str, Any]:
        return self._ask(f"{self.url}/truth?summary=1")


class OnHost:
    def __init__(self, host: Host, program: list[str]) -> None:
        self.process = subprocess.Popen([*host.command, sys.executable, *program], cwd=ROOT, stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def test_hosts_with_addresses_of_their_own_count_what_the_server_counted(tmp_path):
    with ExitStack() as stack:
        machines = Machines(stack, tmp_path, QUICK)
        assert machines.master.ends() == 0, machines.master.log

        assert len(ids(tmp_path)) == len(set(ids(tmp_path))) == machines.served() - 1
    assert check(tmp_path, "levels_reached").ok


def test_a_network_that_is_cut_for_ten_seconds_and_heals_loses_nothing(tmp_path):
    with ExitStack() as stack:
        machines = Machines(stack, tmp_path, UNTIL_STOPPED)
        wait_for(machines.served, lambda now: now > 20)
        machines.others[0].cut()
        heals = machines.time() + 10
        wait_for(machines.time, lambda now: now >= heals)
        machines.others[0].heal()
        machines.master.stop()

        assert len(ids(tmp_path)) == len(set(ids(tmp_path))) == machines.served() - 1
    assert run_info(tmp_path)["checks"] == []


CHANGES = ["--llm-levels", "2,4", "--llm-warmup", "0", "--llm-max-tokens", "20"]
GIVES_UP_LATE = f"from llmlocust.plugin.cluster import master\nmaster.MAX_SILENCE = 1000\n{MANUAL_RAMP}"
GIVES_UP_SOON = (
    f"from llmlocust.plugin.cluster import master\nmaster.MAX_SILENCE = 2\nmaster.RETURNS_WITHIN = 10\n{MANUAL_RAMP}"
)


@pytest.mark.parametrize("returns", [True, False], ids=["and returns", "for ever"])
def test_a_worker_that_does_not_hear_that_the_level_changes_marks_what_it_spoils(tmp_path, returns):
    """It reaches the server, but not its master, and goes on with the users that it had."""
    with ExitStack() as stack:
        machines = Machines(stack, tmp_path, CHANGES, GIVES_UP_LATE if returns else GIVES_UP_SOON)
        begins = machines.time()
        wait_for(machines.served, lambda now: now > 20)
        machines.others[0].cut_from(machines.main)
        end_level(tmp_path, 0)
        machines.master.wait_for_log("updating to 4 users")
        if returns:
            # for longer than the first level was held
            heals = 2 * machines.time() - begins
            wait_for(machines.time, lambda now: now >= heals)
            machines.others[0].heal_to(machines.main)
        else:
            machines.master.wait_for_log("was lost")
        wait_for_level(tmp_path, 1)
        end_level(tmp_path, 1)
        assert machines.master.ends() == 0, machines.master.log

        assert len(ids(tmp_path)) == len(set(ids(tmp_path)))
        assert not returns or len(ids(tmp_path)) == machines.served() - 1
    first, second = rows(tmp_path, "llm_levels.csv")
    assert (second["reached"], second["users"]) == ("1", "4")
    if returns:
        # one of two users for at least as long as the level, less the two seconds that a message may take
        assert 0.15 < float(first["stale_share"]) <= 1.0
        level_check = check(tmp_path, "levels_reached")
        assert level_check.levels == (0,)
        assert "the load was off by up to" in level_check.says
    else:
        assert check(tmp_path, "run").levels == (0, 1)


def test_users_that_are_lost_with_a_connection_are_given_again(simulator, tmp_path):
    ramp = [*QUICK, "--expect-workers", "2"]
    with distributed(tmp_path, simulator.url, *ramp, workers=1) as run, Wire(int(run.port)) as wire:
        run.port = wire.port
        run.join(tmp_path)
        wait_for_requests(simulator, 4)
        wire.drops = b"\x93\xa5spawn"  # as msgpack writes Locust's message
        assert run.master.ends() == 0, run.master.log

    assert wire.drops == b""
    assert_counted_once(tmp_path, simulator.truth())
    assert [(row["users"], row["reached"]) for row in rows(tmp_path, "llm_levels.csv")] == [("2", "1"), ("5", "1")]


def test_connections_that_are_closed_and_come_back_lose_nothing(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED, workers=1) as run, Wire(int(run.port)) as wire:
        run.port = wire.port
        run.join(tmp_path)
        run.master.wait_for_log("6 users")
        for _ in range(3):
            wait_for_requests(simulator)
            wire.cut()
            wait_for_requests(simulator, 5)
            wire.heal()
        wait_for_requests(simulator)
        run.master.stop()

    assert_counted_once(tmp_path, simulator.truth())


# ── processes ──


def test_a_worker_that_is_killed_is_missed_and_the_run_goes_on(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED) as run:
        wait_for_requests(simulator, 100)
        wait_for(lambda: len({row["worker"] for row in rows(tmp_path, "llm_requests.csv")}), lambda names: names == 2)
        run.workers[0].stop(signal.SIGKILL)
        run.master.wait_for_log("was lost")
        wait_for_requests(simulator, 100)
        run.master.stop()

    truth, row_ids = simulator.truth(), ids(tmp_path)
    assert len(row_ids) == len(set(row_ids))
    assert set(row_ids) < {request["id"] for request in truth}
    # three of the users were the dead worker's: what they sent since its last report is not known
    lost = [request for request in truth[1:] if request["id"] not in set(row_ids)]
    assert 0 < len(lost) < len(row_ids) / 2
    (message,) = [entry["says"] for entry in run_info(tmp_path)["checks"]]
    assert "was lost" in message
    assert "in flight" in message
    assert check(tmp_path, "lost_workers").levels == (0,)
    assert not check(tmp_path, "run").ok


@pytest.mark.parametrize(
    "load, share",
    [
        (["--llm-rate", "20", "--llm-levels", "20", "--llm-warmup", "0", "--llm-hold", "1000"], "the rate"),
        (["--llm-trace", "trace.csv"], "the trace"),
    ],
)
def test_what_a_worker_of_an_open_load_sent_before_it_was_killed_is_estimated_by_the_schedule(
    simulator, tmp_path, load, share
):
    lines = (f"{number / 20},20,5" for number in range(4000))
    (tmp_path / "trace.csv").write_text("\n".join(["seconds,prompt_tokens,output_tokens", *lines, ""]))
    with distributed(tmp_path, simulator.url, *load, "--llm-max-tokens", "5") as run:
        wait_for_requests(simulator, 100)
        run.workers[0].stop(signal.SIGKILL)
        run.master.wait_for_log("was lost")
        run.master.stop()

    lost = len(simulator.truth()) - 1 - len(ids(tmp_path))
    message = next(entry["says"] for entry in run_info(tmp_path)["checks"] if "was lost" in entry["says"])
    known, likely = map(
        int, re.search(rf"at least (\d+) .* about (\d+) more .* from its share of {share}\)", message).groups()
    )
    assert known <= lost
    assert abs(known + likely - lost) < 30  # ten a second, and a heartbeat a second


def test_a_worker_that_is_frozen_and_returns_loses_nothing(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED, locustfile=IMPATIENT) as run:
        wait_for_requests(simulator, 50)
        run.workers[0].process.send_signal(signal.SIGSTOP)
        run.master.wait_for_log("was lost")
        run.workers[0].process.send_signal(signal.SIGCONT)
        run.master.wait_for_log("is back")
        wait_for_requests(simulator, 50)
        run.master.stop()

    assert_counted_once(tmp_path, simulator.truth())
    assert run_info(tmp_path)["checks"] == []


def test_a_worker_that_was_given_up_and_returns_gets_users_again(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED, locustfile=FORGETFUL) as run:
        wait_for_requests(simulator, 50)
        run.workers[0].process.send_signal(signal.SIGSTOP)
        run.master.wait_for_log("Sending spawn jobs of 6 users at 6.00 spawn rate to 1 ready workers")
        run.workers[0].process.send_signal(signal.SIGCONT)
        run.master.wait_for_log("Sending spawn jobs of 6 users at 6.00 spawn rate to 2 ready workers")
        gives_users(simulator, 6)
        wait_for_requests(simulator, 50)
        run.master.stop()

    assert_counted_once(tmp_path, simulator.truth())
    assert run_info(tmp_path)["checks"] == []


def test_a_worker_that_is_frozen_at_the_end_is_waited_for(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED) as run:
        wait_for_requests(simulator, 50)
        run.workers[0].process.send_signal(signal.SIGSTOP)
        run.master.process.send_signal(signal.SIGINT)
        run.master.wait_for_log("CTRL+C")
        run.workers[0].process.send_signal(signal.SIGCONT)
        run.master.ends()

    assert_counted_once(tmp_path, simulator.truth())


def test_a_worker_that_is_frozen_for_ever_does_not_keep_the_run_from_ending(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *QUICK, locustfile=IMPATIENT) as run:
        wait_for_requests(simulator, 50)
        run.workers[0].process.send_signal(signal.SIGSTOP)
        run.master.ends()

    assert any("was lost" in entry["says"] for entry in run_info(tmp_path)["checks"])


def test_a_worker_that_returns_while_the_others_are_stopped_is_stopped_too(simulator, tmp_path):
    """Locust leaves it its users, and a ramp would wait for their end for ever."""
    ramp = ["--llm-levels", "6", "--llm-warmup", "0", "--llm-hold", "8", "--llm-max-tokens", "200"]
    with distributed(tmp_path, simulator.url, *ramp, *ENDLESS_ANSWERS, locustfile=IMPATIENT) as run:
        wait_for_requests(simulator, 6)
        run.workers[0].process.send_signal(signal.SIGSTOP)
        run.master.wait_for_log("was lost")
        run.master.wait_for_log("updating to 0 users")
        run.workers[0].process.send_signal(signal.SIGCONT)
        assert run.master.ends() == 0, run.master.log

    assert_counted_once(tmp_path, simulator.truth())


def all_through(stack: ExitStack, folder: Path, host: str) -> tuple[Distributed, Wire]:
    """A run whose two workers reach their master through a wire."""
    run = stack.enter_context(
        distributed(folder, host, *UNTIL_STOPPED, "--expect-workers", "2", workers=0, locustfile=IMPATIENT)
    )
    wire = stack.enter_context(Wire(int(run.port)))
    run.port = wire.port
    for _ in range(2):
        run.join(folder)
    return run, wire


def test_all_workers_that_are_cut_off_and_return_after_the_run_was_given_up_lose_nothing(simulator, tmp_path):
    with ExitStack() as stack:
        run, wire = all_through(stack, tmp_path, simulator.url)
        wait_for_requests(simulator, 50)
        wire.hold()
        run.master.wait_for_log("The last worker went missing, stopping test")
        run.master.wait_for_log("disconnected, and may return with figures")
        wire.release()
        assert run.master.ends() == 0, run.master.log
        assert [worker.ends() for worker in run.workers] == [0, 0]

    assert_counted_once(tmp_path, simulator.truth())
    assert run_info(tmp_path)["checks"] == []


def test_all_workers_that_are_cut_off_for_ever_are_exit_code_98_and_what_is_lost_is_estimated(simulator, tmp_path):
    with ExitStack() as stack:
        run, wire = all_through(stack, tmp_path, simulator.url)
        wait_for_requests(simulator, 300)
        wire.hold()
        assert run.master.ends() == 98, run.master.log
        truth = simulator.truth()

    lost = {request["id"] for request in truth[1:]} - set(ids(tmp_path))
    numbers = [
        re.search(r"at least (\d+) of .* about (\d+) more", entry["says"]) for entry in run_info(tmp_path)["checks"]
    ]
    known, likely = (sum(int(match[group]) for match in numbers) for group in (1, 2))
    assert len(numbers) == 2
    assert known <= len(lost)
    assert len(lost) / 3 < known + likely < len(lost) * 3


def test_a_worker_whose_master_is_killed_says_what_it_drops(simulator, tmp_path):
    dies = f"from locust import runners\nrunners.MASTER_HEARTBEAT_TIMEOUT = 3\n{RAMP}"
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED, workers=1, locustfile=dies) as run:
        wait_for_requests(simulator, 50)
        run.master.stop(signal.SIGKILL)
        assert run.workers[0].ends() == 98, run.workers[0].log
        truth = simulator.truth()

    (count,) = re.findall(
        r"llmlocust: the figures of (\d+) requests of this worker are not confirmed", run.workers[0].log
    )
    # what the master had confirmed last may not have come to a file
    assert 0 < int(count) <= len(truth)
    assert int(count) + len(ids(tmp_path)) <= len(truth) - 1


def test_workers_that_join_late_take_their_share(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED, workers=1) as run:
        wait_for_requests(simulator)
        for _ in range(2):
            run.join(tmp_path)
        wait_for(lambda: len({row["worker"] for row in rows(tmp_path, "llm_requests.csv")}), lambda names: names == 3)
        gives_users(simulator, 6)
        run.master.stop()

    assert_counted_once(tmp_path, simulator.truth())
    measured = {row["worker"] for row in rows(tmp_path, "llm_requests.csv") if row["level"] == "0"}
    assert len(measured) == 3


AHEAD = f"""
import os
import struct
import time
from llmlocust.plugin.http import loop
from llmlocust.stream import clocks

os.environ["LLMLOCUST_READER"] = "loop"  # the native reader has its own clocks
clock, clock_ns, stamp = time.time, time.time_ns, loop._STAMP

class StampAhead:
    def unpack(self, data):
        seconds, ns = stamp.unpack(data)
        return seconds + 600, ns

time.time = lambda: clock() + 600.0
time.time_ns = clocks.time_ns = lambda: clock_ns() + 600_000_000_000
loop._STAMP = StampAhead()
{RAMP}
"""
"""As on a host whose clock is ten minutes ahead: the process's time and its kernel's stamps."""


def test_a_worker_whose_clock_is_off_has_the_right_times(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *QUICK, "--expect-workers", "2", workers=1) as run:
        run.join(tmp_path, AHEAD)
        assert run.master.ends() == 0, run.master.log

    truth = {request["id"]: request for request in simulator.truth()}
    assert_counted_once(tmp_path, list(truth.values()))
    requests = rows(tmp_path, "llm_requests.csv")
    assert len({row["worker"] for row in requests}) == 2
    for row in requests:
        assert abs(float(row["sent"]) - truth[f"chatcmpl-{row['id']}"]["received_epoch"]) < 60
        assert 0 < float(row["ttft"]) < 60_000
    assert run_info(tmp_path)["clock"] == "kernel"
    assert [row["users"] for row in rows(tmp_path, "llm_levels.csv")] == ["2", "5"]


def test_a_worker_of_another_version_is_refused_and_says_so(simulator, tmp_path):
    other = f"from llmlocust.plugin.cluster import worker\nworker.VERSION = '0.0.9 (messages 3)'\n{RAMP}"
    with distributed(tmp_path, simulator.url, *QUICK, workers=1) as run:
        refused = run.join(tmp_path, other)
        assert refused.ends() == 2, refused.log
        assert run.master.ends() == 0, run.master.log

    assert "this worker 0.0.9 (messages 3): refused" in refused.log or "runs llmlocust 0.0.9" in refused.log
    assert "runs llmlocust 0.0.9 (messages 3), the master" in run.master.log
    assert "Traceback" not in refused.log + run.master.log
    assert_counted_once(tmp_path, simulator.truth())


def test_a_master_that_restarts_takes_its_workers_over(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *UNTIL_STOPPED) as run:
        # what it has written is what survives it
        levels = tmp_path / "run_llm_levels.csv"
        wait_for(lambda: levels.exists() and any(int(row["requests"]) for row in rows(tmp_path, "llm_levels.csv")))
        run.master.stop(signal.SIGKILL)
        again = [*run.master.args, *QUICK]
        again[again.index("--csv") + 1] = "again"
        with Locust(tmp_path, again) as master:
            assert master.ends() == 0, master.log
        for worker in run.workers:
            assert worker.ends() == 98, worker.log
            assert re.search(
                r"llmlocust: the figures of \d+ requests of this worker arrived after the end of their run", worker.log
            )

    assert run_info(tmp_path)["ended"] is None
    assert not check(tmp_path, "run_ended").ok
    begun = run_info(tmp_path, "again")["started"]
    truth = sorted(simulator.truth(), key=lambda request: request["received_epoch"])
    before = max(number for number, request in enumerate(truth) if request["received_epoch"] < begun)
    assert_counted_once(tmp_path, truth[before:], "again")
