"""How does my server handle recorded traffic? Requests are sent at the recorded times, with the recorded lengths.

    locust -f locustfiles/trace.py --headless --host http://localhost:8000 --csv reports/trace
    llmlocust report reports/trace --threshold "ttft.p95 < 1s"

The trace trace.csv has forty requests in twenty seconds, and was invented for this example. Sources of recorded traces and
the supported formats: docs/traces.md. Any locustfile replays a trace with --llm-trace FILE.
"""

from pathlib import Path

from llmlocust import ChatUser, TraceReplay


class Chat(ChatUser):
    """A user whose prompts and lengths of answers come from the trace."""


class Trace(TraceReplay):
    trace = str(Path(__file__).with_name("trace.csv"))
    trace_speed = 1
    """Playback speed; 2 replays the trace in half the time."""
    hold = 5
    """Seconds of each window of the report."""
