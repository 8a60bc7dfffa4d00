"""What the image starts, with commands in the place of Locust, and of those that change users, that say what they were
asked for.
"""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.simulators import PATIENCE, ROOT, wait_for

LOCUST = """#!/bin/sh
echo "locust $*" >> said
trap 'echo ended >> said; exit 0' TERM
folder=$(echo "$*" | sed -n 's/.*--csv \\([^ ]*\\)\\/run.*/\\1/p')
[ -z "$folder" ] || { mkdir -p "$folder"; for each in $RUNS; do touch "$folder/${each}_llm_run.json"; done; }
[ -z "$LASTS" ] || while :; do sleep 0.05; done
exit $CODE
"""
LLMLOCUST = """#!/bin/sh
echo "llmlocust $*" >> said
exit $REPORT_CODE
"""
SETPRIV = """#!/bin/sh
echo "$1 $2 $3" >> became
shift 3
USER_ID=1000 exec "$@"
"""
CHOWN = """#!/bin/sh
echo "chown $*" >> became
echo "${1%%:*}" > owner
"""


class Container:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "reports").mkdir()
        scripts = {
            "locust": LOCUST,
            "llmlocust": LLMLOCUST,
            "setpriv": SETPRIV,
            "chown": CHOWN,
            "id": "#!/bin/sh\necho $USER_ID\n",
            "stat": "#!/bin/sh\ncat owner\n",
        }
        (folder / "owner").write_text("1001\n")
        for name, script in scripts.items():
            command = folder / "bin" / name
            command.parent.mkdir(exist_ok=True)
            command.write_text(script)
            command.chmod(0o755)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text() if (self.folder / "said").exists() else ""

    def start(self, *args: str, **told: str) -> subprocess.Popen[bytes]:
        told = {"USER_ID": "1000", "CODE": "0", "REPORT_CODE": "0", "RUNS": "", "LASTS": "", **told}
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", **told}
        script = ROOT / "tools/docker-entrypoint.sh"
        return subprocess.Popen(["sh", str(script), *args], cwd=self.folder, env=environment)


@pytest.fixture
def container(tmp_path) -> Container:
    return Container(tmp_path)


@pytest.mark.parametrize("locusts, reports, code", [("0", "0", 0), ("99", "0", 99), ("0", "2", 2), ("98", "2", 98)])
def test_a_master_makes_the_report_of_each_run_and_ends_as_locust_did(container, locusts, reports, code):
    ended = container.start("master", "--headless", CODE=locusts, REPORT_CODE=reports, RUNS="run run_run2")

    assert ended.wait(PATIENCE) == code
    locust, *reported = container.said.splitlines()
    assert locust.startswith("locust --master --csv reports/2")
    assert locust.endswith("/run --headless")
    prefix = locust.split()[3]
    assert reported == [f"llmlocust report {prefix}", f"llmlocust report {prefix}_run2"]


def test_a_master_without_a_run_leaves_nothing(container):
    assert container.start("master").wait(PATIENCE) == 0
    assert "llmlocust" not in container.said
    assert list((container.folder / "reports").iterdir()) == []


def test_a_master_that_is_stopped_lets_locust_end_and_reports(container):
    started = container.start("master", RUNS="run", LASTS="long")
    wait_for(lambda: list(container.folder.glob("reports/*/run_llm_run.json")))
    started.send_signal(signal.SIGTERM)

    assert started.wait(PATIENCE) == 0
    assert "ended\nllmlocust report " in container.said


def test_a_worker_that_was_well_stays_until_it_is_stopped(container):
    started = container.start("worker", "--master-host", "master")
    wait_for(lambda: container.said)
    assert container.said == "locust --worker --exit-code-on-error 0 --master-host master\n"
    wait_for(lambda: children(started.pid) == ["sleep"])
    started.send_signal(signal.SIGTERM)
    assert started.wait(PATIENCE) == 0


def children(pid: int) -> list[str]:
    try:
        return [child.name() for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:  # it ended while it was looked at
        return []


def test_a_worker_that_failed_says_so(container):
    assert container.start("worker", CODE="2").wait(PATIENCE) == 2


@pytest.mark.parametrize("args", [("--worker", "--master-host", "m"), ("--master", "-f", "x.py")])
def test_it_takes_what_locusts_operator_for_kubernetes_gives_it(container, args):
    assert container.start(*args).wait(PATIENCE) == 0
    assert container.said == f"locust {' '.join(args)}\n"


@pytest.mark.parametrize(
    ("owner", "became"),
    [
        ("1001", "--reuid=1001 --regid=1001 --clear-groups\n"),
        ("0", "chown 1000:1000 reports\n--reuid=1000 --regid=1000 --clear-groups\n"),
    ],
)
@pytest.mark.parametrize("command", ["master", "demo", "locust"])
def test_started_as_root_it_becomes_another_user_whoever_owns_the_reports(container, owner, became, command):
    (container.folder / "owner").write_text(f"{owner}\n")
    assert container.start(command, USER_ID="0").wait(PATIENCE) == 0
    assert (container.folder / "became").read_text() == became
    assert "locust" in container.said
