"""The comparison of runs as a page, as Markdown and as JSON."""
