"""The samples of an exposition, read by Prometheus' own parser."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families


def samples(text: str, **labels: str) -> dict[str, float]:
    """Return the sums of the samples with these labels, by name. Buckets of histograms are left out."""
    values = Counter[str]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if labels.items() <= sample.labels.items() and "le" not in sample.labels:
                values[sample.name] += sample.value
    return values


def kinds(text: str) -> dict[str, str]:
    """Return the types of all families by the names that the text has for them."""
    return dict(line.split(" ")[2:] for line in text.splitlines() if line.startswith("# TYPE "))
