"""OpenAI's completions and chat completions: reads and checks requests, writes answers. Pure.

Prompt tokens are estimated as one per four characters, or counted where the prompt consists of token ids. The text of an
answer is a fixed passage that starts at a place determined by the prompt. It contains some characters of several bytes, so
that packets can split them. As in vLLM, the last token's event contains `finish_reason`, and a chat begins with an event
that only contains the role.
"""

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from llmlocust.simulator.settings import Settings

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DONE = b"data: [DONE]\n\n"
CUDA_OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.99 GiB total capacity; 21.61 GiB already allocated; "
    "1.02 GiB free; 22.31 GiB reserved in total by PyTorch)"
)

_PASSAGE = (
    " In the beginning there was a queue, and the queue was short. Then the users came — first a few, then many — and"
    " each of them fields for a naïve little story about a café by the sea. The machine said 你好 to the first, こんにちは"
    " to the second and Привет to the third; it had slots enough for all of them 🙂 and every step gave every guest one"
    " word. But the evening grew long, the line went out of the door, and the last one waited for the first to leave."
    " Nobody was served faster for that; only the waiting grew, and the words per second did not. That is all there is to"
    " know about capacity 🚀 and the rest is how to measure it."
)
WORDS = [f" {word}".encode() for word in _PASSAGE.split()]

_ERROR_TYPES = {429: "rate_limit_exceeded", 503: "service_unavailable", 504: "timeout"}


class ApiError(Exception):
    """A request is rejected. Has the error's body in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or ({"Retry-After": "1"} if status in (429, 503) else {})

    @property
    def body(self) -> bytes:
        kind = _ERROR_TYPES.get(self.status, "internal_error" if self.status >= 500 else "invalid_request_error")
        return encode({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})


def http_error(status: int) -> ApiError:
    """Return the error for a simulated HTTP status."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    return ApiError(status, f"{phrase} (simulated)", code=phrase.lower().replace(" ", "_"))


encode = msgspec.json.Encoder().encode


# The fields of requests. Fields without an effect here (such as temperature) are ignored.


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _Common(msgspec.Struct, kw_only=True):
    model: str | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    n: int | None = None

    def limit(self) -> tuple[str, int | None]:
        return "max_tokens", self.max_tokens


class _Chat(_Common, kw_only=True):
    messages: list[_Message]
    max_completion_tokens: int | None = None

    def limit(self) -> tuple[str, int | None]:
        if self.max_completion_tokens is None:
            return super().limit()
        return "max_completion_tokens", self.max_completion_tokens

    def prompt_text(self) -> tuple[str, int]:
        if not self.messages:
            raise ApiError(400, "messages must not be empty", "messages")
        text = "\n".join(piece for message in self.messages for piece in _pieces(message))
        return text, math.ceil(len(text) / 4)


class _Completion(_Common, kw_only=True):
    prompt: str | list[str | int | list[int]]

    def prompt_text(self) -> tuple[str, int]:
        prompt: Any = self.prompt
        if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
            prompt = prompt[0]
        if isinstance(prompt, str):
            return prompt, math.ceil(len(prompt) / 4)
        if all(isinstance(token, int) for token in prompt):
            return " ".join(map(str, prompt)), len(prompt)
        raise ApiError(400, "one prompt a request; several are not supported", "prompt")


