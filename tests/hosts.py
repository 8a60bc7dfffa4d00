"""Simulated hosts on one machine: network namespaces, each with its own address and a cable that can be unplugged."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.simulators import PATIENCE

_numbers = itertools.count()


@dataclass(frozen=True)
class Host:
    name: str
    address: str
    cable: str
    """Device at the switch's end of the cable."""
    switch: str

    @property
    def command(self) -> list[str]:
        """Prefix of a command line that runs it on this host."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        _ip("-n", self.switch, "link", "set", self.cable, "down")

    def heal(self) -> None:
        _ip("-n", self.switch, "link", "set", self.cable, "up")

    def cut_from(self, other: "Host") -> None:
        """Block packets between the two hosts; both still reach the others."""
        _ip("-n", self.name, "route", "add", "blackhole", other.address)
        _ip("-n", other.name, "route", "add", "blackhole", self.address)

    def heal_to(self, other: "Host") -> None:
        _ip("-n", self.name, "route", "delete", "blackhole", other.address)
        _ip("-n", other.name, "route", "delete", "blackhole", self.address)

    @contextmanager
    def json_client(self) -> Iterator[Callable[[str], Any]]:
        """Yield a function that fetches the JSON document at an address from this host."""
        program = f"""
import sys, urllib.request
for address in sys.stdin:
    print(urllib.request.urlopen(address.strip(), timeout={PATIENCE}).read().decode().strip(), flush=True)
"""
        command = [*self.command, sys.executable, "-c", program]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def fetch(address: str) -> Any:
                process.stdin.write(address + "\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            yield fetch


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """Create hosts on one switch; skip the test without root."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the command ip (Debian's package iproute2)")
    with ExitStack() as stack:
        switch = _namespace(stack, f"llmlocust{os.getpid()}-{next(_numbers)}")
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        yield [_host(stack, switch, index) for index in range(number)]


def _host(stack: ExitStack, switch: str, number: int) -> Host:
    name = _namespace(stack, f"{switch}-{number}")
    host = Host(name, f"10.1.1.{number + 1}", f"cable{number}", switch)
    _ip("-n", switch, "link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("-n", switch, "link", "set", host.cable, "master", "bridge", "up")
    _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", name, "link", "set", device, "up")
    return host


def _namespace(stack: ExitStack, name: str) -> str:
    child = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if child.returncode:
        pytest.skip(f"network namespaces cannot be created here: {child.stderr.strip()}")
    stack.callback(_ip, "netns", "delete", name)
    return name


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
