"""Assessments: judged runs. This package draws no charts and writes no pages."""
