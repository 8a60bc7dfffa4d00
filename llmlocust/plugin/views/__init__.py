"""Views of a run while it is under way: progress, Prometheus, OpenTelemetry."""
