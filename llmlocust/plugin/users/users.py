"""Users for locustfiles: `ChatUser`, `CompletionUser`, and `LLMUser` for custom tasks."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter_ns
from typing import Any, ClassVar

import msgspec
from gevent import GreenletExit
from gevent.event import Event
from locust import task
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING, DefaultTaskSet

from llmlocust.load.answer_key import load as load_answers
from llmlocust.load.backoff import Backoff
from llmlocust.load.distributions import parse, think_time
from llmlocust.load.prompts import Prompts, limit_of, shared_prefix, words_of
from llmlocust.load.prompts import load as load_prompts
from llmlocust.load.rows import Messages, Question
from llmlocust.load.tokens import counter
from llmlocust.load.trace_windows import shared_text
from llmlocust.load.traces import Row
from llmlocust.metrics.vocabulary import ABORTED
from llmlocust.plugin.findings import findings
from llmlocust.plugin.generator.open_load import row_now
from llmlocust.plugin.http import headers
from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Timeouts
from llmlocust.plugin.http.headers import Headers
from llmlocust.plugin.options import asks_for_dialect, option
from llmlocust.plugin.session_interface import session_of
from llmlocust.plugin.settings import drawn_fields, extra_fields, forced
from llmlocust.plugin.users.exchange import Exchange, fire_request
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import Dialect, named
from llmlocust.stream.record import STALL, Record
from llmlocust.stream.timeline import Timeline
from llmlocust.text.urls import host_of

_MAX_PAUSE = 30.0
"""Seconds. A Retry-After may ask for a longer pause."""
_MAX_WAIT_FOR_RUN = 30.0
"""Seconds to wait for the master's message about the run. A master without llmlocust sends none."""
_log = logging.getLogger(__name__)


