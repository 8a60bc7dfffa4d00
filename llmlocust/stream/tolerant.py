"""JSON as servers write it, not as the standard has it: what can be read of a chunk is read, and the rest is left out.

Half a surrogate pair, `-Infinity`, a byte that is no UTF-8, a list where an object is expected: none of these says
anything about the request. This reader is some ten times slower than msgspec's, so it is asked only for what that one
refuses.
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
"""A server that reports more than that reports nothing."""
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_LONGEST_NUMBER = 40


class Unfit(ValueError):
    """A value that a type has no place for."""


def decoded(data: bytes) -> Any:
    """A JSON value. Bytes that are no UTF-8, control characters, NaN and infinities are taken. ValueError otherwise."""
    if not is_short(data):
        raise ValueError("too long for this reader")
    text = data.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, strict=False, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(digits: str) -> int | float:
    """Python refuses to convert whole numbers of thousands of digits."""
    return int(digits) if len(digits) < _LONGEST_NUMBER else float(digits)


def fit(value: Any, kind: Any) -> Any:
    """A value as msgspec's type would have it, without the parts that do not fit. Unfit where nothing is left."""
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
        return [each for each in (_or_unfit(item, kind.item_type) for item in value) if each is not Unfit]
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {name: found for name, item in value.items() if (found := _or_unfit(item, kind.value_type)) is not Unfit}
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
    for each in kind.types:
        found = _or_unfit(value, each)
        if found is not Unfit:
            return found
    raise Unfit


def _struct(value: Any, kind: inspect.StructType) -> Any:
    if not isinstance(value, dict):
        raise Unfit
    fields = {
        each.name: _or_unfit(value[each.encode_name], each.type) for each in kind.fields if each.encode_name in value
    }
    try:
        return kind.cls(**{name: found for name, found in fields.items() if found is not Unfit})
    except TypeError:
        raise Unfit from None  # a field that is required does not fit


def _or_unfit(value: Any, kind: inspect.Type) -> Any:
    try:
        return _fit(value, kind)
    except Unfit:
        return Unfit


def believable(count: Any) -> int | None:
    """A count of tokens, as a whole number, as `5.0` or as `"5"`; None for what is none."""
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
    """A text with its halves put together: surrogates of one character, and bytes that `decoded` let through."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        paired = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        return _HALF.sub("\ufffd", paired).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text
