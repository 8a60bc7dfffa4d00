"""What does a recorded hour look like on my server? Requests come when they came, as long as they were.

    locust -f locustfiles/trace.py --headless --host http://localhost:8000 --csv reports/trace
    llmlocust report reports/trace --threshold "ttft.p95 < 1s"

The trace beside it, trace.csv, is forty requests in twenty seconds and was made up for this example. Where to get recorded
ones, and what formats are read: docs/traces.md. Any other locustfile replays one with --llm-trace FILE.
"""

from pathlib import Path

from llmlocust import ChatUser, TraceReplay


class Chat(ChatUser):
    """Its prompts and the lengths of its answers are the trace's."""


class Trace(TraceReplay):
    trace = str(Path(__file__).with_name("trace.csv"))
    trace_speed = 1
    """2: twice as fast as it was."""
    hold = 5
    """Seconds of the windows that the report tells apart."""
