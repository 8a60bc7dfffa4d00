"""What a worker does with each message to spawn users: its event loop must not stand still meanwhile."""

import os
import subprocess
import sys

from tests.simulators import PATIENCE, ROOT

MESSAGES = """
from locust import argument_parser
from llmlocust.plugin.locust_patches import look_options_up_once

built, make = [], argument_parser.get_empty_argument_parser
argument_parser.get_empty_argument_parser = lambda *args, **more: built.append(1) or make(*args, **more)
look_options_up_once()
look_options_up_once()
for message in range(3):
    # as locust.runners.WorkerRunner does with "spawn"
    own = {name for name in ("host", "csv_prefix", "llm_model", "llm_levels") if name not in argument_parser.default_args_dict()}
print(sorted(own), len(built))
"""


def test_locusts_options_are_looked_up_without_a_parser_for_each():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MESSAGES]
    said = subprocess.check_output(command, env=environment, text=True, timeout=PATIENCE)
    assert said == "['llm_levels', 'llm_model'] 1\n"


def test_locust_still_looks_them_up_so():
    import importlib.util
    from pathlib import Path

    runners = Path(importlib.util.find_spec("locust").origin).with_name("runners.py").read_text()
    assert "argument_parser.default_args_dict()" in runners
