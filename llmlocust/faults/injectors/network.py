"""Faults of the network that need root: a queueing discipline of an interface (tc), and rules for a port (iptables)."""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Sequence
from typing import Any

from llmlocust.faults.actions import PortAction, TrafficAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError, output_of
from llmlocust.faults.notation import joined
from llmlocust.faults.undo import Step
from llmlocust.text.message import Message, message

_NO_NAMESPACE = "Cannot open network namespace"
_LIFTED_TC = [_NO_NAMESPACE, "Cannot find device", "Invalid handle", "handle of zero", "No such file"]
_LIFTED_IPTABLES = [_NO_NAMESPACE, "matching rule exist", "No chain/target/match"]


def _missing(tool: str, package: str) -> str:
    """Return why a tool cannot be used, in one line; empty if it can."""
    if not shutil.which(tool):
        return f"`{tool}` is not installed here: install {package}"
    return "" if os.geteuid() == 0 else f"`{tool}` needs root: start the test as root"


class _Network(Injector):
    """A change of the network, in this namespace or another one."""

    poll = 0.2
    _netns: str

    def _within(self, *command: str) -> list[str]:
        """Return a command that runs in the namespace of the fault."""
        return ["ip", "netns", "exec", self._netns, *command] if self._netns else list(command)


class Traffic(_Network):
    """A queueing discipline of an interface, with a handle of our own: no other one can be removed by mistake."""

    def __init__(self, action: TrafficAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action, self._netns = action, action.netns
        self._handle = f"{zlib.crc32(f'{context.tag}-{injection_id}'.encode()) % 0x7000 + 0x1000:x}:"

    def check(self) -> str:
        if problem := _missing("tc", "iproute2"):
            return problem
        try:
            root = self._root()
        except InjectorError as problem:
            return str(problem)
        if root.get("handle", "0:") != "0:":
            kind = root.get("kind", "")
            return f"{self._action.device} has a queueing discipline already ({kind} {root['handle']}), which stays as it is"
        return self._refusal()

    def _refusal(self) -> str:
        """Return why the system refuses the queueing discipline, tried in a namespace that ends with the command."""
        try:
            if shutil.which("unshare"):
                output_of(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", *self._action.qdisc])
        except InjectorError as problem:
            return str(problem)
        return ""

    def _root(self) -> dict[str, Any]:
        """Return the root queueing discipline. Raises InjectorError."""
        answer = output_of(self._within("tc", "-j", "qdisc", "show", "dev", self._action.device, "root"))
        disciplines: list[dict[str, Any]] = json.loads(answer or "[]")
        return next((one for one in disciplines if one.get("root")), {})

    @property
    def _command(self) -> list[str]:
        device = ("dev", self._action.device, "root", "handle", self._handle)
        return self._within("tc", "qdisc", "add", *device, *self._action.qdisc)

    def describe(self) -> str:
        return joined(self._command)

    @property
    def steps(self) -> list[Step]:
        command = self._within("tc", "qdisc", "del", "dev", self._action.device, "root", "handle", self._handle)
        return [{"command": command, "lifted": _LIFTED_TC}]

    def inject(self) -> None:
        output_of(self._command)

    def present(self) -> Message | None:
        root = self._root()
        if root.get("handle") != self._handle:
            return None
        return message("tc lists {kind} on {device}", kind=root["kind"], device=self._action.device)

    def gone(self) -> Message | None:
        try:
            if self._root().get("handle") == self._handle:
                return None
        except InjectorError as problem:
            if not any(text in str(problem) for text in _LIFTED_TC):
                raise
        return message("tc no longer lists it")


class Port(_Network):
    """Rules that drop or reject the packets to a port, for IPv4 and, where it exists, IPv6."""

    def __init__(self, action: PortAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action, self._netns = action, action.netns
        self._comment = f"{context.tag}-{injection_id}"
        self._tools = ["iptables"]

    def check(self) -> str:
        if problem := _missing("iptables", "iptables"):
            return problem
        try:
            output_of(self._within("iptables", "-w", "5", "-n", "-L", "INPUT"))
        except InjectorError as problem:
            return str(problem)
        return ""

    def prepare(self) -> None:
        self._tools = ["iptables", *(["ip6tables"] if self._has_ipv6() else [])]

    def _has_ipv6(self) -> bool:
        try:
            output_of(self._within("ip6tables", "-w", "5", "-n", "-L", "INPUT"))
        except InjectorError:
            return False
        return True

    def _commands(self, change: str) -> list[list[str]]:
        target = ["REJECT", "--reject-with", "tcp-reset"] if self._action.kind == "reject" else ["DROP"]
        rule = [
            "-p",
            "tcp",
            "--dport",
            str(self._action.port),
            "-m",
            "comment",
            "--comment",
            self._comment,
            "-j",
            *target,
        ]
        return [self._within(tool, "-w", "5", change, "INPUT", *rule) for tool in self._tools]

    def describe(self) -> str:
        return joined(self._commands("-I")[0])

    @property
    def steps(self) -> list[Step]:
        return [{"command": command, "lifted": _LIFTED_IPTABLES} for command in self._commands("-D")]

    def inject(self) -> None:
        for command in self._commands("-I"):
            output_of(command)

    def present(self) -> Message | None:
        counts = [count for tool in self._tools for count in self._packets(tool)]
        return message("the rule of the firewall counted {count} packets", count=sum(counts)) if any(counts) else None

    def gone(self) -> Message | None:
        try:
            if any(True for tool in self._tools for _ in self._packets(tool)):
                return None
        except InjectorError as problem:
            if _NO_NAMESPACE not in str(problem):
                raise
        return message("the rule of the firewall is gone")

    def _packets(self, tool: str) -> Sequence[int]:
        """Return the counter of the rule; nothing without the rule."""
        lines = output_of(self._within(tool, "-w", "5", "-n", "-v", "-x", "-L", "INPUT")).splitlines()
        own = re.compile(rf"\s*(\d+) .*/\* {re.escape(self._comment)} \*/")
        return [int(match[1]) for line in lines if (match := own.match(line))]
