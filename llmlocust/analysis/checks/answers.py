"""Requests and answers: whether there are enough, what they brought, and whether levels asked for the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from llmlocust.analysis.checks.check import BOUNDED, LEAST, Check, Facts, above, loads_of, marks, more_requests
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import message, sentences

GATHERED = 0.2
"""More tokens than this that came together are no chance: something gathers them, or the server sends several."""
EMPTY_LIMIT = 0.01
EMPTY_LEVEL = 0.1
"""A level with more empty answers than this says nothing of what load does to the server."""
LENGTH_LIMIT = 1.25
"""Mean lengths of answers further apart than this factor make two systems of one: requests a second and end to end \
go with the length, and the verdict calls a growth of 1.3 times the load's a cliff."""
SURELY = 2.6
"""Standard errors: one level in two hundred by chance, where each is compared with the lowest."""
ABORTED_LIMIT = 0.05
CACHED = 0.2
"""A larger share of prompt tokens from the cache makes another server of it."""
TOO_FEW_TOKENS = 0.8
"""Tokens a chunk: with fewer than this the server's count cannot be right."""
CONTRADICTING = 0.01
"""Of more requests whose times contradict each other a percentile may be one of them."""
SEVERAL_TOKENS = 1.2
UNEVEN_CHUNKS = 1.5
"""Where chunks hold so many times more tokens at one level than at another, their gaps do not compare."""
_UNIQUE = message("Ask unique prompts (--llm-unique), unless your users repeat theirs as often.")


