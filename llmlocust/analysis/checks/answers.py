"""Checks of requests and answers: whether they are enough, contain tokens, and are comparable between levels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from llmlocust.analysis.checks.check import BOUNDED, MIN_REQUESTS, Check, Facts, above, loads_of, marks, more_requests
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import message, sentences

TOGETHER_LIMIT = 0.2
"""Share of tokens that arrive together. Above it, a proxy buffers them, or the server sends several at once."""
EMPTY_LIMIT = 0.01
"""Share of empty answers above which a check fails."""
EMPTY_LEVEL = 0.1
"""Share of empty answers above which the verdict leaves out a level."""
LENGTH_LIMIT = 1.25
"""Factor between mean lengths of answers up to which levels are comparable: requests per second and end to end depend \
on the length, and the verdict calls a growth of 1.3 times that of the load a cliff."""
LENGTH_ERRORS = 2.6
"""Standard errors of a difference in length that counts: chance reaches it at one level in two hundred."""
ABORTED_LIMIT = 0.05
"""Share of requests cut off by the end of the run above which a check fails."""
CACHED_LIMIT = 0.2
"""Share of prompt tokens from the prefix cache above which figures are those of the cache."""
TOO_FEW_TOKENS = 0.8
"""Tokens per chunk. With fewer, the server's count is wrong."""
CONTRADICTING_LIMIT = 0.01
"""Share of requests with contradicting times. Above it, a percentile may be one of their values."""
SEVERAL_TOKENS = 1.2
"""Tokens per chunk above which chunks contain several tokens."""
UNEVEN_CHUNKS = 1.5
"""Factor between the tokens per chunk of two levels above which their ITLs cannot be compared."""
_UNIQUE = message("Send unique prompts (--llm-unique), unless your users repeat theirs as often.")


def enough_requests(levels: Sequence[LevelFigures], statistic: str, facts: Facts, *, strict: bool) -> Check | None:
    """Check that a percentile is based on enough requests. If not `strict`, too few mark levels, and the check passes."""
    used = [level for level in levels if level.requests and level.counted]
    if not used and any(level.requests for level in levels):
        return None
    if not used:
        return Check(
            "any_requests", False, 0, 1, message("No level has any requests, so the run has no valid figures.")
        )
    used = [level for level in used if level.ok]
    if not used:
        return Check(
            "any_success", False, 0, 1, message("No request succeeded at any level, so no latencies are known.")
        )
    fewest = min(level.ok for level in used)
    required, bounded = MIN_REQUESTS[statistic], BOUNDED[statistic]
    key = f"requests_for_{statistic}"
    short = [level for level in used if level.ok < required]
    if short:
        fails = strict and any(facts.decisive is None or level.level in facts.decisive for level in short)
        if fails:
            says = message(
                "At {loads} fewer than {required} requests succeeded (fewest: {fewest}), so {statistic} is simply "
                "the slowest of them. An interval needs {bounded} requests. {advice}",
                loads=loads_of(short),
                required=required,
                fewest=fewest,
                statistic=statistic,
                bounded=bounded,
                advice=words.sentence(more_requests(facts)),
            )
        else:
            says = message(
                "{statistic} at {loads} is based on fewer than {required} requests (fewest: {fewest}). Use "
                "{other} there, or {advice}.",
                statistic=statistic,
                loads=loads_of(short),
                required=required,
                fewest=fewest,
                other="p95" if fewest >= MIN_REQUESTS["p95"] else "p50",
                advice=more_requests(facts),
            )
        return Check(key, not fails, fewest, required, says, marks(short))
    few = [level for level in used if level.ok < bounded]
    if few:
        says = message(
            "{statistic} at {loads} is based on fewer than {bounded} requests (fewest: {fewest}), so its 95 % "
            "interval has no upper bound.",
            statistic=statistic,
            loads=loads_of(few),
            bounded=bounded,
            fewest=fewest,
        )
    else:
        says = message(
            "Every level has at least {fewest} successful requests, enough for {statistic} with an interval.",
            fewest=fewest,
            statistic=statistic,
        )
    return Check(key, True, fewest, required, says, marks(few))


