"""An LLM server of known capacity, which is configurable: for demos, for tests, and to measure our own accuracy.

`service` is pure: the engine and the stages around it, with time as an argument; so are `openai` and `dialects`. `server` does
the network I/O, and `virtual` runs the service in virtual time. The simulator runs in its own process and imports neither
Locust nor gevent.
"""
