"""The entry point of the image, with fake commands that record their arguments instead of Locust and of commands that
change users.
"""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.simulators import PATIENCE, ROOT, wait_for

LOCUST = """#!/bin/sh
echo "locust $*" >> calls
trap 'echo ended >> calls; exit 0' TERM
folder=$(echo "$*" | sed -n 's/.*--csv \\([^ ]*\\)\\/run.*/\\1/p')
[ -z "$folder" ] || { mkdir -p "$folder"; for run in $RUNS; do touch "$folder/${run}_llm_run.json"; done; }
[ -z "$LASTS" ] || while :; do sleep 0.05; done
exit $CODE
"""
LLMLOCUST = """#!/bin/sh
echo "llmlocust $*" >> calls
exit $REPORT_CODE
"""
SETPRIV = """#!/bin/sh
echo "$1 $2 $3" >> owner_changes
shift 3
USER_ID=1000 exec "$@"
"""
CHOWN = """#!/bin/sh
echo "chown $*" >> owner_changes
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
    def calls(self) -> str:
        return (self.folder / "calls").read_text() if (self.folder / "calls").exists() else ""

    def start(self, *args: str, **variables: str) -> subprocess.Popen[bytes]:
        variables = {"USER_ID": "1000", "CODE": "0", "REPORT_CODE": "0", "RUNS": "", "LASTS": "", **variables}
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", **variables}
        script = ROOT / "tools/docker-entrypoint.sh"
        return subprocess.Popen(["sh", str(script), *args], cwd=self.folder, env=environment)


@pytest.fixture
def container(tmp_path) -> Container:
    return Container(tmp_path)


@pytest.mark.parametrize("locusts, reports, code", [("0", "0", 0), ("99", "0", 99), ("0", "2", 2), ("98", "2", 98)])
def test_a_master_makes_the_report_of_each_run_and_ends_as_locust_did(container, locusts, reports, code):
    process = container.start("master", "--headless", CODE=locusts, REPORT_CODE=reports, RUNS="run run_run2")

    assert process.wait(PATIENCE) == code
    locust, *reported = container.calls.splitlines()
    assert locust.startswith("locust --master --csv reports/2")
    assert locust.endswith("/run --headless")
    prefix = locust.split()[3]
    assert reported == [f"llmlocust report {prefix}", f"llmlocust report {prefix}_run2"]


def test_a_master_without_a_run_leaves_nothing(container):
    assert container.start("master").wait(PATIENCE) == 0
    assert "llmlocust" not in container.calls
    assert list((container.folder / "reports").iterdir()) == []


def test_a_master_that_is_stopped_lets_locust_end_and_reports(container):
    started = container.start("master", RUNS="run", LASTS="long")
    wait_for(lambda: list(container.folder.glob("reports/*/run_llm_run.json")))
    started.send_signal(signal.SIGTERM)

    assert started.wait(PATIENCE) == 0
    assert "ended\nllmlocust report " in container.calls


def test_a_worker_that_succeeded_waits_until_it_is_stopped(container):
    started = container.start("worker", "--master-host", "master")
    wait_for(lambda: container.calls)
    assert container.calls == "locust --worker --exit-code-on-error 0 --master-host master\n"
    wait_for(lambda: children(started.pid) == ["sleep"])
    started.send_signal(signal.SIGTERM)
    assert started.wait(PATIENCE) == 0


def children(pid: int) -> list[str]:
    try:
        return [child.name() for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:  # the process has ended in the meantime
        return []


def test_a_worker_that_failed_exits_with_its_code(container):
    assert container.start("worker", CODE="2").wait(PATIENCE) == 2


@pytest.mark.parametrize("args", [("--worker", "--master-host", "m"), ("--master", "-f", "x.py")])
def test_it_accepts_the_arguments_of_locusts_operator_for_kubernetes(container, args):
    assert container.start(*args).wait(PATIENCE) == 0
    assert container.calls == f"locust {' '.join(args)}\n"


@pytest.mark.parametrize(
    ("owner", "changes"),
    [
        ("1001", "--reuid=1001 --regid=1001 --clear-groups\n"),
        ("0", "chown 1000:1000 reports\n--reuid=1000 --regid=1000 --clear-groups\n"),
    ],
)
@pytest.mark.parametrize("command", ["master", "demo", "locust"])
def test_started_as_root_it_becomes_another_user_for_every_owner_of_the_reports(container, owner, changes, command):
    (container.folder / "owner").write_text(f"{owner}\n")
    assert container.start(command, USER_ID="0").wait(PATIENCE) == 0
    assert (container.folder / "owner_changes").read_text() == changes
    assert "locust" in container.calls
