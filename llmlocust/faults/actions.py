"""`Action`: one thing that a fault plan does, and its notation. Pure.

An action begins with its kind:

    down                                          kill port 8000 restart "./serve.sh" healthy http://127.0.0.1:8000/health
    latency 200ms via toxiproxy http://127.0.0.1:8474/llm            docker pause vllm

A phrase such as `restart "COMMAND"` or `in netns NAME` may follow the values of the kind, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from llmlocust.faults import notation
from llmlocust.faults.notation import joined, quoted, word
from llmlocust.faults.proxy import faults as proxy_faults
from llmlocust.faults.proxy.faults import REQUESTS, Fault
from llmlocust.text import urls
from llmlocust.text.media import one_line

DEFAULT_WITHIN = 300.0
"""Seconds for a restarted server to become healthy."""
_MAX_PORT = 65535
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Action:
    """An action. `str` writes it in the notation."""

    kind: str
    """The first word, such as down, kill or docker."""

    @property
    def can_last(self) -> bool:
        """Whether `for` may give its length."""
        return True

    @property
    def is_moment(self) -> bool:
        """Whether it is lifted at once without `for`. Other actions then last until the end of the run."""
        return not self.can_last

    @property
    def is_once(self) -> bool:
        """Whether it cannot be repeated."""
        return False

    @property
    def shown(self) -> str:
        """The notation without secrets, for the files of a run."""
        return str(self)

    @property
    def title(self) -> str:
        """The action without the commands and addresses that lift or confirm it: the name of a fault without one."""
        return self.shown


@dataclass(frozen=True)
class ProxyAction(Action):
    """A fault of the run's own proxy, or of toxiproxy."""

    fault: Fault
    toxiproxy: str = ""
    """The URL of a proxy in toxiproxy's API, with the proxy's name as path; empty: the run's own proxy."""

    def __str__(self) -> str:
        return f"{self.fault} via toxiproxy {self.toxiproxy}" if self.toxiproxy else str(self.fault)


@dataclass(frozen=True)
class Target:
    """The process that a signal goes to."""

    by: str
    """pid, port, container or process."""
    value: str

    def __str__(self) -> str:
        return f"{self.by} {word(self.value)}"


@dataclass(frozen=True)
class SignalAction(Action):
    """A signal to a process: freeze (SIGSTOP), term (SIGTERM), kill (SIGKILL)."""

    target: Target
    restart: str = ""
    """The shell command that starts the process again."""
    healthy: str = ""
    """The URL that answers with a 2xx when the restarted server works."""
    within: float = DEFAULT_WITHIN

    @property
    def can_last(self) -> bool:
        return self.kind == "freeze" or bool(self.restart)

    @property
    def is_moment(self) -> bool:
        return self.kind != "freeze"

    @property
    def is_once(self) -> bool:
        return self.kind != "freeze" and self.target.by == "pid"

    @property
    def title(self) -> str:
        return f"{self.kind} {self.target}"

    def __str__(self) -> str:
        return self.title + _restart(self.restart) + _health(self.healthy, self.within)


@dataclass(frozen=True)
class TrafficAction(Action):
    """A queueing discipline of a network interface (tc)."""

    device: str
    qdisc: tuple[str, ...]
    """The arguments of `tc qdisc add dev DEVICE root`."""
    netns: str = ""

    def __str__(self) -> str:
        return f"tc {word(self.device)} {quoted(joined(self.qdisc))}" + _netns(self.netns)


@dataclass(frozen=True)
class PortAction(Action):
    """A rule of iptables for packets to a port: block (DROP) or reject (a TCP reset)."""

    port: int
    netns: str = ""

    def __str__(self) -> str:
        return f"{self.kind} port {self.port}" + _netns(self.netns)


@dataclass(frozen=True)
class PressureAction(Action):
    """Pressure on this machine: cpu, memory or disk."""

    amount: int
    """Busy cores, or bytes."""
    load: float = 1.0
    """cpu: the share of the time for which each core is busy."""
    folder: str = ""
    """disk: where the file is written."""

    def __str__(self) -> str:
        if self.kind == "cpu":
            return f"cpu {self.amount}" + (f" load {notation.plain(self.load * 100)}%" if self.load < 1.0 else "")
        return f"{self.kind} {notation.size_text(self.amount)}" + (f" in {word(self.folder)}" if self.folder else "")


