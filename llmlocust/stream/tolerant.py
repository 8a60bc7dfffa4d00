"""A tolerant reader of JSON that violates the standard or its type: it keeps the parts that fit and drops the others.

Examples are half a surrogate pair, `-Infinity`, a byte that is not UTF-8, and a list where an object is expected. None of
them means that the request failed. This reader is about ten times slower than msgspec's, so it decodes only what msgspec
rejects.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from llmlocust.stream.limits import is_short

MAX_TOKENS = 1 << 40
"""A larger count from a server is ignored."""
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_MAX_DIGITS = 40


class Unfit(ValueError):
    """A value does not fit its type."""


def decoded(data: bytes) -> Any:
    """Decode a JSON value. Accepts bytes that are not UTF-8, control characters, NaN and infinities. ValueError otherwise."""
    if not is_short(data):
        raise ValueError("too long for this reader")
    text = data.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, strict=False, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(digits: str) -> int | float:
    """Convert an integer; one of very many digits to a float, as Python refuses to convert thousands of digits."""
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)


def fit(value: Any, kind: Any) -> Any:
    """Convert a value to a type of msgspec's, without the parts that do not fit. Unfit where nothing is left."""
    return _fit(value, _type_of(kind))


@cache
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _fit(value: Any, kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.UnionType):
        return _first_that_fits(value, kind)
    if isinstance(kind, inspect.StructType):
        return _struct(value, kind)
    if isinstance(kind, inspect.ListType):
        if not isinstance(value, list):
            raise Unfit
        return [item for item in (_or_unfit(item, kind.item_type) for item in value) if item is not Unfit]
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        items = {name: _or_unfit(item, kind.value_type) for name, item in value.items()}
        return {name: item for name, item in items.items() if item is not Unfit}
    if isinstance(kind, inspect.RawType):
        return msgspec.Raw(json.dumps(value).encode())
    expected = _PLAIN.get(type(kind))
    if expected and not (isinstance(value, expected) and (bool in expected or not isinstance(value, bool))):
        raise Unfit
    return value


_PLAIN: dict[type[inspect.Type], tuple[type, ...]] = {
    inspect.NoneType: (type(None),),
    inspect.BoolType: (bool,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, float),
    inspect.StrType: (str,),
    inspect.DictType: (dict,),
}


def _first_that_fits(value: Any, kind: inspect.UnionType) -> Any:
    for member in kind.types:
        fitted = _or_unfit(value, member)
        if fitted is not Unfit:
            return fitted
    raise Unfit


def _struct(value: Any, kind: inspect.StructType) -> Any:
    if not isinstance(value, dict):
        raise Unfit
    fields = {
        field.name: _or_unfit(value[field.encode_name], field.type)
        for field in kind.fields
        if field.encode_name in value
    }
    try:
        return kind.cls(**{name: item for name, item in fields.items() if item is not Unfit})
    except TypeError:
        raise Unfit from None  # a required field does not fit


def _or_unfit(value: Any, kind: inspect.Type) -> Any:
    try:
        return _fit(value, kind)
    except Unfit:
        return Unfit


def valid_count(count: Any) -> int | None:
    """Return a count of tokens that is an integer, `5.0` or `"5"`; None for anything else."""
    if count.__class__ is not int:
        count = _as_whole(count)
    return count if count is not None and 0 <= count <= MAX_TOKENS else None


def _as_whole(count: Any) -> int | None:
    if count is None or isinstance(count, bool):
        return None
    try:
        number = float(count)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def whole_text(text: str) -> str:
    """Return valid text: surrogate halves are joined, and so are the bytes that `decoded` accepted."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        paired = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        return _HALF.sub("\ufffd", paired).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text
