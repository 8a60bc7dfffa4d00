"""In a child: Locust's event loop is gevent's, and the tests' own is not."""

import subprocess
import sys

from tests.simulators import PATIENCE, ROOT

CODE = """
from time import perf_counter_ns
import gevent
from llmlocust.plugin.generator.timer import Alarm

alarm, early, ran = Alarm(), [], []
other = gevent.spawn(lambda: [ran.append(gevent.sleep(0.0001)) for _ in range(5)])
for ns in (0, -5_000_000, 300_000, 50_000, 3_000_000) * 20:
    at = perf_counter_ns() + ns
    alarm.sleep_until(at)
    early.append(perf_counter_ns() < at)
late = gevent.spawn(alarm.sleep_until, perf_counter_ns() + 60_000_000_000)
gevent.sleep(0)
late.kill()
at = perf_counter_ns() + 1_000_000
alarm.sleep_until(at)
early.append(perf_counter_ns() < at)
alarm.close()
alarm.close()
print(any(early), len(early), len(ran))
"""


def test_it_never_wakes_early_and_lets_others_run():
    child = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert child.stdout.split() == ["False", "101", "5"]