class LLMUser(FastHttpUser):
    """A user whose tasks call `self.chat(…)` and `self.complete(…)`, and `self.client` for ordinary HTTP.

    Attributes that are None are taken from the options (`--llm-model`, …). Failures of the server raise nothing: they are
    classified, counted, and returned as Records.
    """

    abstract = True

    dialect: ClassVar[str | Dialect | None] = None
    """The name of a dialect, or a Dialect of your own (docs/dialects.md)."""
    model: str | None = None
    prompts: str | Sequence[Question] | None = None
    """Names of built-in sets, a file, or the questions themselves."""
    unique: bool | None = None
    prefix_tokens: int | None = None
    prefix_share: float | None = None
    prompt_tokens: int | str | None = None
    """A number, or the text of a distribution, as in the options. The same is true of turns, max_tokens, temperature."""
    turns: int | str | None = None
    max_tokens: int | str | None = None
    temperature: float | str | None = None
    system: str | None = None
    headers: Mapping[str, str] | None = None
    """Headers in addition to those of the options; $NAME is a variable of the environment: {"api-key": "$API_KEY"}. A user
    may set its own, such as a token that it got in on_start."""
    stream: bool = True
    timeouts: Timeouts | None = None
    stall: float = STALL
    """Seconds between tokens. A longer interval is a stall."""
    pause_after_failure: float = 1.0
    """Seconds to wait after a failed request, unless the server's Retry-After is longer. Otherwise users without think
    time would send requests to a failing server as fast as it can refuse them."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.stopping = Event()
        """Set when the user must stop: its requests in flight end, and it begins no new ones."""
        session = session_of(environment)
        assert session.collector is not None, "users run on workers, or in the only process"
        self._collector = session.collector
        if self._collector.refused:  # the settings may be missing, and the user will send nothing
            return
        self._options: dict[str, Any] = {}
        self._otel = session.otel
        self._llm = Client(_endpoint_of(environment, self.host or ""), self.timeouts_of(environment))
        self._dialect = self.resolve_dialect(environment)
        self._own_headers, self._headers = dict(self.headers or {}), self.headers_of(environment)
        self._extra = extra_fields(self._option("body"))
        self._retries, self._backoff = self._option("retries"), Backoff.parse(self._option("retry_backoff"))
        self._prompts = self._make_prompts()

    @classmethod
    def resolve_dialect(cls, environment: Environment) -> Dialect:
        """Return the dialect of this class. Raises ValueError in one line if it does not exist."""
        if cls.dialect is not None:
            return _dialect(cls.dialect)
        return _dialect(option(environment, "dialect"), option(environment, "path"))

    @classmethod
    def headers_of(cls, environment: Environment) -> Headers:
        """Return the headers of this class, in addition to the dialect's own. Raises ValueError in one line."""
        return _headers(cls, environment, cls.headers or {})

    @classmethod
    def timeouts_of(cls, environment: Environment) -> Timeouts:
        """Return the time-outs of requests of this class."""
        names = Timeouts.__dataclass_fields__
        return cls.timeouts or Timeouts(**{name: float(option(environment, f"timeout_{name}")) for name in names})

    def wait_time(self) -> float:
        """Return a think time, in seconds, from the options. A locustfile's own `wait_time` replaces it."""
        return think_time(self._option("think_time")).draw(_chance)

    think_time_option = wait_time

    def wait(self) -> None:
        if self._collector.open_load.on:
            self._collector.open_load.think(self, self.wait_time())
        else:
            super().wait()

    def on_stop(self) -> None:
        self._llm.close()

    # ── open load: the user is a stream ──

    def run(self) -> None:  # type: ignore[misc]  # Locust marks it as final; open load needs to override it
        """Run as Locust's users do, or in open load as a stream. On a worker that joins late, users start before the worker
        has received the run, so they wait for it.
        """
        self._collector.run_received.wait(_MAX_WAIT_FOR_RUN)
        if self._collector.refused:
            return
        if self._collector.open_load.on:
            self._stream()
        else:
            super().run()

    def _stream(self) -> None:
        self._llm.keeps_spare = True
        self._taskset_instance = DefaultTaskSet(self)
        self._state = LOCUST_STATE_RUNNING
        try:
            self.on_start()
            self._collector.open_load.stream(self)
        except (GreenletExit, StopUser, StopTest):
            pass
        self.on_stop()

    def stop(self, force: bool = False) -> bool:
        # Locust neither counts nor waits for a killed user, even if the user still does something
        is_killed: bool = super().stop(force)
        self.stopping.set()
        return is_killed

    def run_one_task(self) -> None:
        """Run one task, for one arrival. An error in it does not stop other arrivals."""
        tasks = self._taskset_instance
        assert tasks is not None
        try:
            tasks.execute_task(tasks.get_next_task())
        except (StopUser, StopTest, InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately):
            pass
        except Exception as problem:
            self.environment.events.user_error.fire(user_instance=self, exception=problem, tb=problem.__traceback__)
            _log.exception("a task failed")

    # ── methods for tasks ──

    def chat(
        self,
        question: Question | None = None,
        *,
        name: str = "chat",
        dialect: str | Dialect | None = None,
        **fields: Any,
    ) -> Record:
        """Send a chat and read its answer to the end. `question` is text or a list of messages; None: the next prompt.

        `dialect` replaces the user's own for this request. `fields` are those of `Ask` (max_tokens, temperature, stream,
        …) or additional fields of the body.
        """
        row = row_now()
        source = self._source(row)
        sent, words, limits = (
            self._prompt(source, row)
            if question is None
            else (question, words_of(question), _limited(limit_of(question)))
        )
        messages: list[Any] = [{"role": "user", "content": sent}] if isinstance(sent, str) else list(sent)
        return self._chat(self._dialect_for(dialect), messages, words, name, source, limits | fields)

    def talk(self, question: Question | None = None, *, name: str = "turn", **fields: Any) -> list[Record]:
        """Have a conversation: each turn repeats the previous messages and answers. Think time passes between turns, and
        each turn has its own name: `turn 1`, `turn 2`, … The conversation ends if a turn fails.

        `question` is sent unchanged in the first turn; None: the next prompt. The other turns come from the prompts, or
        from the prompt itself if it is a conversation. `self.turns` is their number; `fields` are those of `chat`.
        """
        source = self._source()
        first_question = self._prompts.pick(source) if question is None else question
        prompts = self._prompts if question is None else replace(self._prompts, unique=False, tokens=None, prefix="")
        history: Messages = []
        records: list[Record] = []
        for turn in prompts.turns(first_question, max(1, round(self._drawn("turns", source))), source):
            if records:
                self.wait()
            history = [*history, *turn.messages]
            turn_name, turn_fields = f"{name} {len(records) + 1}", _limited(turn.max_tokens) | fields
            records.append(self._chat(self._dialect, history, turn.words, turn_name, source, turn_fields))
            if not records[-1].ok:
                break
            history.append({"role": "assistant", "content": records[-1].text})
        return records

    def complete(
        self,
        prompt: str | None = None,
        *,
        name: str = "completion",
        dialect: str | Dialect | None = None,
        **fields: Any,
    ) -> Record:
        """Send a prompt and read its completion to the end. None: the next prompt. Other arguments are those of `chat`."""
        row = row_now()
        source = self._source(row)
        text, words, limits = self._text(source, row) if prompt is None else (prompt, prompt, {})
        ask = self._ask_of(limits | fields, source, prompt=text)
        return self._ask(self._dialect_for(dialect).for_prompts(), ask, name, words)

    def embed(
        self,
        texts: Sequence[str] = (),
        *,
        name: str = "embedding",
        dialect: str | Dialect = "openai-embeddings",
        **fields: Any,
    ) -> Record:
        """Request embeddings of texts, in one request; of no texts, of the next prompt. Other arguments as for `chat`."""
        row = row_now()
        source = self._source(row)
        inputs = list(texts) or [self._text(source, row)[0]]
        return self._ask(_dialect(dialect), self._ask_of(fields, source, inputs=inputs), name, inputs[0])

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        name: str = "rerank",
        dialect: str | Dialect = "rerank",
        **fields: Any,
    ) -> Record:
        """Request a ranking of documents by a query. Other arguments are those of `chat`."""
        ask = self._ask_of(fields, self._source(), prompt=query, inputs=list(documents))
        return self._ask(_dialect(dialect), ask, name, query)

    def is_right(self, question: str, record: Record) -> bool | None:
        """Return whether a successful request's answer is right; None if it is not judged. Override it for your own
        judgement. It is called after the request, and blocks all other users meanwhile.

        The default compares with the answers of --llm-right-answers. `question` is the prompt before it was made unique
        or extended.
        """
        path = self._option("right_answers")
        return load_answers(path).judge(question, record.text) if path else None

    # ── requests ──

    def _dialect_for(self, dialect: str | Dialect | None) -> Dialect:
        return self._dialect if dialect is None else _dialect(dialect)

    def _prompt(self, source: random.Random, row: Row | None) -> tuple[Messages | str, str, dict[str, Any]]:
        """Return the next prompt, or that of a trace's row; the prompt before it was made unique or extended; and fields
        for the length of its answer, if the prompt or the row has one.
        """
        limits = {} if row is None else _limited(row.output_tokens)
        if row is not None and row.blocks:
            return shared_text(row, self._collector.open_load.salt, self._prompts.count, source), "", limits
        question = self._prompts.pick(source)
        if row is not None:
            return self._prompts.prepare(words_of(question), source, row.prompt_tokens), words_of(question), limits
        return self._prompts.prepare(question, source), words_of(question), _limited(limit_of(question))

    def _text(self, source: random.Random, row: Row | None) -> tuple[str, str, dict[str, Any]]:
        """Return the same as `_prompt`, with the prompt as plain text."""
        sent, words, limits = self._prompt(source, row)
        return sent if isinstance(sent, str) else Ask(messages=list(sent)).text(), words, limits

    def _source(self, row: Row | None = None) -> random.Random:
        """Return the random source of the next request. It depends on the number of processes, so this waits for the run."""
        self._collector.run_received.wait(_MAX_WAIT_FOR_RUN)
        draws = self._collector.draws
        return draws.next() if row is None else draws.of(row.number)

    def _drawn(self, name: str, source: random.Random) -> float:
        return parse(str(self._setting(name))).draw(source)

    def _chat(
        self,
        dialect: Dialect,
        messages: Messages,
        words: str,
        name: str,
        source: random.Random,
        fields: dict[str, Any],
    ) -> Record:
        system = self._setting("system")
        if system and messages[0].get("role") != "system":
            messages = [{"role": "system", "content": system}, *messages]
        return self._ask(dialect, self._ask_of(fields, source, messages=messages), name, words)

    def _ask_of(self, fields: dict[str, Any], source: random.Random, **question: Any) -> Ask:
        known = {name: fields.pop(name) for name in Ask.__struct_fields__ if name in fields}
        max_tokens, temperature = round(self._drawn("max_tokens", source)), self._drawn("temperature", source)
        limit = known.get("max_tokens", max_tokens)
        forces = forced(limit) if self._option("force_length") and limit else {}
        return Ask(
            **{
                "model": self._setting("model"),
                "max_tokens": max_tokens if max_tokens > 0 else None,
                "temperature": temperature if temperature >= 0 else None,
                "max_tokens_field": self._option("max_tokens_field"),
                "usage": self._option("usage"),
                "stream": self.stream,
                "extra": forces | drawn_fields(self._extra, source) | fields,
            }
            | question
            | known
        )

    def _ask(self, dialect: Dialect, ask: Ask, name: str, words: str) -> Record:
        if self._collector.refused:
            raise StopUser(self._collector.refused)
        requested_ns = perf_counter_ns()
        due_ns = self._collector.open_load.due_now(requested_ns)
        timeline = Timeline(requested_ns=max(requested_ns, due_ns), due_ns=due_ns)
        if ask.stream and not dialect.streams:
            ask = msgspec.structs.replace(ask, stream=False)
        request_id = f"{random.getrandbits(64):016x}"
        body, sent = self._body_and_headers(dialect, ask, request_id)
        if not timeline.due_ns:
            # here Locust can kill a waiting user before it sends, and not after
            self._collector.parse_queue.wait()
            self._take_from_quota(timeline)
        exchange = Exchange(dialect, ask, name, self.stall, timeline)
        self._collector.request_begins(name, timeline.requested_ns)
        try:
            exchange.run(self._llm, self._collector.parse_queue, body, sent)
            self._retry(exchange, request_id)
        finally:  # also if the user is killed meanwhile: a request that was sent is counted
            record = self._end(exchange, request_id, words)
        if not record.ok and not self._collector.open_load.on:
            pause = max(self.pause_after_failure, record.retry_after or 0.0)
            self._collector.back_off(min(pause, _MAX_PAUSE))
        return record

    def _retry(self, exchange: Exchange, request_id: str) -> None:
        """Try a failed request again, as a client's SDK does. It is one request, and stays in flight meanwhile."""
        while exchange.attempts <= self._retries and exchange.may_retry(self._backoff):
            exchange.wait(self._backoff)
            # engines refuse an id that they still know
            own_id = f"{request_id}-{exchange.attempts + 1}"
            body, sent = self._body_and_headers(exchange.dialect, exchange.ask, own_id)
            exchange.begin_again()
            self._collector.request_retried()
            exchange.run(self._llm, self._collector.parse_queue, body, sent)

    def _end(self, exchange: Exchange, request_id: str, words: str) -> Record:
        """Count a request that has ended, and report it to Locust."""
        sums, dialect, ask = exchange.end(), exchange.dialect, exchange.ask
        record = sums.record
        record.id = request_id
        self._remove_secrets(record)
        record.inputs = dialect.inputs(ask)
        try:
            record.right = self._judge(words, record)
        finally:  # a locustfile's judge may wait for something, and the user may be killed meanwhile
            self._collector.request_ended(sums)
            if record.outcome != ABORTED:  # only llmlocust counts these: in Locust they would be failures of the server
                url = self._llm.endpoint.shown_path(dialect.path_of(ask))
                fire_request(self.environment.events, record, url, self.context())
                if self._otel:
                    self._otel.record(record, dialect.operation, ask.model, self._llm.endpoint)
        return record

    def _remove_secrets(self, record: Record) -> None:
        """Mask secrets in the server's messages, or remove the messages, as --llm-error-text says."""
        if self._option("error_text"):
            record.error = self._headers.without_values(record.error, self._llm.endpoint.secrets)
            record.words = self._headers.without_values(record.words, self._llm.endpoint.secrets)
        else:
            record.error = record.words = f"HTTP {record.status}" if record.status and not record.ok else ""

    def _take_from_quota(self, timeline: Timeline) -> None:
        """Wait until the quota has a request for this user. The request counts as requested from then on."""
        while not self._collector.quota.take():
            if self._state == LOCUST_STATE_STOPPING:
                raise StopUser
            self._state = LOCUST_STATE_WAITING  # Locust may stop the user at once: nothing is in flight
            self._collector.quota.wait()
            self._state = LOCUST_STATE_RUNNING
            timeline.requested_ns = perf_counter_ns()

    def _judge(self, words: str, record: Record) -> bool | None:
        if not record.ok:
            return None
        try:
            return self.is_right(words, record)
        except Exception as problem:  # an error in a locustfile's own code does not lose the measurement
            self.environment.runner.log_exception("is_right", str(problem), traceback.format_exc())
            return None

    def _body_and_headers(self, dialect: Dialect, ask: Ask, request_id: str) -> tuple[bytes, dict[str, str]]:
        """Return a request's body and headers. A ValueError makes the user pause first."""
        try:
            self._update_own_headers()
            return dialect.body(ask), self._headers.of(dialect, request_id)
        except ValueError:  # Locust lists it among its exceptions and runs the next task at once
            self._collector.back_off(self.pause_after_failure)
            raise

    def _update_own_headers(self) -> None:
        """Use the headers that this user has set since its last request."""
        own = dict(self.headers or {})
        if own != self._own_headers:
            self._own_headers, self._headers = own, _headers(type(self), self.environment, own)

    def _option(self, name: str) -> Any:
        """Return an option. A user lives no longer than its run, in which options do not change."""
        if name not in self._options:
            self._options[name] = option(self.environment, name)
        return self._options[name]

    def _setting(self, name: str) -> Any:
        own = getattr(self, name)
        return self._option(name) if own is None else own

    def _make_prompts(self) -> Prompts:
        source, tokens = self._setting("prompts"), str(self._setting("prompt_tokens"))
        count = counter(self._option("tokenizer"))
        return Prompts(
            load_prompts(source) if isinstance(source, str) else source,
            self._setting("unique"),
            parse(tokens) if tokens else None,
            shared_prefix(self._setting("prefix_tokens"), count, self._option("seed")),
            self._setting("prefix_share"),
            count,
        )


