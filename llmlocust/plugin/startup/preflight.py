"""The preflight: a first request before the load, so that an error is one line and not a thousand failed requests."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from locust.env import Environment

from llmlocust.load.distributions import parse
from llmlocust.plugin import console
from llmlocust.plugin.findings import findings, note_target, note_values
from llmlocust.plugin.http.client import Endpoint
from llmlocust.plugin.http.headers import OWN_KEY, api_key
from llmlocust.plugin.options import AUTO, option
from llmlocust.plugin.settings import drawn_fields, extra_fields, forced, ramp_setting
from llmlocust.plugin.startup.probing import Attempt, NotReady, Probe
from llmlocust.plugin.users.users import LLMUser
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import DIALECTS, Dialect, named
from llmlocust.stream.dialects.base import Adaptation
from llmlocust.stream.record import Record
from llmlocust.text import figures as words
from llmlocust.text.urls import is_loopback, shown, split

_TOKENS = 16
_MAX_WORDS = 120


def check(environment: Environment, users: Sequence[type[LLMUser]]) -> dict[str, Any]:
    """Send a first request as each user class sends its requests, and print the results: the model, if none was named;
    the dialect, if it is to be detected; the target that answers; the fields that the server accepts. Classes that would
    send the same request share one. Returns the findings of the first class, with all requests counted. Raises NotReady.
    """
    findings_of_first: dict[str, Any] = {}
    checked = set()
    for user in users:
        if findings_of_first and _key_of(environment, user) in checked:
            continue
        try:
            result = _check(environment, user)
        except NotReady as problem:
            raise NotReady(f"{user.__name__}: {problem}" if findings_of_first else str(problem)) from None
        checked.add(_key_of(environment, user))
        if findings_of_first:
            findings_of_first["requests"] += result["requests"]
        else:
            findings_of_first = result
    return findings_of_first


def keys_notes(environment: Environment, users: Sequence[type[LLMUser]]) -> list[str]:
    """Return lines with the secrets that the run sends to each host, and whether the connection is encrypted."""
    secrets: dict[str, dict[str, None]] = {}
    for user in users:
        host = environment.host or user.host or ""
        try:
            parts = split(host)
        except ValueError:
            continue
        is_auto = option(environment, "dialect") == AUTO and user.dialect is None
        dialects = [dialect() for dialect in DIALECTS] if is_auto else [user.resolve_dialect(environment)]
        names = [f"${name}" for dialect in dialects for name in user.headers_of(environment).variables(dialect)]
        names += ["the password in the address"] if parts.username or parts.password else []
        is_open = parts.scheme == "http" and not is_loopback(parts.hostname or "")
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{', not encrypted' if is_open else ''}"
        secrets.setdefault(place, {}).update(dict.fromkeys(names))
    return [f"sends {words.series([*names])} to {place}" for place, names in secrets.items() if names]


def _key_of(environment: Environment, user: type[LLMUser]) -> tuple[str, ...]:
    """Return the key of a first request: server, dialect, model, headers."""
    dialect, headers = user.resolve_dialect(environment), sorted((user.headers or {}).items())
    model = user.model or option(environment, "model")
    return environment.host or user.host or "", dialect.name, dialect.path, model, str(headers)


def _check(environment: Environment, user: type[LLMUser]) -> dict[str, Any]:
    host = environment.host or user.host
    if not host:
        raise NotReady("no host: give the server's address, such as --host http://localhost:8000")
    try:
        probe = _probe(environment, user, host)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    try:
        listed, list_problem = probe.models(all_targets=not (user.model or option(environment, "model")))
        common = option(environment, "model") or (listed[0] if listed else "")
        attempt = _first_answer(environment, user, probe, user.model or common, listed, list_problem)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    finally:
        probe.client.close()
    _print_findings(probe, attempt)
    _note_findings(environment, probe, attempt, host, common)
    record = attempt.record
    return {
        "model": attempt.ask.model,
        "ttft_ms": round((record.ttft or record.e2e or 0.0) * 1000, 3),
        "finish": record.finish,
        "models_listed": len(listed),
        **({"owned_by": probe.owner} if probe.owner else {}),
        "path": attempt.target.partition("?")[0],
        "requests": probe.requests,
    }


def _first_answer(
    environment: Environment, user: type[LLMUser], probe: Probe, model: str, listed: Sequence[str], list_problem: str
) -> Attempt:
    """Return the first attempt that succeeds. Raises NotReady if none does."""
    question = _ask(environment, user, model)
    probe.changes = partial(_changes, environment, user)
    _detect_dialect(environment, probe, question)
    probe.dialect = user.resolve_dialect(environment)
    attempts = probe.find(question)
    if attempts[-1].record.ok:
        return attempts[-1]
    raise NotReady(_unsupported(probe, [probe.dialect]) or _advice(probe, attempts, listed, list_problem))


def _probe(environment: Environment, user: type[LLMUser], host: str) -> Probe:
    """Return a probe of the host. Raises ValueError in one line if the host, the dialect or a header is not valid."""
    given = option(environment, "path")
    targets = findings(environment)["targets"].get(host)
    endpoint = Endpoint(host, verify=not option(environment, "insecure"), given=given, known_targets=targets)
    first = DIALECTS[0]() if option(environment, "dialect") == AUTO else user.resolve_dialect(environment)
    headers = user.headers_of(environment)
    headers.of(first)
    return Probe(endpoint, first, headers, timeouts=user.timeouts_of(environment))


def _note_findings(environment: Environment, probe: Probe, attempt: Attempt, host: str, model: str) -> None:
    """Note the findings for this process and for the workers."""
    ask = attempt.ask
    note_values(environment, model=model, usage=ask.usage, max_tokens_field=ask.max_tokens_field)
    if ramp_setting(environment, "trace"):
        note_values(environment, force_length=_is_forced(ask))
    path = probe.dialect.path_of(ask)
    if attempt.target != probe.endpoint.address.joins(path)[0]:
        note_target(environment, host, path, attempt.target)


# ── the request ──


def _ask(environment: Environment, user: type[LLMUser], model: str) -> Ask:
    limit = _limit(environment, user)
    tokens = min(limit, _TOKENS) if limit > 0 else _TOKENS
    return Ask(
        prompt="Say hello.",
        model=model,
        max_tokens=tokens,
        max_tokens_field=option(environment, "max_tokens_field"),
        usage=option(environment, "usage"),
        extra=(forced(tokens) if _forces(environment) else {})
        | drawn_fields(extra_fields(option(environment, "body")), random.Random()),
    )


def _limit(environment: Environment, user: type[LLMUser]) -> int:
    """Return the token limit of one of the run's requests; 0: the server's own."""
    own = option(environment, "max_tokens") if user.max_tokens is None else user.max_tokens
    return max(0, parse(str(own)).whole(random.Random()))


def _forces(environment: Environment) -> bool:
    """Return whether answers must have a certain length, as those of a trace have."""
    return bool(option(environment, "force_length") or ramp_setting(environment, "trace"))


def _is_forced(ask: Ask) -> bool:
    return ask.extra.keys() >= forced(0).keys()


def _changes(environment: Environment, user: type[LLMUser], dialect: Dialect, ask: Ask) -> list[Adaptation]:
    changes = dialect.adaptations(ask, _limit(environment, user))
    if _forces(environment) and not option(environment, "force_length"):
        fields = {name: value for name, value in ask.extra.items() if name not in forced(0)}
        changes.append(
            Adaptation({"extra": fields}, "without ignore_eos and min_tokens: the trace's lengths are only limits")
        )
    return changes


# ── the server's dialect ──


def _detect_dialect(environment: Environment, probe: Probe, question: Ask) -> None:
    """Detect the dialect if the user did not name one, and the path if the server names one."""
    name, path = option(environment, "dialect"), option(environment, "path")
    if name == AUTO:
        dialect = _detected(probe, question, path)
    elif not path and named(name).discovers:
        dialect = _discovered(probe, named(name))
    else:
        return
    is_own_path = dialect.path == named(dialect.name).path
    note_values(environment, dialect=dialect.name, path=path or ("" if is_own_path else dialect.path))
    console.say(f"The run uses the dialect {dialect.name}, at {shown(probe.endpoint.path(dialect.path))}.")


def _detected(probe: Probe, question: Ask, path: str) -> Dialect:
    """Return the first dialect in which the server answers. The most likely target of each dialect comes first."""
    misplaced = []
    for dialect in _candidates(probe, path):
        probe.dialect = dialect
        attempt = probe.at(probe.endpoint.path(dialect.path_of(question)), question)
        if attempt.record.ok:
            return dialect
        if attempt.record.status in (401, 403):
            raise NotReady(_advice(probe, [attempt], [], ""))
        if attempt.is_misplaced:
            misplaced.append(dialect)
    for dialect in misplaced:
        probe.dialect = dialect
        if probe.find(question)[-1].record.ok:
            return dialect
    raise NotReady(
        _unsupported(probe, (dialect() for dialect in DIALECTS))
        or f"{probe.endpoint.authority} did not answer a first request in any of "
        f"{', '.join(dialect.name for dialect in DIALECTS)}: set --llm-dialect, and --llm-path or --llm-model if it needs them"
    )


def _candidates(probe: Probe, path: str) -> Iterator[Dialect]:
    """Yield all dialects, first those whose endpoint was pasted as the server's address."""
    address = probe.endpoint.address
    dialects = [named(dialect.name, path) for dialect in DIALECTS]
    for dialect in sorted(dialects, key=lambda dialect: not address.is_endpoint_of(dialect)):
        yield dialect if path else _discovered(probe, dialect)


