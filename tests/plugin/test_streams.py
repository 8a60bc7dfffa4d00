"""Streams of open load, as they come and go."""

import os
import subprocess
import sys

from tests.simulators import PATIENCE, ROOT

GONE = """
from types import SimpleNamespace
from llmlocust.plugin.generator.open_load import OpenLoad

due = []
load = OpenLoad(SimpleNamespace(request_due=lambda moment, dropped: due.append(moment)))
load._next_ns = 0  # long due, when the last stream has gone
load._send_due(1e9)
print(len(due), load._next_ns)
"""


def test_what_is_due_when_the_last_stream_has_gone_is_not_sent():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.check_output([sys.executable, "-c", GONE], env=environment, text=True, timeout=PATIENCE)
    assert output == "0 0\n"
