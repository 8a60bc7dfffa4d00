"""Messages to spawn users: the master knows when it sent them, and a worker's event loop must not stand still meanwhile."""

import os
import subprocess
import sys

from tests.simulators import PATIENCE, ROOT

MESSAGES = """
from locust import argument_parser
from llmlocust.plugin.locust_patches import cache_default_options

built, make = [], argument_parser.get_empty_argument_parser
argument_parser.get_empty_argument_parser = lambda *args, **more: built.append(1) or make(*args, **more)
cache_default_options()
cache_default_options()
for message in range(3):
    # as locust.runners.WorkerRunner does with "spawn"
    own = {name for name in ("host", "csv_prefix", "llm_model", "llm_levels") if name not in argument_parser.default_args_dict()}
print(sorted(own), len(built))
"""


def test_locusts_options_are_looked_up_without_a_parser_for_each():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MESSAGES]
    output = subprocess.check_output(command, env=environment, text=True, timeout=PATIENCE)
    assert output == "['llm_levels', 'llm_model'] 1\n"


def test_locust_still_looks_them_up_so():
    import importlib.util
    from pathlib import Path

    runners = Path(importlib.util.find_spec("locust").origin).with_name("runners.py").read_text()
    assert "argument_parser.default_args_dict()" in runners


SERVERS = """
from types import SimpleNamespace
from locust.rpc import Message
from llmlocust.plugin.cluster.inbox import CarefulServer
from locust import runners

master = SimpleNamespace(server=runners.rpc.Server("127.0.0.1", 0), master_bind_host="127.0.0.1", master_bind_port=0)
master.server.send_to_client(Message("spawn", {"timestamp": 1.5}, "a"))
runners.MasterRunner.reset_connection(master)
master.server.send_to_client(Message("spawn", {"timestamp": 2.5}, "a"))
master.server.send_to_client(Message("stop", None, "b"))
print(CarefulServer.spawn_times)
"""


def test_spawn_times_are_known_after_locust_replaced_its_server():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.check_output([sys.executable, "-c", SERVERS], env=environment, text=True, timeout=PATIENCE)
    assert output == "{'a': 2.5}\n"
