"""Telemetry: reports of the system under test while it is loaded, their translation, and figures by level.

A source returns text in Prometheus' format, whatever it reads. `rules` and `engines` translate names into the vocabulary
of `llmlocust.metrics.telemetry`. `account` counts what a source reports, and `program` runs all of it in a process of its
own, so that no source can delay the load.
"""
