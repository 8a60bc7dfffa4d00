"""Traces that are made from intervals."""

from hypothesis import strategies as st

from llmlocust.load.traces import Trace

INTERVALS = st.lists(st.sampled_from([0.0, 0.001, 0.5, 3.0, 40.0]), min_size=1, max_size=60)


def trace_of(intervals):
    trace = Trace("made")
    moment = 0.0
    for interval in intervals:
        trace.moments.append(moment)
        trace.prompt_tokens.append(1)
        trace.output_tokens.append(1)
        moment += interval
    return trace
