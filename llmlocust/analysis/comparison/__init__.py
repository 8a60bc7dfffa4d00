"""What changed between two runs. Pure."""