def _discovered(probe: Probe, dialect: Dialect) -> Dialect:
    """Return a dialect with the path that the server names, unless the user pasted the address of its endpoint."""
    if dialect.discovers and not probe.endpoint.address.is_endpoint_of(dialect):
        dialect.discover(probe.get)
    return dialect


def _unsupported(probe: Probe, dialects: Iterable[Dialect]) -> str:
    """Return advice if the server uses a variant of a protocol that the dialect does not support; empty otherwise."""
    why = next(filter(None, (dialect.unsupported(probe.get) for dialect in dialects)), "")
    return why and f"{probe.endpoint.authority} is {why}"


# ── messages ──


def _print_findings(probe: Probe, attempt: Attempt) -> None:
    address, dialect = probe.endpoint.address, probe.dialect
    usual = address.joins(dialect.path_of(attempt.ask))[0]
    if attempt.changes:
        console.say(
            f"The server refused a first request ({attempt.refusal}), but accepts it {words.series([*attempt.changes])}."
        )
    if attempt.redirected:
        console.say(f"The server redirects {shown(attempt.redirected)} to {shown(attempt.target)}: the run uses that.")
    elif attempt.target != usual:
        console.say(f"The server does not answer at {shown(usual)}, but at {shown(attempt.target)}: the run uses that.")
    elif (other := address.pasted_dialect()) and not address.is_endpoint_of(dialect) and other != dialect.name:
        console.say(
            f"The address looks like one of {other}, and the run uses {dialect.name} at {shown(attempt.target)}. "
            f"To use {other}, give --llm-dialect {other}"
        )
    _print_token_warning(attempt.record)
    if _is_forced(attempt.ask):
        _print_length_warning(dialect, attempt.ask, attempt.record)


