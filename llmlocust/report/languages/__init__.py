"""The report in other languages."""
