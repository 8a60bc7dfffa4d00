"""Our rows in Locust's own table. In a process of its own: Locust patches whichever imports it."""

import json
import subprocess
import sys

PLAYED = """
import json
from locust.stats import RequestStats
from llmlocust.plugin.generator.collector import forget_old_seconds

stats = RequestStats()
ours, theirs = stats.entries["chat TTFT", "LLM"], stats.entries["chat", "POST"]
for second in range(500):
    for entry in (ours, theirs):
        entry.num_reqs_per_sec[second] += 2
    forget_old_seconds(stats)
print(json.dumps([ours.num_reqs_per_sec, theirs.num_reqs_per_sec]))
"""


def test_our_rows_keep_the_newest_seconds_and_locusts_keep_all():
    played = subprocess.run([sys.executable, "-c", PLAYED], capture_output=True, text=True, check=True)
    ours, theirs = json.loads(played.stdout)

    assert 60 <= len(ours) <= 121
    assert max(map(int, ours)) == 499
    assert set(ours.values()) == {2}
    assert len(theirs) == 500
