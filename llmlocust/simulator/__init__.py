"""An LLM server of known capacity, which is configurable: for demos, for tests, and to measure our own accuracy.

`engine` and `openai` are pure; `server` does the network I/O. The simulator runs in its own process and imports neither
Locust nor gevent.
"""
