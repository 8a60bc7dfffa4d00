"""The HTTP client: addresses, headers, connections."""
