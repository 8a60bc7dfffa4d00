from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.simulator.engine import Engine, Event, Expired, Sequence, Step
from llmlocust.simulator.settings import Settings

LATER = 1e9


def plain(**settings) -> Settings:
    """Return settings with steps of 100 ms for any batch, and prompts that take no time."""
    return Settings(**{"step_ms": 100, "step_ms_per_seq": 0, "prefill_ms_per_token": 0, **settings})


def submit(engine: Engine, *sequences: Sequence, now: float = 0.0) -> list[str | None]:
    return [engine.submit(sequence, now) for sequence in sequences]


def events(engine: Engine, until: float = LATER) -> list[Event]:
    return list(iter(lambda: engine.advance(until), None))


def token_times(engine: Engine, until: float = LATER) -> dict[Sequence, list[float]]:
    times: dict[Sequence, list[float]] = {}
    for event in events(engine, until):
        if isinstance(event, Step):
            for sequence in event.sequences:
                times.setdefault(sequence, []).append(round(event.due, 6))
    return times


def test_a_single_request_gets_a_token_at_the_end_of_every_step():
    engine, single = Engine(plain()), Sequence(5, 3)
    submit(engine, single, now=1.0)
    assert token_times(engine) == {single: [1.1, 1.2, 1.3]}


def test_every_running_sequence_makes_a_step_longer():
    engine, pair = Engine(plain(step_ms_per_seq=10)), [Sequence(5, 2), Sequence(5, 2)]
    submit(engine, *pair)
    # the second sequence joins after the step that the first one began
    assert token_times(engine) == {pair[0]: [0.11, 0.23], pair[1]: [0.23, 0.34]}


def test_prompt_tokens_make_the_first_step_longer():
    engine, single = Engine(plain(prefill_ms_per_token=1)), Sequence(50, 2)
    submit(engine, single)
    assert token_times(engine) == {single: [0.15, 0.25]}


def test_a_long_prompt_is_read_in_chunks_while_others_continue():
    engine = Engine(plain(prefill_ms_per_token=1, prefill_chunk=100))
    first, long = Sequence(0, 5), Sequence(250, 1)
    submit(engine, first, long)
    assert token_times(engine) == {first: [0.1, 0.3, 0.5, 0.65, 0.75], long: [0.65]}


def test_cached_prompt_tokens_take_no_time():
    engine, single = Engine(plain(prefill_ms_per_token=1)), Sequence(50, 1, cached_tokens=50)
    submit(engine, single)
    assert token_times(engine) == {single: [0.1]}


def test_requests_beyond_the_slots_wait_in_a_queue():
    engine = Engine(plain(slots=2))
    submit(engine, *(Sequence(1, 5) for _ in range(5)))
    assert (engine.running, engine.waiting) == (2, 3)


def test_a_small_request_that_would_fit_does_not_overtake_a_large_one():
    engine = Engine(plain(kv_tokens=96))
    first, large, small = Sequence(50, 10), Sequence(50, 10), Sequence(1, 1)
    submit(engine, first, large, small)
    assert (engine.running, engine.waiting, engine.blocks_used) == (1, 2, 4)


@pytest.mark.parametrize(
    "settings, answers",
    [
        ({"slots": 1, "queue_limit": -1}, [None, None, None]),
        ({"slots": 1, "queue_limit": 1}, [None, None, "queue_full"]),
        ({"slots": 1, "queue_limit": 0}, [None, "queue_full", "queue_full"]),
        ({"slots": 3, "queue_limit": 0}, [None, None, None]),
        ({"oom_at": 2}, [None, None, "out_of_memory"]),
        ({"kv_tokens": 19}, ["too_long"] * 3),
        ({"kv_tokens": 31}, ["too_long"] * 3),  # one block
        ({"kv_tokens": 32, "queue_limit": 0}, [None, None, "queue_full"]),
    ],
)
def test_a_request_beyond_a_limit_is_rejected(settings, answers):
    engine = Engine(plain(**settings))
    assert submit(engine, *(Sequence(10, 10) for _ in range(3))) == answers


