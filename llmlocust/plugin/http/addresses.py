"""Targets of requests, from the address that a user gives and the path of a protocol. Pure.

Users paste a base (`https://host`, `…/v1`, `…/api/paas/v4`, `…/deployments/NAME?api-version=…`) or the whole address of
an endpoint (`…/v4/chat/completions`). `Address.joins` lists the targets that this may mean, the most likely first. The
preflight finds the target that answers, and the run uses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import quote

from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import DIALECTS, Dialect

Parts = tuple[str, ...]

PASTED = "as it was pasted"
SHORT = "base + path without its version"
WHOLE = "base + path"
BESIDE = "base without its version + path"
BARE = "both without a version"
BELOW = "the pasted endpoint + path"
GIVEN = "path alone"

_VERSION = re.compile(r"v\d[\w.]*", re.IGNORECASE)
_VERSION_IN_QUERY = re.compile(r"version=", re.IGNORECASE)
_ALLOWED = "/%:@!$&'()*+,;=~"


def quoted(target: str, encoding: str = "utf-8") -> str:
    """Return a path with a query in which characters that are not allowed in URLs are percent-encoded."""
    return quote(target, safe=_ALLOWED + "?", encoding=encoding)


class Address(NamedTuple):
    """The part after the host in the address that a user gave."""

    path: str = ""
    query: str = ""
    given: str = ""
    """The path of the option --llm-path. It is used as it is, with its version."""

    def joins(self, path: str) -> list[str]:
        """Return the possible targets for a protocol's path, the most likely first."""
        return list(dict.fromkeys(self._targets(path).values()))

    def bases(self, path: str) -> list[str]:
        """Return the possible targets for a path that is no endpoint of the dialect, such as the list of models."""
        targets = {rule: target for rule, target in self._targets(path).items() if rule != PASTED}
        return list(dict.fromkeys(targets.values()))

    def target(self, path: str, known_targets: Mapping[str, str]) -> str:
        """Return the target of requests for a path. `known_targets` are those that answered, by path: a path below one of
        these paths is below its target, and other paths are joined by the same rule.
        """
        for known, target in known_targets.items():
            if path == known:
                return target
            if path.startswith(f"{known}/"):
                head, mark, query = target.partition("?")
                return head.rstrip("/") + quoted(path.removeprefix(known)) + mark + query
        targets = self._targets(path)
        rules = (self._rule(known, target) for known, target in known_targets.items())
        return next((targets[rule] for rule in rules if rule in targets), self.joins(path)[0])

    def pasted_dialect(self) -> str:
        """The name of the dialect whose endpoint ends the address; empty if there is none."""
        return _endpoints().get(_endpoint(_parts(self.path)), "")

    def is_endpoint_of(self, dialect: Dialect) -> bool:
        """Whether the user pasted the whole address of a dialect's endpoint."""
        own = _without_version(_parts(dialect.path))
        return bool(own) and _endpoint(_parts(self.path), own) == own

    def _rule(self, path: str, target: str) -> str:
        """Return the rule that makes a target; empty if it is the usual one for its path, or applies only to that path."""
        targets = self._targets(path)
        rule = next((rule for rule, candidate in targets.items() if candidate == target), "")
        return "" if rule in (next(iter(targets)), PASTED) else rule

    def _targets(self, path: str) -> dict[str, str]:
        """Return targets by the rules that make them, the most likely first."""
        path, _, query = path.partition("?")
        queries = "&".join(filter(None, (query, self.query)))
        mark = f"?{quote(queries, safe=_ALLOWED + '?')}" if queries else ""
        return {rule: quote(target, safe=_ALLOWED) + mark for rule, target in self._paths(path).items()}

    def _paths(self, path: str) -> dict[str, str]:
        base, whole = _parts(self.path), _parts(path)
        is_given = bool(self.given) and whole == _parts(self.given)
        short = whole if is_given else _without_version(whole)
        endpoint = _endpoint(base, short)
        root = base[: len(base) - len(endpoint)]
        end = "/" if whole and path.endswith("/") else ""
        joined = {rule: f"/{'/'.join(parts)}{end}" for rule, parts in self._joined(root, whole, short).items()}
        if len(endpoint) == 1 and not is_given:  # it may also be the name of a service, as in /rerank/v1/rerank
            joined[BELOW] = f"/{'/'.join(base + whole)}{end}"
        if is_given:
            joined[GIVEN] = f"/{'/'.join(whole)}{end}"
        pasted = {PASTED: self.path} if base else {}
        return pasted | joined if endpoint and endpoint == short else joined | ({} if is_given else pasted)

    def _joined(self, root: Parts, whole: Parts, short: Parts) -> dict[str, Parts]:
        joined = {SHORT: _merged(root, short), WHOLE: _merged(root, whole)}
        if not self._has_version(root):
            joined = {WHOLE: joined[WHOLE], SHORT: joined[SHORT]}
        if root and _VERSION.fullmatch(root[-1]):
            joined |= {BESIDE: _merged(root[:-1], whole), BARE: _merged(root[:-1], short)}
        return joined

    def _has_version(self, root: Parts) -> bool:
        return any(map(_VERSION.fullmatch, root)) or bool(_VERSION_IN_QUERY.search(self.query))


def _parts(path: str) -> Parts:
    return tuple(filter(None, path.partition("?")[0].split("/")))


def _without_version(parts: Parts) -> Parts:
    """Return a path without its leading version."""
    return parts[1:] if len(parts) > 1 and _VERSION.fullmatch(parts[0]) else parts


def _merged(base: Parts, path: Parts) -> Parts:
    """Join two paths. Parts that end the base and also begin the path are not repeated."""
    longest = min(len(base), len(path))
    overlap = next((length for length in range(longest, 0, -1) if base[-length:] == path[:length]), 0)
    return base + path[overlap:]


def _endpoint(base: Parts, own: Parts = ()) -> Parts:
    """Return the endpoint that ends an address: the longest one, as /chat/completions also ends in /completions."""
    endpoints = [*_endpoints(), own]
    return max((end for end in endpoints if end and base[-len(end) :] == end), key=len, default=())


@cache
def _endpoints() -> dict[Parts, str]:
    """Return the endpoints of all dialects, without versions, with the dialects' names."""
    asks = (Ask(stream=True), Ask(stream=False))
    return {_without_version(_parts(dialect().path_of(ask))): dialect.name for dialect in DIALECTS for ask in asks}