def _print_token_warning(record: Record) -> None:
    if record.output_tokens and not record.chunks and record.e2e is None:
        fields = f", which may be in {record.unread}" if record.unread else ""
        console.say(
            f"The server counted {record.output_tokens} tokens of a first answer and sent none in a field that is read"
            f"{fields}: TTFT, ITL and end to end will not be known. Is --llm-dialect right?"
        )


def _print_length_warning(dialect: Dialect, ask: Ask, record: Record) -> None:
    if dialect.inputs(ask) is not None:
        return
    if (record.output_tokens or 0) < ask.extra["min_tokens"]:
        console.say(
            f"the server ended a first answer after {record.output_tokens} of {ask.extra['min_tokens']} tokens: it does "
            "not support ignore_eos and min_tokens, so answers may be shorter than requested"
        )


def _advice(probe: Probe, attempts: Sequence[Attempt], listed: Sequence[str], list_problem: str) -> str:
    """Return why the load must not start, and the remedy."""
    endpoint, attempt = probe.endpoint, attempts[-1]
    if attempt.is_misplaced:
        return _advice_on_address(probe, attempts)
    record, model = attempt.record, attempt.ask.model
    place = f" at {shown(attempt.target)}" if attempt.is_guess else ""
    answer = f"{endpoint.authority} answered a first request{place} with: {attempt.words.rstrip('.')}"
    if record.status in (401, 403):
        return f"{answer}. {_advice_on_key(probe)}"
    if model and listed and model not in listed:
        return f"{answer}. It does not list a model {model!r}, but {', '.join(listed[:5])}: set --llm-model"
    if not model and record.status >= 400:
        return f"{answer}. No model was named and /v1/models lists none ({list_problem}): set --llm-model"
    if record.status == 0 and not endpoint.tls:
        return f"{answer}. If the server uses TLS, give https://"
    return f"{answer}. To start anyway, give --llm-preflight=false"


def _advice_on_key(probe: Probe) -> str:
    dialect, variable = probe.dialect, probe.headers.key_variable(probe.dialect)
    remedy = f"set {OWN_KEY}, or give --llm-header 'NAME: $VARIABLE' if it needs another header"
    if variable:
        return f"The key in {variable} was refused: {remedy}"
    if api_key(dialect.key_variable):
        hosts = words.series([*dialect.key_hosts])
        return (
            f"It needs a key, and --llm-dialect {AUTO} sends {dialect.key_variable} only to {hosts}: name the dialect, such "
            f"as --llm-dialect {dialect.name}, or {remedy}"
        )
    return f"It needs a key: {remedy}"


def _advice_on_address(probe: Probe, attempts: Sequence[Attempt]) -> str:
    for attempt in attempts:
        if attempt.location:
            return f"{probe.endpoint.url(attempt.target)} redirects to {attempt.location}: give this as --host"
    return (
        f"{probe.endpoint.authority} does not answer in {probe.dialect.name} at {_places(attempts)}. Is --host right? "
        f"--llm-path sets the path (llmlocust run: --path), and --llm-dialect {AUTO} detects the dialect"
    )


def _places(attempts: Sequence[Attempt]) -> str:
    """Return the targets of the attempts, each with the server's message; neighbours with the same message share it."""
    groups = [[*group] for _, group in groupby(attempts, key=lambda attempt: attempt.words.replace(attempt.target, ""))]
    return ", ".join(
        f"{words.series([shown(attempt.target) for attempt in group])} ({group[0].words[:_MAX_WORDS].rstrip('. ')})"
        for group in groups
    )
