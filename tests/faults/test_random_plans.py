"""Random fault plans, a third of them killed in the middle: nothing is left. bench/fault_plans.py runs hundreds."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

from bench.fault_plans import FAULTS, RUN, left_in, marked, outcome_of, wait_for, world

PLANS = 21


def test_random_plans_leave_nothing_behind_also_if_they_are_killed():
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(outcome_of, range(300, 300 + PLANS)))
    assert [(outcome.plan, outcome.kill, outcome.left) for outcome in outcomes if outcome.left] == []
    kills = [outcome.kill for outcome in outcomes if outcome.kill]
    assert len(kills) == PLANS // 3
    assert {RUN, FAULTS} == set(kills)
    assert any(window["confirmed_lifted"] for outcome in outcomes for window in outcome.windows.values())


def test_the_look_finds_what_is_left():
    with world() as place:
        assert left_in(place) == []
        child = subprocess.Popen(["sleep", "1000"], env=place.environment)
        (place.folder / "flag").touch()
        if place.netns:
            tbf = ["tbf", "rate", "1mbit", "burst", "32kbit", "latency", "1s"]
            subprocess.run(["tc", "-n", place.netns, "qdisc", "add", "dev", "lo", "root", *tbf], check=True)
            rule = ["INPUT", "-p", "tcp", "--dport", "80", "-j", "DROP"]
            subprocess.run(["ip", "netns", "exec", place.netns, "iptables", "-A", *rule], check=True)
        left = "\n".join(left_in(place))
        assert f"process {child.pid}: sleep 1000" in left
        assert f"file {place.folder}/flag" in left
        assert ("rule -A INPUT" in left) == ("discipline qdisc tbf" in left) == bool(place.netns)
        (place.folder / "flag").unlink()
        (server,) = [process for process in marked(place.mark) if process.pid != child.pid]
        child.kill()
        child.wait()
        os.kill(server.pid, signal.SIGSTOP)
        wait_for(lambda: f"the server is stopped: process {server.pid}" in left_in(place))
        assert "the server does not answer" in left_in(place)
