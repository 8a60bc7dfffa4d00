"""User classes, and one exchange with the server."""
