"""What the kernel says of the time that a process did not get, on made-up files of each version of control groups."""

from pathlib import Path

import pytest

from llmlocust.plugin.generator.core_time import CoreTime

V2 = "nr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec {usec}\nnr_bursts 0\n"
V1 = "nr_periods {periods}\nnr_throttled {throttled}\nthrottled_time {usec}000\n"
UNLIMITED = "usage_usec 12\nuser_usec 7\nsystem_usec 5\n"

PLACES = {
    "v2, a container's own": ("0::/", "sys/fs/cgroup", V2),
    "v2, a systemd slice": ("0::/user.slice/load.scope", "sys/fs/cgroup/user.slice/load.scope", V2),
    "v2, the group around it": ("0::/user.slice/load.scope", "sys/fs/cgroup/user.slice", V2),
    "v2, a path from outside": ("0::/../../kubepods/pod1", "sys/fs/cgroup", V2),
    "v1": ("4:cpu,cpuacct:/docker/abc\n0::/", "sys/fs/cgroup/cpu,cpuacct/docker/abc", V1),
    "v1, a container's own": ("4:cpu:/docker/abc", "sys/fs/cgroup/cpu", V1),
}


def wrote(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(("cgroup", "place", "stat"), PLACES.values(), ids=PLACES)
def test_throttling_is_read_where_the_control_group_reports_it(tmp_path, cgroup, place, stat):
    wrote(tmp_path / "proc/self/cgroup", f"{cgroup}\n")
    file = wrote(tmp_path / place / "cpu.stat", stat.format(periods=10, throttled=2, usec=5_000))
    core_time = CoreTime(tmp_path)
    began = core_time._moment
    # in the next second 8 of 10 periods were throttled, for 0.4 s
    wrote(file, stat.format(periods=20, throttled=10, usec=405_000))

    assert core_time.shares(began + 1.0) == {"throttled": pytest.approx(0.4)}
    assert core_time.shares(began + 2.0) == {"throttled": 0.0}


@pytest.mark.parametrize(
    ("throttled", "usec", "share"),
    [(5, 3_000_000, 0.5), (10, 3_000_000, 1.0), (1, 900_000, 0.1), (0, 0, 0.0)],
)
def test_the_time_of_many_cores_is_no_more_than_the_throttled_periods(tmp_path, throttled, usec, share):
    wrote(tmp_path / "proc/self/cgroup", "0::/\n")
    file = wrote(tmp_path / "sys/fs/cgroup/cpu.stat", V2.format(periods=0, throttled=0, usec=0))
    core_time = CoreTime(tmp_path)
    wrote(file, V2.format(periods=10, throttled=throttled, usec=usec))

    assert core_time.shares(core_time._moment + 1.0)["throttled"] == pytest.approx(share)


def test_the_wait_for_a_core_is_a_share_of_the_time(tmp_path):
    file = wrote(tmp_path / "proc/self/schedstat", "5000000 1000000 7\n")
    core_time = CoreTime(tmp_path)
    began = core_time._moment
    wrote(file, "9000000 501000000 9\n")

    assert core_time.shares(began + 2.0) == {"core_wait": pytest.approx(0.25)}


NOTHING = {
    "no Linux": {},
    "no limit": {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": UNLIMITED},
    "no control group of the CPU": {"proc/self/cgroup": "3:cpuset:/\n"},
    "a kernel that does not count": {"proc/self/schedstat": "0 0 1\n"},
    "damaged": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.stat": "nr_throttled many\n",
        "proc/self/schedstat": "few\n",
    },
    "no colons": {"proc/self/cgroup": "none\n"},
}


@pytest.mark.parametrize("files", NOTHING.values(), ids=NOTHING)
def test_what_is_not_known_is_not_called_zero(tmp_path, files):
    for name, text in files.items():
        wrote(tmp_path / name, text)
    core_time = CoreTime(tmp_path)

    assert core_time.shares() == {}


def test_a_control_group_that_goes_away_is_not_known_from_then_on(tmp_path):
    wrote(tmp_path / "proc/self/cgroup", "0::/\n")
    file = wrote(tmp_path / "sys/fs/cgroup/cpu.stat", V2.format(periods=0, throttled=0, usec=0))
    core_time = CoreTime(tmp_path)
    file.unlink()

    assert core_time.shares() == {}


def test_this_machine_reports_shares():
    shares = CoreTime().shares()

    assert set(shares) <= {"throttled", "core_wait"}
    assert all(0.0 <= share <= 1.0 for share in shares.values())
