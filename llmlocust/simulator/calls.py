"""One request on its way through the simulated server. Pure."""

from dataclasses import dataclass
from math import inf

from llmlocust.simulator.engine import Sequence


@dataclass(eq=False, slots=True)
class Call(Sequence):
    """A request with its times in seconds. `owner` belongs to the caller, which may read everything and sets nothing."""

    finish_reason: str = "length"
    received: float = 0.0  # by the front end
    passed: int = 0  # tokens that the front end has handled
    first: float = 0.0  # end of the step of the first of them
    last: float = 0.0  # end of the step of the newest of them
    began_sending: float = inf
    ended_sending: float = inf
    is_ended: bool = False  # refused, cut off, or left by its client: further tokens are not counted
