"""Hosts on one machine: network namespaces with addresses of their own, and cables that can be pulled."""

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
    """The switch's end of it."""
    switch: str

    @property
    def command(self) -> list[str]:
        """What takes a process there."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        _ip("-n", self.switch, "link", "set", self.cable, "down")

    def heal(self) -> None:
        _ip("-n", self.switch, "link", "set", self.cable, "up")

    def cut_from(self, other: "Host") -> None:
        """Nothing goes between the two; the others are reached."""
        _ip("-n", self.name, "route", "add", "blackhole", other.address)
        _ip("-n", other.name, "route", "add", "blackhole", self.address)

    def heal_to(self, other: "Host") -> None:
        _ip("-n", self.name, "route", "delete", "blackhole", other.address)
        _ip("-n", other.name, "route", "delete", "blackhole", self.address)

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], Any]]:
        """What gives the JSON document at an address, as seen from there."""
        program = f"""
import sys, urllib.request
for address in sys.stdin:
    print(urllib.request.urlopen(address.strip(), timeout={PATIENCE}).read().decode().strip(), flush=True)
"""
        command = [*self.command, sys.executable, "-c", program]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def ask(address: str) -> Any:
                process.stdin.write(address + "\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            yield ask


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """So many hosts on one switch."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the command ip (Debian's package iproute2)")
    with ExitStack() as stack:
        switch = _namespace(stack, f"llmlocust{os.getpid()}-{next(_numbers)}")
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        yield [_host(stack, switch, each) for each in range(number)]


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
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
    stack.callback(_ip, "netns", "delete", name)
    return name


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