@dataclass(frozen=True)
class DockerAction(Action):
    """A command of Docker for a container."""

    verb: str
    """pause, stop, kill or restart."""
    container: str
    healthy: str = ""
    within: float = DEFAULT_WITHIN
    undo_of: ClassVar[Mapping[str, str]] = {"pause": "unpause", "stop": "start", "kill": "start"}

    @property
    def can_last(self) -> bool:
        return self.verb in self.undo_of

    @property
    def title(self) -> str:
        return f"docker {self.verb} {word(self.container)}"

    def __str__(self) -> str:
        return self.title + _health(self.healthy, self.within)


@dataclass(frozen=True)
class CommandAction(Action):
    """A command, and one that ends its effect: of kubectl, or any command of a shell (run)."""

    start: str
    until: str = ""
    """The command that lifts the fault; empty: the fault lasts for as long as the first command runs."""
    check: str = ""
    """The shell command that succeeds while the fault is present."""

    @property
    def can_last(self) -> bool:
        return bool(self.until)

    def shell(self, command: str) -> str:
        """Return the command of a shell for `start` or `until`."""
        return f"kubectl {command}" if self.kind == "kubectl" else command

    @property
    def title(self) -> str:
        return f"{self.kind} {self.start}"

    def __str__(self) -> str:
        start = self.start if self.kind == "kubectl" else quoted(self.start)
        until = f" until {quoted(self.until)}" if self.until else ""
        return f"{self.kind} {start}{until}" + (f" check {quoted(self.check)}" if self.check else "")


@dataclass(frozen=True)
class Call:
    """An HTTP request."""

    method: str
    url: str

    def __str__(self) -> str:
        return f"{self.method} {word(self.url)}"

    @property
    def shown(self) -> str:
        return f"{self.method} {urls.shown(self.url)}"


@dataclass(frozen=True)
class HttpAction(Action):
    """An HTTP request, and one that ends its effect."""

    start: Call
    body: str = ""
    until: Call | None = None
    check: str = ""
    """The URL that answers with a 2xx while the fault is present."""

    @property
    def can_last(self) -> bool:
        return self.until is not None

    def __str__(self) -> str:
        until = f" until {self.until}" if self.until else ""
        body = f" body {quoted(self.body)}" if self.body else ""
        return f"http {self.start}{body}{until}" + (f" check {word(self.check)}" if self.check else "")

    @property
    def title(self) -> str:
        return f"http {self.start.shown}"

    @property
    def shown(self) -> str:
        return self.title + (f" until {self.until.shown}" if self.until else "")


def _restart(command: str) -> str:
    return f" restart {quoted(command)}" if command else ""


def _health(url: str, within: float) -> str:
    limit = "" if within == DEFAULT_WITHIN else f" within {notation.duration(within)}"
    return f" healthy {word(url)}{limit}" if url else ""


def _netns(name: str) -> str:
    return f" in netns {word(name)}" if name else ""


# ── reading ──


def parse(text: str) -> Action:
    """Read an action. Raises ValueError with a one-line message that has a valid example."""
    shown = " ".join(text.split())[:80]
    first = text.split(maxsplit=1)[0].lower() if text.strip() else ""
    if first not in _GRAMMAR:
        return _proxy_action(text, first)
    example, read = _GRAMMAR[first]
    try:
        return read(first, notation.words_of(text)[1:])
    except ValueError as problem:
        raise ValueError(one_line(f"action '{shown}': {problem}; write it like '{example}'")) from None


def _proxy_action(text: str, first: str) -> Action:
    body, via, url = text.partition(" via toxiproxy ")
    if first not in proxy_faults.KINDS and not first.startswith(("black", "slow")):
        known = ", ".join([*proxy_faults.KINDS, *_GRAMMAR])
        raise ValueError(
            f"unknown action '{' '.join(text.split())[:80]}'; write one like 'down' or 'kill port 8000', of: {known}"
        )
    fault = proxy_faults.parse(body)
    if via:
        _check_toxic(fault)
        return ProxyAction(fault.kind, fault, _toxiproxy_url(url.strip()))
    return ProxyAction(fault.kind, fault)


