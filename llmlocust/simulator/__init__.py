"""An LLM server with a known, chosen capacity: the embedded default, the test bed and the ruler.

`engine` and `openai` are pure; `server` is the edge. Runs in a process of its own and imports neither Locust nor
gevent.
"""
