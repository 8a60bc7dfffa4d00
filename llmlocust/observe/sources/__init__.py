"""Sources of telemetry. Each returns text in Prometheus' format."""