def _toxiproxy_url(text: str) -> str:
    url = _url(text)
    if not re.fullmatch(r"/[^/]+", urls.split(url).path):
        raise ValueError(
            f"'via toxiproxy {text}' names no proxy: write it like 'via toxiproxy http://127.0.0.1:8474/NAME'"
        )
    return url


def _check_toxic(fault: Fault) -> None:
    """Raises ValueError for a fault that toxiproxy does not have."""
    toxics = "down, latency, bandwidth, slice, slow_close, blackhole, reset, cut after 4kB"
    if fault.kind in ("refuse", "status", "buffer") or fault.tokens is not None:
        raise ValueError(f"toxiproxy has no '{fault}': it has {toxics}")
    if fault.of == REQUESTS and not fault.is_of_all:
        raise ValueError(f"toxiproxy draws connections, not requests: write '{fault}' with 'on 10% of connections'")
    if fault.kind == "bandwidth" and fault.size % 1000:
        raise ValueError(f"toxiproxy takes a bandwidth in whole kB/s, not '{fault}': write it like 'bandwidth 100kB/s'")


def _signal(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, *(("restart", "healthy", "within") if kind != "freeze" else ()))
    if len(values) != 2 or values[0] not in ("pid", "port", "container", "process"):
        raise ValueError("it needs pid 123, port 8000, container NAME or process NAME")
    if values[0] in ("pid", "port"):
        values[1] = str(_integer(values[1], _MAX_PORT if values[0] == "port" else 2**31))
    return SignalAction(kind, Target(*values), phrases.get("restart", ""), *_health_of(phrases))


def _traffic(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "in")
    if len(values) != 2 or not notation.words_of(values[1]):
        raise ValueError("it needs an interface and a queueing discipline in quotation marks")
    return TrafficAction(kind, _name(values[0]), tuple(notation.words_of(values[1])), _netns_of(phrases))


def _port(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "in")
    if len(values) != 2 or values[0] != "port":
        raise ValueError("it needs a port")
    return PortAction(kind, _integer(values[1], _MAX_PORT), _netns_of(phrases))


def _cpu(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "load")
    if len(values) != 1:
        raise ValueError("it needs the number of cores")
    share = re.fullmatch(rf"({notation.NUMBER}) ?%", phrases.get("load", "100%"))
    if not share or not 0.0 < float(share[1]) <= 100.0:
        raise ValueError("the load is a share above 0% and at most 100%")
    return PressureAction(kind, _integer(values[0], 1024), float(share[1]) / 100.0)


def _memory(kind: str, words: Sequence[str]) -> Action:
    if len(words) != 1:
        raise ValueError("it needs a size")
    return PressureAction(kind, notation.size(words[0]))


def _disk(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "in")
    if len(values) != 1 or not phrases.get("in"):
        raise ValueError("it needs a size and a folder")
    return PressureAction(kind, notation.size(values[0]), folder=phrases["in"])


def _docker(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "healthy", "within")
    if len(values) != 2 or values[0] not in (*DockerAction.undo_of, "restart"):
        raise ValueError("it needs pause, stop, kill or restart, and one container")
    return DockerAction(kind, values[0], _name(values[1]), *_health_of(phrases))


def _kubectl(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "until", "check")
    if not values:
        raise ValueError("it needs the arguments of kubectl")
    until = phrases.get("until", "").removeprefix("kubectl ").strip()
    return CommandAction(kind, joined(values), until, phrases.get("check", ""))


def _run(kind: str, words: Sequence[str]) -> Action:
    values, phrases = _split(words, "until", "check")
    if len(values) != 1 or not values[0].strip():
        raise ValueError("it needs one command in quotation marks")
    return CommandAction(kind, values[0], phrases.get("until", ""), phrases.get("check", ""))


