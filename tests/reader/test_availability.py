"""Where the native reader is not built, the event loop reads."""

import subprocess
import sys

import pytest

WITHOUT = "import os, sys; sys.modules['llmlocust.wire._native'] = None\n"
IMPORT = "from llmlocust.plugin.http import reader\n"
SHOW = "print(reader.connection_class().__name__, reader.why_loop(), sep=': ')"


@pytest.mark.parametrize(
    "before, shown",
    [
        (WITHOUT, "LoopConnection: the native reader is not built (install a C compiler, and llmlocust again)\n"),
        (WITHOUT + IMPORT + "sys.platform = 'darwin'\n", "LoopConnection: the native reader needs Linux\n"),
        ("import os\nos.environ['LLMLOCUST_READER'] = 'loop'\n", "LoopConnection: LLMLOCUST_READER says so\n"),
    ],
)
def test_the_event_loop_reads_and_the_reason_is_given(before, shown):
    code = before + IMPORT + SHOW
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == shown
