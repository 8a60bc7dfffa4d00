"""Faults of toxiproxy, through its HTTP API, confirmed by the list of its toxics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llmlocust.faults import requests
from llmlocust.faults.actions import ProxyAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.proxy.faults import BOTH, DOWNSTREAM, UPSTREAM, Fault
from llmlocust.faults.requests import RequestError
from llmlocust.faults.undo import Step
from llmlocust.text import urls
from llmlocust.text.message import Message, message


class Toxiproxy(Injector):
    """A fault of a proxy that toxiproxy's server runs."""

    def __init__(self, action: ProxyAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        parts = urls.split(action.toxiproxy)
        self._proxy = parts._replace(path=f"/proxies{parts.path}").geturl()
        self._is_down = action.fault.kind == "down"
        self._toxics = [] if self._is_down else list(_toxics(action.fault, f"{context.tag}-{injection_id}"))

    def check(self) -> str:
        if problem := requests.forbidden(self._proxy, self.context.allow):
            return problem
        try:
            state = self._get()
        except InjectorError as problem:
            return str(problem)
        return "" if state.get("enabled") else f"{self._proxy}: the proxy is disabled already; enable it first"

    def describe(self) -> str:
        return "; ".join(f"{method} {url} {body}" for method, url, body in self._calls)

    @property
    def _calls(self) -> list[tuple[str, str, str]]:
        if self._is_down:
            return [("POST", self._proxy, json.dumps({"enabled": False}))]
        return [("POST", f"{self._proxy}/toxics", json.dumps(toxic)) for toxic in self._toxics]

    @property
    def steps(self) -> list[Step]:
        lifts = [["DELETE", f"{self._proxy}/toxics/{toxic['name']}", ""] for toxic in self._toxics]
        if self._is_down:
            lifts = [["POST", self._proxy, json.dumps({"enabled": True})]]
        return [{"request": lift, "insecure": self.context.insecure} for lift in lifts]

    def inject(self) -> None:
        for method, url, body in self._calls:
            self._send(method, url, body)

    def present(self) -> Message | None:
        return message("toxiproxy lists the fault") if self._is_listed() == {True} else None

    def gone(self) -> Message | None:
        return message("toxiproxy no longer lists the fault") if self._is_listed() == {False} else None

    def _is_listed(self) -> set[bool]:
        state = self._get()
        if self._is_down:
            return {not state.get("enabled")}
        names = {toxic.get("name") for toxic in state.get("toxics", ())}
        return {toxic["name"] in names for toxic in self._toxics}

    def _get(self) -> dict[str, Any]:
        try:
            state = json.loads(self._send("GET", self._proxy))
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise InjectorError(f"{self._proxy} did not answer like toxiproxy")
        return state

    def _send(self, method: str, url: str, body: str = "") -> bytes:
        try:
            status, answer = requests.send(method, url, body, insecure=self.context.insecure)
        except RequestError as problem:
            raise InjectorError(str(problem)) from None
        if status // 100 != 2:
            raise InjectorError(
                f"toxiproxy answered {method} {url} with HTTP {status}: {answer.decode('utf-8', 'replace')[:200].strip()}"
            )
        return answer


def _toxics(fault: Fault, name: str) -> Iterator[dict[str, Any]]:
    """Yield the toxics of a fault: one, or one in each direction."""
    kind, attributes = _attributes(fault)
    directions = (UPSTREAM, DOWNSTREAM) if fault.direction == BOTH else (fault.direction or DOWNSTREAM,)
    for direction in directions:
        yield {
            "name": f"{name}-{direction}",
            "type": kind,
            "stream": direction,
            "toxicity": fault.share,
            "attributes": attributes,
        }


def _attributes(fault: Fault) -> tuple[str, dict[str, int]]:
    """Return the type of a toxic and its attributes, in toxiproxy's units."""
    milliseconds = round(fault.seconds * 1e3)
    return {
        "latency": ("latency", {"latency": milliseconds, "jitter": round(fault.jitter * 1e3)}),
        "bandwidth": ("bandwidth", {"rate": round(fault.size / 1000)}),
        "slice": (
            "slicer",
            {"average_size": round(fault.size), "size_variation": 0, "delay": round(fault.seconds * 1e6)},
        ),
        "slow_close": ("slow_close", {"delay": milliseconds}),
        "blackhole": ("timeout", {"timeout": 0}),
        "reset": ("reset_peer", {"timeout": 0}),
        "cut": ("limit_data", {"bytes": round(fault.size)}),
    }[fault.kind]