def _pieces(message: _Message) -> list[str]:
    if isinstance(message.content, list):
        return [part.text or "" for part in message.content]
    return [message.content or ""]


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    CHAT: msgspec.json.Decoder(_Chat),
    COMPLETIONS: msgspec.json.Decoder(_Completion),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A valid request."""

    endpoint: str
    prompt_tokens: int
    prompt_digest: bytes
    max_tokens: int
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    ignore_eos: bool = False
    seed: int = 0
    inputs: int = 1
    """Texts to embed, or documents to rank."""


def read(endpoint: str, body: bytes | bytearray, settings: Settings) -> Request:
    """Read a request's body. ApiError where it is not valid."""
    fields = _decode(endpoint, body)
    if fields.model not in (None, settings.model):
        raise ApiError(404, f"The model `{fields.model}` does not exist.", "model", "model_not_found")
    if fields.n not in (None, 1):
        raise ApiError(400, "only n = 1 is supported", "n")
    text, prompt_tokens = fields.prompt_text()
    options = fields.stream_options or _StreamOptions()
    if fields.stream_options and not fields.stream:
        raise ApiError(400, "stream_options is allowed only when stream is true", "stream_options")
    return Request(
        endpoint=endpoint,
        prompt_tokens=max(prompt_tokens, 1),
        prompt_digest=hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(),
        max_tokens=_max_tokens(fields, max(prompt_tokens, 1), settings),
        stream=bool(fields.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
        ignore_eos=bool(fields.ignore_eos),
        seed=fields.seed or 0,
    )


def _decode(endpoint: str, body: bytes | bytearray) -> Any:
    try:
        return _DECODERS[endpoint].decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(400, str(error), _param(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None


def _param(message: str) -> str | None:
    """Return the wrong field, from a message such as "Expected `int`, got `str` - at `$.max_tokens`"."""
    if "at `$." in message:
        return message.rpartition("at `$.")[2].rstrip("`")
    return message.split("`")[1] if "missing required field" in message else None


def _max_tokens(fields: _Common, prompt_tokens: int, settings: Settings) -> int:
    param, limit = fields.limit()
    room = settings.max_model_len - prompt_tokens
    if limit is not None and limit < 1:
        raise ApiError(400, f"{param} must be at least 1, got {limit}", param)
    if room < (limit or 1):
        raise too_long(prompt_tokens, limit or 1, settings.max_model_len)
    return limit or min(settings.default_max_tokens, room)


def too_long(prompt_tokens: int, output_tokens: int, room: int) -> ApiError:
    """Return the error for a request that is longer than the context."""
    message = (
        f"This model's maximum context length is {room} tokens. However, you requested "
        f"{prompt_tokens + output_tokens} tokens ({prompt_tokens} in the prompt, {output_tokens} in the completion)."
    )
    return ApiError(400, message, code="context_length_exceeded")


@dataclass(frozen=True, slots=True)
class Plan:
    """The planned answer; equal for equal requests and settings."""

    output_tokens: int
    reasoning_tokens: int
    finish_reason: str
    first_word: int


def plan(request: Request, settings: Settings) -> Plan:
    """Plan an answer: with `ignore_eos` it has `max_tokens` tokens, otherwise it may end earlier by itself."""
    dice = random.Random(f"{settings.seed} {request.seed} {request.prompt_digest.hex()}")
    first_word = dice.randrange(len(WORDS))
    natural = math.inf if request.ignore_eos else _natural_length(dice, settings.answer_tokens)
    output_tokens = int(min(natural, request.max_tokens))
    reasoning = round(settings.reasoning_share * output_tokens) if request.endpoint == CHAT else 0
    return Plan(output_tokens, reasoning, "stop" if natural <= request.max_tokens else "length", first_word)


def _natural_length(dice: random.Random, mean: int, spread: float = 0.5) -> int:
    """Draw the length of an answer from a skewed distribution: many are short, few are long."""
    return max(1, round(dice.lognormvariate(math.log(mean) - spread**2 / 2, spread)))


def usage(request: Request, plan: Plan, tokens: int, cached: int = 0) -> dict[str, Any]:
    """Return the usage of an answer with this number of tokens so far."""
    return {
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": request.prompt_tokens + tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": min(plan.reasoning_tokens, tokens)},
    }


@dataclass(frozen=True, slots=True)
class Labels:
    """The fields that every event of an answer repeats."""

    id: str
    created: int
    model: str
    reasoning_field: str
    cached_tokens: int = 0


def answer(request: Request, plan: Plan, labels: Labels) -> bytes:
    """Return the whole answer as one body."""
    words = text(plan, plan.reasoning_tokens, plan.output_tokens).decode()
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": plan.finish_reason}
    if request.endpoint == COMPLETIONS:
        choice["text"] = words
    else:
        reasoning = text(plan, 0, plan.reasoning_tokens).decode() or None
        choice["message"] = {"role": "assistant", "content": words, labels.reasoning_field: reasoning}
    return encode(
        {
            **_envelope(request, labels, "chat.completion", "text_completion"),
            "choices": [choice],
            "usage": usage(request, plan, plan.output_tokens, labels.cached_tokens),
        }
    )


class Frames:
    """The events of one streamed answer. Everything but the text is encoded once, and not for each token."""

    def __init__(self, request: Request, plan: Plan, labels: Labels) -> None:
        self._request, self._plan, self._labels = request, plan, labels
        self._opening = encode(_envelope(request, labels, "chat.completion.chunk", "text_completion"))[:-1]
        self._content, self._reasoning = self._delta("content"), self._delta(labels.reasoning_field)
        # constant for an answer: usage is null in a token's event if usage comes at the end
        self._closing = b',"usage":null}\n\n' if request.include_usage else b"}\n\n"
        self._middle = b'"},"logprobs":null,"finish_reason":null}]'
        self._ending = b'"},"logprobs":null,"finish_reason":"%b"}]' % plan.finish_reason.encode()
        if request.endpoint == COMPLETIONS:
            self._middle, self._ending = (end.replace(b'"}', b'"', 1) for end in (self._middle, self._ending))

    def _delta(self, name: str) -> bytes:
        if self._request.endpoint == COMPLETIONS:
            name, delta = "text", b'"'
        else:
            delta = b'"delta":{"'
        return b'data: %b,"choices":[{"index":0,%b%b":"' % (self._opening, delta, name.encode())

    def role(self) -> bytes:
        """Return the first event of a chat; empty for other answers."""
        if self._request.endpoint == COMPLETIONS:
            return b""
        delta = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return b'data: %b,"choices":[%b]%b' % (self._opening, encode(delta), self._usage_so_far(0))

    def tokens(self, start: int, end: int) -> bytes:
        """Return one event with the tokens from start to end, which must all be reasoning, or all answer."""
        plan = self._plan
        return b"".join(
            (
                self._reasoning if start < plan.reasoning_tokens else self._content,
                WORDS[(plan.first_word + start) % len(WORDS)] if end - start == 1 else text(plan, start, end),
                self._ending if end == plan.output_tokens else self._middle,
                self._usage_so_far(end) if self._request.continuous_usage else self._closing,
            )
        )

    def usage(self) -> bytes:
        """Return the event with the usage, after the last token."""
        total = usage(self._request, self._plan, self._plan.output_tokens, self._labels.cached_tokens)
        return b'data: %b,"choices":[],"usage":%b}\n\n' % (self._opening, encode(total))

    def _usage_so_far(self, tokens: int) -> bytes:
        if not self._request.continuous_usage:
            return self._closing
        so_far = encode(usage(self._request, self._plan, tokens, self._labels.cached_tokens))
        return b',"usage":%b}\n\n' % so_far


def error_event(error: ApiError) -> bytes:
    """Return an error inside a stream."""
    return b"data: %b\n\n" % error.body


def models(model: str, created: int, max_model_len: int) -> bytes:
    entry = {"id": model, "object": "model", "created": created, "owned_by": "llmlocust", "root": model}
    return encode({"object": "list", "data": [{**entry, "max_model_len": max_model_len}]})


def _envelope(request: Request, labels: Labels, chat: str, completion: str) -> Mapping[str, Any]:
    kind = chat if request.endpoint == CHAT else completion
    return {"id": labels.id, "object": kind, "created": labels.created, "model": labels.model}


def text(plan: Plan, start: int, end: int) -> bytes:
    """Return the text of an answer's tokens from start to end; it needs no escaping in JSON."""
    return b"".join(WORDS[(plan.first_word + index) % len(WORDS)] for index in range(start, end))