def levels_without_requests(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that users sent requests at every level. None if every level has requests, or none has."""
    without = [level for level in levels if level.lacks_requests]
    if not without or not any(level.requests for level in levels):
        return None
    paused = max((level.backing_off for level in without if level.backing_off > 0.0), default=0.0)
    loads = loads_of(without)
    if paused:
        unsent = message(
            "At {loads} no request was sent while the level was measured: users still waited for earlier requests, or paused "
            "after a failure (up to {share} of their time).",
            loads=loads,
            share=words.share(paused),
        )
    else:
        unsent = message(
            "At {loads} no request was sent while the level was measured: users still waited for earlier requests, or paused "
            "after a failure.",
            loads=loads,
        )
    left_out = message("The verdict leaves out {loads}.", loads=loads)
    says = sentences([unsent, left_out, words.sentence(more_requests(facts))])
    return Check("any_requests", False, 0, 1, says, marks(without))


def empty(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that successful requests returned tokens: a server that answers 200 without text is fast but useless."""
    known = [(share, level) for share, level in _empties(levels, facts) if not facts.unread.get(level.level, 0.0) > 0.0]
    if not known:
        return None
    worst = max(share for share, _ in known)
    over = [level for share, level in known if share > EMPTY_LIMIT]
    if over:
        says = message(
            "At {loads} up to {share} of the successful requests returned no token, so throughput counts empty "
            "answers. Inspect one request by hand (the prompt, max tokens, the server's log).",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("empty_answers", False, worst, EMPTY_LIMIT, says, marks(over))
    says = (
        message("Every successful request returned tokens.")
        if worst == 0.0
        else message("At most {share} of a level's successful requests returned no token.", share=words.share(worst))
    )
    return Check("empty_answers", True, worst, EMPTY_LIMIT, says)


def unread(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that tokens did not arrive in fields that llmlocust does not read: their times are missing."""
    over = above(facts.unread, levels, EMPTY_LIMIT)
    if not over:
        return None
    worst = max(facts.unread.values())
    unseen = message(
        "At {loads} the server reported token counts for up to {share} of the successful requests, but llmlocust "
        "found no tokens in their streams. TTFT, ITL and end to end are not known there.",
        loads=loads_of(over),
        share=words.share(worst),
    )
    fields = [message("The tokens may be in {fields}.", fields=facts.unread_fields)] if facts.unread_fields else []
    advice = message("Set --llm-dialect to the server's protocol, or write a dialect that reads the tokens.")
    says = sentences([unseen, *fields, advice])
    return Check("unread_tokens", False, worst, EMPTY_LIMIT, says, marks(over))


def _empties(levels: Sequence[LevelFigures], facts: Facts) -> Iterable[tuple[float, LevelFigures]]:
    """Yield the share of successful requests without tokens, and the level; levels without this figure are left out."""
    timed = any(level.metric("e2e").count for level in levels)
    for level in levels:
        if not level.ok:
            continue
        known = timed or level.output_tokens == 0.0
        # every request with a last token has an end-to-end time
        untimed = 1.0 - min(level.ok, level.metric("e2e").count) / level.ok if known else math.nan
        shares = (untimed, facts.empty.get(level.level, math.nan))
        share = max((share for share in shares if share >= 0.0), default=None)
        if share is not None:
            yield share, level


def empty_levels(levels: Sequence[LevelFigures], shares: Mapping[int, float]) -> frozenset[int]:
    """Return the levels that the verdict leaves out because their answers are empty. `shares`: empty answers by level."""
    return frozenset(level.level for share, level in _empties(levels, Facts(empty=shares)) if share > EMPTY_LEVEL)


def length(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that answers are about equally long at all levels; otherwise levels cannot be compared."""
    known = sorted((level for level in levels if level.output_tokens > 0.0 and level.ok), key=lambda level: level.load)
    if len(known) < 2:
        return None
    base = known[0]

    def noise(level: LevelFigures) -> float:
        # without the length of every answer, the standard deviation is assumed to be the mean
        return facts.length_noise.get(level.level, 1.0 / math.sqrt(level.ok))

    def distance(level: LevelFigures) -> float:
        return min(20.0, abs(math.log(level.output_tokens) - math.log(base.output_tokens)))

    deviating = [
        level
        for level in known[1:]
        if distance(level) - LENGTH_ERRORS * math.hypot(noise(level), noise(base)) > math.log(LENGTH_LIMIT)
    ]
    worst = max(known[1:], key=distance)
    factor = math.exp(distance(worst))
    if deviating:
        worst = max(deviating, key=distance)
        says = message(
            "Answers had {base} tokens on average at {base_load}, but {worst} at {worst_load}: {loads} cannot be "
            "compared with the lowest level. Fix the length (--llm-max-tokens, the same prompts), or check "
            "whether the server truncates answers.",
            base=words.digits(base.output_tokens),
            base_load=loads_of([base]),
            worst=words.digits(worst.output_tokens),
            worst_load=loads_of([worst]),
            loads=loads_of(deviating),
        )
        return Check("answer_length", False, math.exp(distance(worst)), LENGTH_LIMIT, says, marks(deviating))
    times = words.digits(factor)
    says = message(
        "Answers are about equally long at every level (means differ by a factor of at most {factor}).", factor=times
    )
    if factor > LENGTH_LIMIT:
        says = message(
            "Mean answer lengths differ by a factor of up to {factor}; with few requests this may be chance.",
            factor=times,
        )
    return Check("answer_length", True, factor, LENGTH_LIMIT, says)


def tokens_together(levels: Sequence[LevelFigures]) -> Check | None:
    """Report tokens that arrived together for a reason other than a late load generator."""
    shares = {level.level: _together_share(level) for level in levels if not math.isnan(level.coalesced)}
    if not shares:
        return None
    worst = max(shares.values())
    over = above(shares, levels, TOGETHER_LIMIT)
    if over:
        says = message(
            "At {loads} up to {share} of the tokens arrived together with an earlier one: the server sends "
            "several at once, or a proxy in front of it buffers them. If your users do not go through that proxy, "
            "TTFT is too high and TPOT too low; end to end and throughput are accurate.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("tokens_together", True, worst, TOGETHER_LIMIT, says, marks(over))
    says = message("At most {share} of the tokens arrived together with an earlier one.", share=words.share(worst))
    if worst == 0.0:
        says = message("No token arrived together with an earlier one.")
    return Check("tokens_together", True, worst, TOGETHER_LIMIT, says)


def _together_share(level: LevelFigures) -> float:
    # of n chunks that we read late, n - 1 count as coalesced and n as uncertain
    return max(0.0, level.coalesced - (0.0 if math.isnan(level.uncertain) else level.uncertain))


def token_counts(levels: Sequence[LevelFigures]) -> Check | None:
    """Report whether token counts come from the server."""
    known = [level for level in levels if not math.isnan(level.counted_chunks)]
    if not known:
        return None
    worst = max(level.counted_chunks for level in known)
    if worst == 0.0:
        return Check("token_counts", True, 0.0, 0.0, message("All token counts come from the server."))
    says = message(
        "The server reported no usage for up to {share} of the requests, so chunks were counted as tokens. If a "
        "chunk contains several tokens, tokens/s and TPOT are wrong.",
        share=words.share(worst),
    )
    over = [level for level in known if level.counted_chunks > 0.0]
    return Check("token_counts", True, worst, 0.0, says, marks(over))


def aborted_requests(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that the end of the run cut off few requests; otherwise latencies are those of the short ones."""
    known = [
        (level, level.aborted / (level.requests + level.aborted)) for level in levels if level.requests + level.aborted
    ]
    if not known:
        return None
    worst = max(share for _, share in known)
    over = [level for level, share in known if share > ABORTED_LIMIT]
    if over:
        says = message(
            "At {loads} up to {share} of the requests were cut off by the end of the run. These were the long "
            "ones, so latencies are too low. Give the run time to finish (--stop-timeout).",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("aborted_requests", False, worst, ABORTED_LIMIT, says, marks(over))
    says = (
        message("No request was cut off by the end of the run.")
        if worst == 0.0
        else message(
            "At most {share} of a level's requests were cut off by the end of the run.", share=words.share(worst)
        )
    )
    return Check("aborted_requests", True, worst, ABORTED_LIMIT, says)


def prefix_cache(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that few prompt tokens came from the prefix cache; otherwise the run measures the cache."""
    over = [level for level in levels if facts.cache_hits.get(level.level, 0.0) > CACHED_LIMIT]
    if facts.cache_hits:
        worst = max(facts.cache_hits.values())
        share = words.share(worst)
        if not over:
            says = message(
                "At most {share} of a level's prompt tokens came from the server's prefix cache.", share=share
            )
            return Check("prefix_cache", True, worst, CACHED_LIMIT, says)
        says = message(
            "At {loads} up to {share} of the prompt tokens came from the server's prefix cache, so TTFT and "
            "throughput are those of cached prompts.",
            loads=loads_of(over),
            share=share,
        )
        reason = message("The system prompt is shared.") if facts.shared else _UNIQUE
        return Check("prefix_cache", facts.shared, worst, CACHED_LIMIT, sentences([says, reason]), marks(over))
    if facts.prompts is None:
        return None
    used = [level for level in levels if level.requests]
    if facts.prompts:
        says = message(
            "The same {count} prompts were sent repeatedly, and it is not known whether the server has a prefix "
            "cache. If it has one, TTFT and throughput are those of cached prompts.",
            count=facts.prompts,
        )
    else:
        says = message(
            "The same prompts were sent repeatedly, and it is not known whether the server has a prefix cache. If "
            "it has one, TTFT and throughput are those of cached prompts."
        )
    return Check("prefix_cache", False, None, CACHED_LIMIT, sentences([says, _UNIQUE]), marks(used))


def consistency(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that the times and counts of each request are consistent; None if all are."""
    shares = {level.level: level.contradicting / level.attempted for level in levels if level.attempted}
    worst = max(shares.values(), default=0.0)
    if not worst:
        return None
    over = above(shares, levels, CONTRADICTING_LIMIT)
    if over:
        says = message(
            "At {loads} up to {share} of the requests had times or counts that contradict each other (an answer "
            "that ends before it begins, inter-token latencies that do not add up) and were clamped: a clock was "
            "changed, or llmlocust has a bug.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("request_consistency", False, worst, CONTRADICTING_LIMIT, says, marks(over))
    says = message(
        "At most {share} of a level's requests had times or counts that contradict each other (an answer that "
        "ends before it begins, inter-token latencies that do not add up) and were clamped: a clock was changed, "
        "or llmlocust has a bug.",
        share=words.share(worst),
    )
    return Check("request_consistency", True, worst, CONTRADICTING_LIMIT, says)


def usage(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check the server's count of tokens against the received chunks."""
    known = [level for level in levels if level.level in facts.tokens_per_chunk]
    if not known:
        return None
    tokens = facts.tokens_per_chunk
    low, high = (end(tokens[level.level] for level in known) for end in (min, max))
    few = [level for level in known if tokens[level.level] < TOO_FEW_TOKENS]
    if few:
        says = message(
            "At {loads} the server reported {count} tokens per received chunk with text: it counts too few, so "
            "tokens/s and TPOT are wrong.",
            loads=loads_of(few),
            count=words.digits(low),
        )
        return Check("usage", False, low, TOO_FEW_TOKENS, says, marks(few))
    if high > UNEVEN_CHUNKS * low:
        other = [level for level in known if tokens[level.level] > UNEVEN_CHUNKS * low]
        says = message(
            "A chunk contained {low} tokens at one level and up to {high} at {loads}, so ITL cannot be compared "
            "between levels.",
            low=words.digits(low),
            high=words.digits(high),
            loads=loads_of(other),
        )
        return Check("usage", False, high, UNEVEN_CHUNKS * low, says, marks(other))
    if high > SEVERAL_TOKENS:
        says = message(
            "The server reported up to {count} tokens per received chunk: it sends several at once, or counts "
            "tokens that it does not send. ITL is measured between chunks.",
            count=words.digits(high),
        )
        several = [level for level in known if tokens[level.level] > SEVERAL_TOKENS]
        return Check("usage", True, high, SEVERAL_TOKENS, says, marks(several))
    return Check("usage", True, high, SEVERAL_TOKENS, message("The server's token counts match the received chunks."))
