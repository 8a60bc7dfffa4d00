"""First requests to a server, which find the target that answers and the fields that the server accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urljoin

import gevent
import msgspec

from llmlocust.metrics.vocabulary import NO_CONNECTION
from llmlocust.plugin.http.addresses import quoted
from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Listener, Timeouts
from llmlocust.plugin.http.headers import Headers
from llmlocust.plugin.startup import models
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects.base import Adaptation, Dialect
from llmlocust.stream.limits import TooLarge, check_document
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline
from llmlocust.stream.words import server_words
from llmlocust.text.urls import shown, split

_TRIES = 3
_BETWEEN_TRIES = 0.5
_MAX_REDIRECTS = 5
_REFUSED = (400, 422)
_NO_ENDPOINT = (404, 405, 410, 501)
_MODEL = re.compile(r"\b(model|deployment)s?\b", re.IGNORECASE)


class NotReady(Exception):
    """The load must not start. The message is one line that names the reason and the remedy."""


Changes = Callable[[Dialect, Ask], Sequence[Adaptation]]
"""A function that returns possible changes of a request in a dialect."""


def _no_changes(dialect: Dialect, ask: Ask) -> Sequence[Adaptation]:
    return ()


class Attempt(NamedTuple):
    """A first request to one target: the last form of the request, and its record."""

    target: str
    ask: Ask
    record: Record
    changes: tuple[str, ...] = ()
    """The changes to the first form of the request, in words."""
    refusal: str = ""
    """The server's message to the first form of the request, if it was changed."""
    redirected: str = ""
    """The target of the first request, if the server redirected it."""
    location: str = ""
    """The whole address of a redirect that was not followed."""
    is_page: bool = False
    """The answer is a web page."""
    is_guess: bool = False
    """The target was not the most likely one."""

    @property
    def words(self) -> str:
        """The server's message, in one line."""
        return words_of(self.record)

    @property
    def is_misplaced(self) -> bool:
        """Whether the server seems to have no endpoint at this target."""
        record = self.record
        if record.ok or self._is_about_model:
            return False
        if 200 <= record.status < 300:
            return not record.chunks and record.outcome in ("bad_stream", "error_event", "truncated")
        is_redirect = 300 <= record.status < 400
        return is_redirect or record.status in _NO_ENDPOINT or (self.is_guess and self.is_page)

    @property
    def _is_about_model(self) -> bool:
        """Whether the server knows the endpoint but not the model."""
        if self.record.status != 404 or self.is_page:
            return False
        message, model = self.words.replace(self.target.partition("?")[0], ""), self.ask.model
        is_named = bool(model) and bool(re.search(rf"(?<![\w/]){re.escape(model)}(?![\w/])", message))
        return is_named or bool(_MODEL.search(message))


