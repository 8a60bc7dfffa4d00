"""The target of a plan: a number of users, daily users, requests an hour or tokens a day. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from llmlocust.analysis.planning.assumptions import Assumptions
from llmlocust.analysis.planning.capacity import HOUR
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message


class Kind(StrEnum):
    """The unit of a target."""

    USERS = "users"
    DAILY_USERS = "daily users"
    HOURLY = "requests/hour"
    TOKENS = "tokens/day"


_FORMS = re.compile(
    r"(?P<number>\d[\d,_ ]*(?:\.\d+)?|\.\d+)\s*(?P<factor>[kKM]?)\s*"
    r"(?:(?P<daily>daily users?)|(?P<users>(?:concurrent )?users?)"
    r"|(?P<hourly>requests?\s*(?:/|an |per )\s*h(?:our)?)|(?P<tokens>(?:output )?tokens?\s*(?:/|a |per )\s*day))"
)
_KINDS = {"daily": Kind.DAILY_USERS, "users": Kind.USERS, "hourly": Kind.HOURLY, "tokens": Kind.TOKENS}
_FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Target:
    """A target, as it was given."""

    number: float
    kind: Kind
    text: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target such as "2000 daily users". Raises ValueError with one line."""
        match = _FORMS.fullmatch(" ".join(text.split()))
        kind = next((kind for name, kind in _KINDS.items() if match and match[name]), None)
        if match is None or kind is None:
            raise ValueError(
                f'cannot read the target {text[:60]!r}: write "300 users", "2000 daily users", "10000 requests/hour" or '
                '"50M tokens/day"'
            )
        number = float(re.sub(r"[,_ ]", "", match["number"])) * _FACTORS[match["factor"]]
        if not 0.0 < number < math.inf:
            raise ValueError(f"the target {text[:60]!r} must be above 0")
        return cls(number, kind, " ".join(text.split()))

    def needed(self, assumed: Assumptions, response: float, tokens: float) -> float:
        """Return the requests per second of the busiest hour, after growth; NaN if they cannot be computed.

        `response` and `tokens` are the mean seconds and output tokens of a request at the SLO limit.
        """
        number = self.number * (1.0 + assumed["growth"])
        if self.kind is Kind.USERS:
            cycle = response + assumed["think_time"]
            return number / cycle if cycle > 0.0 else math.nan
        if self.kind is Kind.HOURLY:
            return number / HOUR
        in_busiest_hour = number * assumed["peak_share"] / HOUR
        if self.kind is Kind.DAILY_USERS:
            return in_busiest_hour * assumed["per_user_day"]
        return in_busiest_hour / tokens if tokens > 0.0 else math.nan

    @property
    def in_words(self) -> Message:
        number = words.digits(self.number)
        if self.kind is Kind.USERS:
            return message("{number} users at once", number=number)
        if self.kind is Kind.DAILY_USERS:
            return message("{number} daily users", number=number)
        if self.kind is Kind.HOURLY:
            return message("{number} requests an hour", number=number)
        return message("{number} output tokens a day", number=number)
