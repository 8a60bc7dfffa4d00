"""Tests of a run without Locust and without processes."""