class Probe:
    """A client that counts its requests, so that they can be subtracted from the server's count."""

    def __init__(
        self,
        endpoint: Endpoint,
        dialect: Dialect,
        headers: Headers,
        changes: Changes = _no_changes,
        timeouts: Timeouts | None = None,
    ) -> None:
        """`timeouts` are those of the run; None: the defaults."""
        timeouts = timeouts or Timeouts()
        self.endpoint, self.dialect, self.headers, self.changes = endpoint, dialect, headers, changes
        self.client = Client(endpoint, timeouts)
        self._timeouts = timeouts
        # a list of models or a description may take as long as a first token
        self._get_timeouts = replace(timeouts, total=min(timeouts.first_token, timeouts.total))
        self.requests = 0
        self.owner = ""
        """The owner of the first model that the server lists."""
        self._location = ""
        self._is_page = False
        self._attempts: dict[tuple[str, str], Attempt] = {}
        """The attempts so far, by dialect and target. All of them asked the same question."""

    # ── the target ──

    def find(self, ask: Ask) -> list[Attempt]:
        """Send the request to each target that the address may mean, until one answers or refuses for another reason.
        Later requests go to the target of the last attempt.
        """
        path = self.dialect.path_of(ask)
        attempts: list[Attempt] = []
        for target in dict.fromkeys((self.endpoint.path(path), *self.endpoint.address.joins(path))):
            attempts.append(self.at(target, ask)._replace(is_guess=bool(attempts)))
            if not attempts[-1].is_misplaced:
                break
        return attempts

    def at(self, target: str, ask: Ask) -> Attempt:
        """Send the request to a target, or to the target of its redirect. A second call returns the first attempt."""
        known = self._attempts.get((self.dialect.name, target))
        if known is None:
            known = self._attempts[self.dialect.name, target] = self._followed(target, ask)
        self.endpoint.set_target(self.dialect.path_of(ask), known.target)
        return known

    def _followed(self, target: str, ask: Ask) -> Attempt:
        path, first = self.dialect.path_of(ask), target
        for _ in range(_MAX_REDIRECTS):
            self.endpoint.set_target(path, target)
            attempt = self._attempt(target, ask)
            following = self._own_target(target)
            if not following:
                location = self._shown_location(target)
                return attempt._replace(redirected=first if target != first else "", location=location)
            target = following
        return attempt  # the server redirects in a circle

    def _own_target(self, target: str) -> str:
        """Return the target of a redirect if it is on the same server; otherwise an empty text."""
        try:
            location = split(self._whole_location(target))
            origin = (location.scheme, location.hostname, location.port or (443 if location.scheme == "https" else 80))
        except ValueError:  # not an address
            return ""
        is_own = origin == (self.endpoint.scheme, self.endpoint.host, self.endpoint.port)
        target = (location.path or "/") + (f"?{location.query}" if location.query else "")
        return quoted(target, "latin-1") if is_own else ""  # as headers are decoded

    def _shown_location(self, target: str) -> str:
        try:
            return shown(self._whole_location(target))
        except ValueError:
            return shown(self._location)

    def _whole_location(self, target: str) -> str:
        base = f"{self.endpoint.scheme}://{self.endpoint.authority}{target}"
        return urljoin(base, self._location) if self._location else ""

    # ── the fields of the request ──

    def _attempt(self, target: str, ask: Ask) -> Attempt:
        """Send the request, and change it if the server refuses it. Failures that may be accidental are tried again: one
        broken stream does not mean that all streams break.
        """
        for _ in range(_TRIES):
            record = self.send(ask)
            if record.status in _REFUSED:
                return self._adapted(Attempt(target, ask, record, is_page=self._is_page))
            if record.ok or not _may_be_accidental(record):
                break
            gevent.sleep(_BETWEEN_TRIES)
        return Attempt(target, ask, record, is_page=self._is_page)

    def _adapted(self, attempt: Attempt) -> Attempt:
        """Try one change after the other. A change is kept if the request succeeds, or is refused for another reason."""
        left, refusal = list(self.changes(self.dialect, attempt.ask)), attempt.words
        while attempt.record.status in _REFUSED:
            following = next(filter(None, (self._changed(attempt, change) for change in left)), None)
            if following is None:
                break
            attempt = following
            left = [change for change in left if change.words not in attempt.changes]
        return attempt._replace(refusal=refusal)

    def _changed(self, attempt: Attempt, change: Adaptation) -> Attempt | None:
        """Return the attempt with one more change; None if this is no progress."""
        changed = msgspec.structs.replace(attempt.ask, **change.fields)
        if self._body(changed) == self._body(attempt.ask):  # this dialect does not have the field
            return None
        record = self.send(changed)
        is_run_setting = change.is_run_setting and record.status in _REFUSED
        if not (record.ok or is_run_setting or self._is_another_refusal(attempt, changed, record)):
            return None
        return attempt._replace(ask=changed, record=record, changes=(*attempt.changes, change.words))

    def _is_another_refusal(self, attempt: Attempt, changed: Ask, record: Record) -> bool:
        before = attempt.record
        if not 400 <= record.status < 500 or record.status == 429 or record.error == before.error:
            return False
        # a server that complains only about the new field refuses the change
        old, new = self._fields(attempt.ask), self._fields(changed)
        is_of_change = any(name in words_of(record) for name in new - old)
        return not is_of_change or any(name in attempt.words for name in old ^ new)

    def send(self, ask: Ask) -> Record:
        self.requests += 1
        timeline = Timeline()
        ask = self._as_sent(ask)
        self.client.timeouts = self._timeouts
        reading = Reading(self.dialect, ask=ask, name="preflight")
        listener = Listener(partial(has_token, self.dialect, ask=ask) if ask.stream else None, reading.take)
        body, headers = self.dialect.body(ask), self.headers.of(self.dialect)
        self.client.ask(timeline, self.dialect, ask, body, headers, listener)
        record = reading.finish(timeline)
        self._note_redirect(timeline)
        self._is_page = "html" in timeline.content_type
        record.error = self.headers.without_values(record.error, self.endpoint.secrets)
        record.words = self.headers.without_values(record.words, self.endpoint.secrets)
        return record

    def _note_redirect(self, timeline: Timeline) -> None:
        self._location = timeline.location if timeline.status in (301, 302, 307, 308) else ""

    def _as_sent(self, ask: Ask) -> Ask:
        return ask if self.dialect.streams else msgspec.structs.replace(ask, stream=False)

    def _body(self, ask: Ask) -> bytes:
        return self.dialect.body(self._as_sent(ask))

    def _fields(self, ask: Ask) -> set[str]:
        """Return the names in a request's body; none if a user's own dialect sends no JSON."""
        try:
            return msgspec.json.decode(self._body(ask), type=dict[str, Any]).keys() | set()
        except msgspec.DecodeError:
            return set()

    # ── other information of the server ──

    def get(self, path: str) -> bytes:
        return bytes(self._get(self.endpoint.path(path)).body)

    def models(self, *, all_targets: bool) -> tuple[list[str], str]:
        """Return the models that the server lists, and the reason if there is no list: some servers answer chats but have
        none.
        """
        targets, problem = self.endpoint.address.bases(self.dialect.models_path), ""
        for target in targets if all_targets else targets[:1]:
            timeline = self._fetched(target)
            names = models.listed(bytes(timeline.body)) if timeline.status < 300 else None
            if names is not None:
                self.owner = models.owner(bytes(timeline.body))
                return names, ""
            problem = problem or timeline.detail or f"HTTP {timeline.status}: {server_words(bytes(timeline.body))}"
        return [], self.headers.without_values(problem, self.endpoint.secrets)

    def _fetched(self, target: str) -> Timeline:
        for _ in range(_MAX_REDIRECTS):
            timeline = self._get(target)
            if timeline.failure in NO_CONNECTION:
                raise NotReady(_no_connection(self.endpoint, timeline.detail))
            self._note_redirect(timeline)
            following = self._own_target(target)
            if not following:
                break
            target = following
        return timeline

    def _get(self, target: str) -> Timeline:
        timeline = Timeline()
        self.client.timeouts = self._get_timeouts
        self.client.get(timeline, target, self.headers.of(self.dialect))
        try:
            check_document(timeline.body)
        except TooLarge as problem:
            timeline.failure, timeline.detail = "too_large", str(problem)
            timeline.body.clear()
        return timeline


def words_of(record: Record) -> str:
    """Return the message of a failure, in one line."""
    return " ".join((record.words or record.error or record.outcome).split())


def _may_be_accidental(record: Record) -> bool:
    if record.outcome.startswith("timeout_"):  # the request had the same time-out as one of the run
        return False
    if 200 <= record.status < 300:
        return record.outcome != "bad_stream" or bool(record.chunks)
    return record.status in (0, 429) or (record.status >= 500 and record.status not in _NO_ENDPOINT)


def _no_connection(endpoint: Endpoint, detail: str) -> str:
    where = endpoint.authority
    if "CERTIFICATE" in detail:
        return f"{where} has a certificate that is not trusted ({detail}): set SSL_CERT_FILE to the file of its authority, or give --llm-insecure"
    if "WRONG_VERSION" in detail or "RECORD_LAYER" in detail:
        return f"{where} does not speak TLS ({detail}): is it http:// instead of https://?"
    return f"nothing answers at {where}: {detail}. Is the server running, and is --host right?"