def test_the_cache_is_allocated_in_blocks_as_tokens_are_produced():
    engine = Engine(plain(kv_tokens=160))
    submit(engine, Sequence(16, 20))
    used = []
    for step in range(20):
        events(engine, step / 10 + 0.05)
        used.append(engine.blocks_used)
    # the prompt fills the first block; the second and the third are needed for the 1st and the 17th token of the answer
    assert used == [1] + [2] * 16 + [3] * 3


def test_the_sequence_that_was_admitted_last_is_preempted_and_computed_again():
    engine = Engine(plain(kv_tokens=64, prefill_ms_per_token=1))
    first, last = Sequence(30, 18), Sequence(32, 3)
    submit(engine, first, last)
    times = token_times(engine)
    # the prompts take a step each. For its second token, the last needs a third block, and all four are in use
    assert times[first][:3] == [0.13, 0.262, 0.362]
    # it waits until the first has ended; then its prompt and its first token are read
    ended = times[first][-1]
    assert times[last] == [0.262, round(ended + 0.133, 6), round(ended + 0.233, 6)]
    assert (engine.preemptions, first.preemptions, last.preemptions, last.admitted) == (1, 0, 1, 0.0)


def test_tokens_of_a_preempted_sequence_are_computed_again_and_not_sent_again():
    engine = Engine(plain(kv_tokens=48, prefill_ms_per_token=1))
    first, last = Sequence(16, 20), Sequence(8, 12)
    submit(engine, first, last)
    times = token_times(engine)
    assert (len(times[first]), len(times[last])) == (20, 12)
    resumed = next(index for index, time in enumerate(times[last]) if time > times[first][-1])
    # it had 8 + `resumed` tokens when it was preempted
    assert times[last][resumed] == pytest.approx(times[first][-1] + 0.1 + (8 + resumed) / 1000)


def test_a_preempted_sequence_waits_at_the_front_of_the_queue():
    engine = Engine(plain(kv_tokens=64))
    first, second, new = Sequence(16, 40), Sequence(16, 40), Sequence(16, 1)
    submit(engine, first, second)
    submit(engine, new, now=1.0)
    ends = {sequence: times[-1] for sequence, times in token_times(engine).items()}
    assert second.preemptions
    assert ends[first] < ends[second]
    assert new.admitted > 1.0


def test_a_request_that_no_step_has_read_is_returned_without_a_preemption():
    engine = Engine(plain(kv_tokens=48))
    first, late = Sequence(32, 3), Sequence(16, 1)
    submit(engine, first)
    submit(engine, late, now=0.05)  # takes the block that the first needs for its next token
    assert late.admitted == 0.05
    times = token_times(engine)
    assert (engine.preemptions, times[late]) == (0, [0.4])


def test_a_cancelled_request_frees_its_slot():
    engine, pair = Engine(plain(slots=1)), [Sequence(1, 10), Sequence(1, 10)]
    submit(engine, *pair)
    assert engine.cancel(pair[0], 0.05)
    assert (engine.running, engine.waiting, pair[1].admitted) == (1, 0, 0.05)
    assert not engine.cancel(pair[0], 0.06)


def test_a_request_that_waits_too_long_expires():
    engine, pair = Engine(plain(slots=1, timeout_s=0.45)), [Sequence(1, 10), Sequence(1, 10)]
    submit(engine, *pair)
    assert [event for event in events(engine) if isinstance(event, Expired)] == [Expired(0.45, pair[1])]


def test_an_answer_in_one_piece_expires_but_a_started_stream_does_not():
    engine = Engine(plain(timeout_s=0.45))
    stream, in_one_piece = Sequence(1, 10), Sequence(1, 10, streamed=False)
    submit(engine, stream, in_one_piece)
    expired = [event.sequence for event in events(engine) if isinstance(event, Expired)]
    assert (expired, stream.produced) == ([in_one_piece], 10)


def test_an_idle_engine_has_no_next_event():
    engine = Engine(plain())
    submit(engine, Sequence(1, 2))
    events(engine)
    assert (engine.due, engine.running, engine.blocks_used) == (float("inf"), 0, 0)