class ChatUser(LLMUser):
    """A user that sends one question after the other, or, with `turns`, has one conversation after the other."""

    abstract = True

    @task
    def ask(self) -> None:
        if str(self._setting("turns")) == "1":
            self.chat()
        else:
            self.talk()


class CompletionUser(LLMUser):
    """A user that requests one completion after the other."""

    abstract = True

    @classmethod
    def resolve_dialect(cls, environment: Environment) -> Dialect:
        dialect = super().resolve_dialect(environment)
        for_prompts = dialect.for_prompts()
        is_named = cls.dialect is None and for_prompts is not dialect
        return _dialect(for_prompts.name, option(environment, "path")) if is_named else for_prompts

    @task
    def ask(self) -> None:
        self.complete()


def _limited(tokens: int | None) -> dict[str, Any]:
    """Return the fields of a request whose prompt limits the length of its answer."""
    return {} if tokens is None else {"max_tokens": tokens}


_chance = random.Random()
"""The random source of think times, which no seed determines."""


@cache
def _dialect(dialect: str | Dialect, path: str = "") -> Dialect:
    return named(dialect, path) if isinstance(dialect, str) else dialect


def _headers(user: type[LLMUser], environment: Environment, own: Mapping[str, str]) -> Headers:
    host = environment.host or user.host or ""
    is_guessed = user.dialect is None and asks_for_dialect(environment)
    return Headers(headers.listed(option(environment, "header")), own, guessed_at=host_of(host) if is_guessed else None)


def _endpoint_of(environment: Environment, host: str) -> Endpoint:
    targets = tuple(findings(environment)["targets"].get(host, {}).items())
    host = findings(environment)["proxies"].get(host, host)
    return _endpoint(host, targets, given=option(environment, "path"), verify=not option(environment, "insecure"))


@cache
def _endpoint(host: str, targets: tuple[tuple[str, str], ...], *, given: str, verify: bool) -> Endpoint:
    return Endpoint(host, verify=verify, given=given, known_targets=dict(targets))