def enough_requests(levels: Sequence[LevelFigures], statistic: str, facts: Facts, *, strict: bool) -> Check | None:
    """Whether a percentile rests on enough requests; not `strict`, too few are said and doubt nothing."""
    used = [each for each in levels if each.requests and each.counted]
    if not used and any(each.requests for each in levels):
        return None
    if not used:
        return Check(
            "any_requests", False, 0, 1, message("No level has a single request: there is nothing to believe.")
        )
    used = [each for each in used if each.ok]
    if not used:
        return Check(
            "any_success", False, 0, 1, message("No request succeeded at any level: there are no latencies to believe.")
        )
    fewest = min(each.ok for each in used)
    least, bounded = LEAST[statistic], BOUNDED[statistic]
    key = f"requests_for_{statistic}"
    short = [each for each in used if each.ok < least]
    if short:
        hurt = strict and any(facts.decisive is None or each.level in facts.decisive for each in short)
        if hurt:
            says = message(
                "At {loads} fewer than {least} requests succeeded (fewest: {fewest}), so {statistic} is only the slowest of "
                "them; {bounded} are needed for one with an interval. {advice}",
                loads=loads_of(short),
                least=least,
                fewest=fewest,
                statistic=statistic,
                bounded=bounded,
                advice=words.sentence(more_requests(facts)),
            )
        else:
            says = message(
                "{statistic} at {loads} rests on fewer than {least} requests (fewest: {fewest}): read {other} there, or "
                "{advice}.",
                statistic=statistic,
                loads=loads_of(short),
                least=least,
                fewest=fewest,
                other="p95" if fewest >= LEAST["p95"] else "p50",
                advice=more_requests(facts),
            )
        return Check(key, not hurt, fewest, least, says, marks(short))
    few = [each for each in used if each.ok < bounded]
    if few:
        says = message(
            "{statistic} at {loads} rests on fewer than {bounded} requests (fewest: {fewest}): its 95 % interval has no upper "
            "end there.",
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
    return Check(key, True, fewest, least, says, marks(few))


def levels_without_requests(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether users sent no request at some of the levels. None where every level has requests, or none has."""
    without = [each for each in levels if each.lacks_requests]
    if not without or not any(each.requests for each in levels):
        return None
    paused = max((each.backing_off for each in without if each.backing_off > 0.0), default=0.0)
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
    """A server that answers 200 without a word is fast, and no success."""
    known = [(share, each) for share, each in _empties(levels, facts) if not facts.unread.get(each.level, 0.0) > 0.0]
    if not known:
        return None
    worst = max(share for share, _ in known)
    over = [each for share, each in known if share > EMPTY_LIMIT]
    if over:
        says = message(
            "At {loads} up to {share} of the successful requests brought no token: their throughput is that of empty answers. "
            "Look at one by hand (the prompt, max tokens, the server's log).",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("empty_answers", False, worst, EMPTY_LIMIT, says, marks(over))
    says = (
        message("Every successful request brought tokens.")
        if worst == 0.0
        else message("At most {share} of a level's successful requests brought no token.", share=words.share(worst))
    )
    return Check("empty_answers", True, worst, EMPTY_LIMIT, says)


def unread(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether token times are missing because the tokens came in fields that llmlocust does not read."""
    over = above(facts.unread, levels, EMPTY_LIMIT)
    if not over:
        return None
    worst = max(facts.unread.values())
    unseen = message(
        "At {loads} the server counted the tokens of up to {share} of the successful requests, but none of them was seen: "
        "TTFT, gaps and end to end are not known there.",
        loads=loads_of(over),
        share=words.share(worst),
    )
    fields = [message("They may be in {fields}.", fields=facts.unread_fields)] if facts.unread_fields else []
    cure = message("Set --llm-dialect to what the server speaks, or read them in a dialect of your own.")
    says = sentences([unseen, *fields, cure])
    return Check("unread_tokens", False, worst, EMPTY_LIMIT, says, marks(over))


def _empties(levels: Sequence[LevelFigures], facts: Facts) -> Iterable[tuple[float, LevelFigures]]:
    """The share of each level's successes that brought no token; levels that do not tell are left out."""
    timed = any(each.metric("e2e").count for each in levels)
    for each in levels:
        if not each.ok:
            continue
        known = timed or each.output_tokens == 0.0
        # who has a last token has an end-to-end time
        untimed = 1.0 - min(each.ok, each.metric("e2e").count) / each.ok if known else math.nan
        share = max((part for part in (untimed, facts.empty.get(each.level, math.nan)) if part >= 0.0), default=None)
        if share is not None:
            yield share, each


def empty_levels(levels: Sequence[LevelFigures], shares: Mapping[int, float]) -> frozenset[int]:
    """The levels that say nothing, for so many of their answers brought no token. `shares` are those of their rows."""
    return frozenset(each.level for share, each in _empties(levels, Facts(empty=shares)) if share > EMPTY_LEVEL)


def length(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Levels compare only where their answers are about as long."""
    told = sorted((each for each in levels if each.output_tokens > 0.0 and each.ok), key=lambda each: each.load)
    if len(told) < 2:
        return None
    base = told[0]

    def noise(each: LevelFigures) -> float:
        # lengths that are not told one by one are taken as spread as widely as their mean
        return facts.length_noise.get(each.level, 1.0 / math.sqrt(each.ok))

    def apart(each: LevelFigures) -> float:
        return min(20.0, abs(math.log(each.output_tokens) - math.log(base.output_tokens)))

    off = [
        each
        for each in told[1:]
        if apart(each) - SURELY * math.hypot(noise(each), noise(base)) > math.log(LENGTH_LIMIT)
    ]
    worst = max(told[1:], key=apart)
    factor = math.exp(apart(worst))
    if off:
        worst = max(off, key=apart)
        says = message(
            "Answers had {base} tokens on average at {base_load}, but {worst} at {worst_load}: {loads} cannot be compared with "
            "the lowest level. Fix the length (--llm-max-tokens, the same prompts), or see whether the server cuts answers "
            "short.",
            base=words.digits(base.output_tokens),
            base_load=loads_of([base]),
            worst=words.digits(worst.output_tokens),
            worst_load=loads_of([worst]),
            loads=loads_of(off),
        )
        return Check("answer_length", False, math.exp(apart(worst)), LENGTH_LIMIT, says, marks(off))
    times = words.digits(factor)
    says = message("Answers are about as long at every level (means at most {factor} times apart).", factor=times)
    if factor > LENGTH_LIMIT:
        says = message(
            "Mean lengths of answers are up to {factor} times apart, which so few may be by chance.", factor=times
        )
    return Check("answer_length", True, factor, LENGTH_LIMIT, says)


def tokens_together(levels: Sequence[LevelFigures]) -> Check | None:
    """Tokens that came together, and did not just wait for us: the user of the server would get them so too."""
    shares = {each.level: _came_together(each) for each in levels if not math.isnan(each.coalesced)}
    if not shares:
        return None
    worst = max(shares.values())
    over = above(shares, levels, GATHERED)
    if over:
        says = message(
            "At {loads} up to {share} of the tokens came together with an earlier one: the server sends several at once, or "
            "something before it gathers them (a proxy that buffers?). Where it is a proxy that users do not have, TTFT reads "
            "late and TPOT short; end to end and throughput hold.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("tokens_together", True, worst, GATHERED, says, marks(over))
    says = message("At most {share} of the tokens came together with an earlier one.", share=words.share(worst))
    if worst == 0.0:
        says = message("No token came together with an earlier one.")
    return Check("tokens_together", True, worst, GATHERED, says)


def _came_together(each: LevelFigures) -> float:
    # of n chunks that waited for us n - 1 count as coalesced and n gaps as uncertain
    return max(0.0, each.coalesced - (0.0 if math.isnan(each.uncertain) else each.uncertain))


def token_counts(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether tokens were counted by the server."""
    known = [each for each in levels if not math.isnan(each.counted_chunks)]
    if not known:
        return None
    worst = max(each.counted_chunks for each in known)
    if worst == 0.0:
        return Check("token_counts", True, 0.0, 0.0, message("Every token count is the server's own."))
    says = message(
        "For up to {share} of the requests the server told no usage, so chunks were counted as tokens: tokens/s and TPOT may be "
        "off where a chunk holds several tokens.",
        share=words.share(worst),
    )
    over = [each for each in known if each.counted_chunks > 0.0]
    return Check("token_counts", True, worst, 0.0, says, marks(over))


def aborted_requests(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether the end of the run cut off so many that latencies are those of the short ones."""
    known = [(each, each.aborted / (each.requests + each.aborted)) for each in levels if each.requests + each.aborted]
    if not known:
        return None
    worst = max(part for _, part in known)
    over = [each for each, part in known if part > ABORTED_LIMIT]
    if over:
        says = message(
            "At {loads} up to {share} of the requests were cut off by the end of the run; they were the long ones, so latencies "
            "read too low. Give the run time to finish (--stop-timeout).",
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
    """Prompts that the server had seen before cost it nothing: the run then measures the cache."""
    over = [each for each in levels if facts.cache_hits.get(each.level, 0.0) > CACHED]
    if facts.cache_hits:
        worst = max(facts.cache_hits.values())
        share = words.share(worst)
        if not over:
            says = message(
                "The server had at most {share} of a level's prompt tokens in its prefix cache.", share=share
            )
            return Check("prefix_cache", True, worst, CACHED, says)
        says = message(
            "At {loads} up to {share} of the prompt tokens came from the server's prefix cache: TTFT and throughput are those of "
            "prompts that it knew.",
            loads=loads_of(over),
            share=share,
        )
        more = message("The system prompt is shared.") if facts.shared else _UNIQUE
        return Check("prefix_cache", facts.shared, worst, CACHED, sentences([says, more]), marks(over))
    if facts.prompts is None:
        return None
    asked = [each for each in levels if each.requests]
    if facts.prompts:
        says = message(
            "The same {count} prompts were asked over and over, and whether the server has a prefix cache is not known: where "
            "it has, TTFT and throughput are the cache's.",
            count=facts.prompts,
        )
    else:
        says = message(
            "The same prompts were asked over and over, and whether the server has a prefix cache is not known: where it has, "
            "TTFT and throughput are the cache's."
        )
    return Check("prefix_cache", False, None, CACHED, sentences([says, _UNIQUE]), marks(asked))


def consistency(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether the times and counts of each request fit together; None where every request's do."""
    shares = {each.level: each.contradicting / each.attempted for each in levels if each.attempted}
    worst = max(shares.values(), default=0.0)
    if not worst:
        return None
    over = above(shares, levels, CONTRADICTING)
    if over:
        says = message(
            "At {loads} up to {share} of the requests had times or counts that contradict each other (an answer that ends before "
            "it begins, gaps that do not add up) and were bounded: a clock was set, or llmlocust has an error.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("request_consistency", False, worst, CONTRADICTING, says, marks(over))
    says = message(
        "At most {share} of a level's requests had times or counts that contradict each other (an answer that ends before it "
        "begins, gaps that do not add up) and were bounded: a clock was set, or llmlocust has an error.",
        share=words.share(worst),
    )
    return Check("request_consistency", True, worst, CONTRADICTING, says)


def usage(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """The server's count of tokens against the chunks that came."""
    known = [each for each in levels if each.level in facts.tokens_a_chunk]
    if not known:
        return None
    told = facts.tokens_a_chunk
    least, most = (pick(told[each.level] for each in known) for pick in (min, max))
    few = [each for each in known if told[each.level] < TOO_FEW_TOKENS]
    if few:
        says = message(
            "At {loads} the server told {count} tokens for each chunk with text that came: it counts too few, so that tokens/s "
            "and TPOT are off.",
            loads=loads_of(few),
            count=words.digits(least),
        )
        return Check("usage", False, least, TOO_FEW_TOKENS, says, marks(few))
    if most > UNEVEN_CHUNKS * least:
        other = [each for each in known if told[each.level] > UNEVEN_CHUNKS * least]
        says = message(
            "A chunk held {least} tokens at one level, and up to {most} at {loads}: gaps between chunks do not compare over the "
            "load.",
            least=words.digits(least),
            most=words.digits(most),
            loads=loads_of(other),
        )
        return Check("usage", False, most, UNEVEN_CHUNKS * least, says, marks(other))
    if most > SEVERAL_TOKENS:
        says = message(
            "The server told up to {count} tokens for each chunk that came: it sends several at once, or counts some that it does "
            "not send. Gaps are between chunks.",
            count=words.digits(most),
        )
        several = [each for each in known if told[each.level] > SEVERAL_TOKENS]
        return Check("usage", True, most, SEVERAL_TOKENS, says, marks(several))
    return Check("usage", True, most, SEVERAL_TOKENS, message("The server's token counts fit the chunks that came."))