@pytest.mark.parametrize("slots", [1, 7, 64])
def test_throughput_at_saturation_is_the_capacity_of_the_settings(slots):
    settings = Settings(slots=slots, step_ms=20, step_ms_per_seq=0.5)
    engine = Engine(settings)
    submit(engine, *(Sequence(10, 50) for _ in range(slots * 20)))
    steps = [event for event in events(engine) if isinstance(event, Step)]
    full = steps[len(steps) // 4 : len(steps) * 3 // 4]
    throughput = sum(len(step.sequences) for step in full) / (full[-1].due - full[0].began)
    assert throughput == pytest.approx(settings.capacity(prompt_tokens=10, output_tokens=50), rel=0.02)


def test_capacity_without_prompts_is_slots_divided_by_step_time():
    settings = plain(slots=50, step_ms=10, step_ms_per_seq=0.2)
    engine = Engine(settings)
    submit(engine, *(Sequence(0, 10_000) for _ in range(50)))
    step = events(engine, 5.0)[-1]
    assert len(step.sequences) / (step.due - step.began) == pytest.approx(settings.capacity()) == 50 / 0.020


# any requests in any order


@dataclass
class Arrival:
    after: float
    prompt: int
    output: int
    streamed: bool
    leaves_after: float | None


arrivals = st.lists(
    st.builds(
        Arrival,
        after=st.sampled_from([0.0, 0.001, 0.03, 0.2, 1.0]),
        prompt=st.integers(0, 60),
        output=st.integers(1, 12),
        streamed=st.booleans(),
        leaves_after=st.none() | st.floats(0.0, 2.0),
    ),
    max_size=25,
)
engines = st.builds(
    Settings,
    slots=st.integers(1, 5),
    step_ms=st.sampled_from([1.0, 10.0, 100.0]),
    step_ms_per_seq=st.sampled_from([0.0, 5.0]),
    prefill_ms_per_token=st.sampled_from([0.0, 2.0]),
    prefill_chunk=st.sampled_from([0, 7, 64]),
    kv_tokens=st.sampled_from([0, 48, 80, 112]),
    queue_limit=st.sampled_from([-1, 0, 3]),
    timeout_s=st.sampled_from([0.0, 0.3]),
    oom_at=st.sampled_from([0, 6]),
)


@dataclass
class Run:
    """The log of a run of an engine by request numbers, so that two runs can be compared."""

    engine: Engine
    log: list[tuple] = field(default_factory=list)
    ends: Counter = field(default_factory=Counter)
    tokens: Counter = field(default_factory=Counter)
    admitted: list[tuple] = field(default_factory=list)

    def drain(self, now: float, number: dict[Sequence, int]) -> None:
        while event := self.engine.advance(now):
            if isinstance(event, Expired):
                self.log.append(("expired", event.due, number[event.sequence]))
                self.ends[number[event.sequence]] += 1
                continue
            self.log.append(("step", event.due, [number[sequence] for sequence in event.sequences]))
            for sequence in event.sequences:
                self.tokens[number[sequence]] += 1
                if self.tokens[number[sequence]] == sequence.output_tokens:
                    self.ends[number[sequence]] += 1


def run(settings: Settings, plan: list[Arrival], poll_times: list[float]) -> Run:
    """Submit and cancel requests by the plan, and read the engine's events only at the given times."""
    result = Run(Engine(settings))
    number: dict[Sequence, int] = {}
    acts: list[tuple[float, int, str, int]] = [(moment, 2, "poll", 0) for moment in poll_times]
    now = 0.0
    for index, arrival in enumerate(plan):
        now += arrival.after
        acts.append((now, 0, "submit", index))
        if arrival.leaves_after is not None:
            acts.append((now + arrival.leaves_after, 1, "cancel", index))
    sequences = [Sequence(arrival.prompt, arrival.output, streamed=arrival.streamed) for arrival in plan]
    for at, _, act, index in sorted(acts):
        if act == "poll":
            result.drain(at, number)
        elif act == "submit":
            number[sequences[index]] = index
            if refusal := result.engine.submit(sequences[index], at):
                result.log.append((refusal, at, index))
                result.ends[index] += 1
        elif result.engine.cancel(sequences[index], at):
            result.log.append(("cancelled", at, index))
            result.ends[index] += 1
        check_limits(result.engine, settings)
    result.drain(LATER, number)
    result.admitted = [
        (sequence.admitted, index) for index, sequence in enumerate(sequences) if sequence.admitted is not None
    ]
    return result


def check_limits(engine: Engine, settings: Settings) -> None:
    assert engine.running <= settings.slots
    assert engine.blocks_used <= settings.kv_blocks
    # sequences that have run and lost their place in the cache wait, too
    returned = settings.slots if settings.kv_tokens else 0
    assert settings.queue_limit < 0 or engine.waiting <= settings.queue_limit + returned


poll_times = st.lists(st.floats(0, 20), max_size=20)


@given(engines, arrivals, poll_times)
def test_every_request_ends_exactly_once_and_leaves_the_engine_empty(settings, plan, poll_times):
    result = run(settings, plan, poll_times)
    assert result.ends == Counter(range(len(plan)))
    assert (result.engine.running, result.engine.waiting, result.engine.blocks_used) == (0, 0, 0)


@given(engines, arrivals)
def test_an_undisturbed_request_gets_exactly_its_tokens(settings, plan):
    result = run(settings, plan, [])
    disturbed = {entry[2] for entry in result.log if entry[0] != "step"}
    for index, arrival in enumerate(plan):
        if index not in disturbed:
            assert result.tokens[index] == arrival.output


@given(engines, arrivals, poll_times)
def test_requests_are_admitted_in_the_order_of_their_arrival(settings, plan, poll_times):
    admitted = run(settings, plan, poll_times).admitted
    assert admitted == sorted(admitted)


@given(engines, arrivals, poll_times)
def test_the_times_of_polls_change_no_events(settings, plan, poll_times):
    late, punctual = run(settings, plan, []), run(settings, plan, poll_times)
    # rejections and cancellations are logged at once, events at the next poll
    for kind in ("step", "expired", "cancelled", "queue_full", "out_of_memory", "too_long"):
        assert [entry for entry in late.log if entry[0] == kind] == [
            entry for entry in punctual.log if entry[0] == kind
        ]


# a model of vLLM's scheduler, as short as possible: it counts steps and knows no time


@dataclass(eq=False)
class Modelled:
    prompt: int
    output: int
    blocks: int = 0
    produced: int = 0
    steps: list[int] = field(default_factory=list)


def model(requests: list[Modelled], blocks: int, slots: int) -> int:
    """Give each request the numbers of the steps at whose ends it gets its tokens. Returns the number of preemptions."""
    waiting, running, preemptions, step = requests[:1], [], 0, 0
    while waiting or running:
        step += 1
        preempted = False
        for request in [*running]:
            while request in running:
                needed = -(-(request.prompt + request.produced) // 16)
                if sum(other.blocks for other in running if other is not request) + needed <= blocks:
                    request.blocks = needed
                    break
                waiting.insert(0, running.pop())
                preemptions, preempted = preemptions + 1, True
        while waiting and not preempted and len(running) < slots:
            needed = -(-(waiting[0].prompt + waiting[0].produced) // 16)
            if sum(other.blocks for other in running) + needed > blocks:
                break
            running.append(waiting.pop(0))
            running[-1].blocks = needed
        for request in [*running]:
            request.produced += 1
            request.steps.append(step)
            if request.produced == request.output:
                running.remove(request)
        if step == 1:
            waiting += requests[1:]  # the first request begins a step at once; the others arrive during it
    return preemptions


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=12),
    st.integers(5, 12),
    st.integers(1, 6),
)
def test_the_engine_preempts_as_the_model_does(lengths, blocks, slots):
    requests = [Modelled(prompt, output) for prompt, output in lengths]
    engine, sequences = Engine(plain(kv_tokens=16 * blocks, slots=slots)), [Sequence(*both) for both in lengths]
    assert submit(engine, *sequences) == [None] * len(sequences)
    times = token_times(engine)
    preemptions = model(requests, blocks, slots)
    assert [times[sequence] for sequence in sequences] == [
        [pytest.approx(step / 10) for step in request.steps] for request in requests
    ]
    assert engine.preemptions == preemptions == sum(sequence.preemptions for sequence in sequences)
