"""Translation of the report."""