def _http(kind: str, words: Sequence[str]) -> Action:
    flat = [part for text in words for part in (text.split() if re.match(r"[A-Z]+ https?://", text) else [text])]
    place = flat.index("until") if "until" in flat else len(flat)
    lift, flat = flat[place + 1 : place + 3], [*flat[:place], *flat[place + 3 :]]
    values, phrases = _split(flat, "body", "check")
    check = _url(phrases["check"]) if "check" in phrases else ""
    until = _call(lift) if place < len(words) else None
    return HttpAction(kind, _call(values), phrases.get("body", ""), until, check)


def _call(words: Sequence[str]) -> Call:
    if len(words) != 2 or words[0].upper() not in _METHODS:
        raise ValueError(f"a call is a method ({', '.join(_METHODS)}) and a URL")
    return Call(words[0].upper(), _url(words[1]))


_SIGNALS = 'kill port 8000 restart "./serve.sh" healthy http://127.0.0.1:8000/health within 300s'
_GRAMMAR: dict[str, tuple[str, Callable[[str, Sequence[str]], Action]]] = {
    "freeze": ("freeze port 8000", _signal),
    "term": (_SIGNALS.replace("kill", "term"), _signal),
    "kill": (_SIGNALS, _signal),
    "tc": ('tc eth0 "tbf rate 1mbit burst 32kbit latency 400ms" in netns NAME', _traffic),
    "block": ("block port 8000 in netns NAME", _port),
    "reject": ("reject port 8000", _port),
    "cpu": ("cpu 2 load 50%", _cpu),
    "memory": ("memory 2GB", _memory),
    "disk": ("disk 1GB in /var/tmp", _disk),
    "docker": ("docker pause NAME", _docker),
    "kubectl": ('kubectl scale deployment/llm --replicas=0 until "scale deployment/llm --replicas=1"', _kubectl),
    "run": ('run "./break.sh" until "./mend.sh" check "./is_broken.sh"', _run),
    "http": ("http POST http://127.0.0.1:9000/fault body '{}' until DELETE http://127.0.0.1:9000/fault", _http),
}
PHRASES = ("restart", "healthy", "within", "until", "check", "body", "load")
"""The phrases that are keys of a file, too."""


def _split(words: Sequence[str], *names: str) -> tuple[list[str], dict[str, str]]:
    """Return the values before the first phrase, and the phrases. The value of `in netns NAME` is "netns NAME"."""
    places = [place for place, text in enumerate(words) if text in names]
    phrases: dict[str, str] = {}
    for first, last in pairwise([*places, len(words)]):
        name, value = words[first], words[first + 1 : last]
        if name in phrases or not (len(value) == 1 or (name == "in" and len(value) == 2 and value[0] == "netns")):
            raise ValueError(f"'{name}' takes one value, in quotation marks if it has spaces, and is given once")
        phrases[name] = " ".join(value)
    return list(words[: places[0]] if places else words), phrases


def _netns_of(phrases: Mapping[str, str]) -> str:
    where, _, name = phrases.get("in", "netns ").partition(" ")
    if where != "netns" or ("in" in phrases and not name):
        raise ValueError("'in' takes the name of a network namespace: in netns NAME")
    return _name(name) if name else ""


def _health_of(phrases: Mapping[str, str]) -> tuple[str, float]:
    """Return the URL of a health check, and the seconds in which it must succeed."""
    if "within" in phrases and "healthy" not in phrases:
        raise ValueError("'within' needs 'healthy URL'")
    url = _url(phrases["healthy"]) if "healthy" in phrases else ""
    return url, notation.seconds(phrases["within"]) if "within" in phrases else DEFAULT_WITHIN


def _url(text: str) -> str:
    try:
        if urls.split(text).scheme in ("http", "https"):
            return text
    except ValueError:
        pass
    raise ValueError(f"'{urls.shown(text)}' is no URL: write one like http://127.0.0.1:8000/health")


def _name(text: str) -> str:
    """Return the name of an interface, a namespace or a container, which must not look like an option."""
    if not re.fullmatch(r"\w[\w.@:/-]*", text):
        raise ValueError(f"'{text}' is no name")
    return text


def _integer(text: str, limit: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 0 < int(text) <= limit:
        raise ValueError(f"'{text}' is no number from 1 to {limit}")
    return int(text)
