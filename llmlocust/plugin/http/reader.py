"""The reader that this process uses: the native one, or the event loop's where that one is not available."""

from __future__ import annotations

import os
import sys
from functools import cache

from llmlocust.plugin.http.connection import Connection
from llmlocust.plugin.http.loop import LoopConnection
from llmlocust.wire import Reader

VARIABLE = "LLMLOCUST_READER"
"""The variable of the environment that chooses the reader."""
NATIVE, LOOP = "native", "loop"


def reader_name() -> str:
    """Return the reader of this process: that of the environment, or the best one that is available."""
    return LOOP if Reader is None or os.environ.get(VARIABLE) == LOOP else NATIVE


def why_loop() -> str:
    """Return the reason why this process uses the event loop's reader."""
    if os.environ.get(VARIABLE) == LOOP:
        return f"{VARIABLE} says so"
    if sys.platform != "linux":
        return "the native reader needs Linux"
    return "the native reader is not built (install a C compiler, and llmlocust again)"


@cache
def connection_class() -> type[Connection]:
    """Return the class of this process's connections."""
    if reader_name() == LOOP:
        return LoopConnection
    from llmlocust.plugin.http.native import NativeConnection

    return NativeConnection
