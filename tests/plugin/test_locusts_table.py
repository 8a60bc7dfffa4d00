"""Our rows in Locust's own table."""

from locust.stats import RequestStats

from llmlocust.plugin.collector import forget_old_seconds


def test_our_rows_keep_the_newest_seconds_and_locusts_keep_all():
    stats = RequestStats()
    ours, theirs = stats.entries["chat TTFT", "LLM"], stats.entries["chat", "POST"]
    for second in range(1_700_000_000, 1_700_000_500):
        for entry in (ours, theirs):
            entry.num_reqs_per_sec[second] += 2
        forget_old_seconds(stats)

    assert 60 <= len(ours.num_reqs_per_sec) <= 121
    assert max(ours.num_reqs_per_sec) == 1_700_000_499
    assert set(ours.num_reqs_per_sec.values()) == {2}
    assert len(theirs.num_reqs_per_sec) == 500
