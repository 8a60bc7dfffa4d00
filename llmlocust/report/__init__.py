"""The report of a run: read its files, judge them, and say it as a page, as Markdown, as JSON. No Locust needed."""
