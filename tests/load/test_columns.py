import pytest

from llmlocust.load.columns import Columns, columns_of, header_of, is_trace, snake_case


@pytest.mark.parametrize(
    "names, time, unit",
    [
        ("timestamp", "timestamp", ""),
        ("id,Elapsed time,Timestamp", "Timestamp", ""),
        ("start_time,timestamp,arrival_time", "arrival_time", ""),
        ("end_time,start_time", "start_time", ""),
        ("createdAt", "createdAt", ""),
        ("arrived_at", "arrived_at", ""),
        ("seconds", "seconds", "seconds"),
        ("Arrival Time [s]", "Arrival Time [s]", "seconds"),
        ("timestampMs", "timestampMs", "milliseconds"),
        ("timestamp_start_unix_ms", "timestamp_start_unix_ms", "milliseconds"),
        ("offset_us", "offset_us", "microseconds"),
        ("time_ns", "time_ns", "nanoseconds"),
    ],
)
def test_the_time_of_a_request_is_found_with_the_unit_of_its_name(names, time, unit):
    assert columns_of([*names.split(","), "isl", "osl"])[:2] == (time, unit)


@pytest.mark.parametrize(
    "name", ["duration_ms", "latency_ms", "end_time", "delay", "response_time", "s", "offset", "at"]
)
def test_durations_and_ends_are_no_times_of_requests(name):
    with pytest.raises(ValueError, match="missing: a time; found: "):
        columns_of([name, "isl", "osl"])


@pytest.mark.parametrize(
    "names, prompt, output",
    [
        ("input_length,output_length", "input_length", "output_length"),
        ("ContextTokens,GeneratedTokens", "ContextTokens", "GeneratedTokens"),
        ("Request tokens,Response tokens,Total tokens", "Request tokens", "Response tokens"),
        ("num_decode_tokens,num_prefill_tokens", "num_prefill_tokens", "num_decode_tokens"),
        ("inputlength,outputlength", "inputlength", "outputlength"),
        ("prompt_length,prompt_tokens,completion_tokens", "prompt_tokens", "completion_tokens"),
        ("n_prompt_tokens,n_generated_tokens", "n_prompt_tokens", "n_generated_tokens"),
        ("input_token_count,output_token_count", "input_token_count", "output_token_count"),
    ],
)
def test_columns_of_prompt_and_output_tokens_are_found(names, prompt, output):
    assert columns_of(["ts", *names.split(",")]) == Columns("ts", "", prompt, output)


@pytest.mark.parametrize(
    "names", ["ts,prompt,completion", "ts,total_tokens", "ts,length", "ts,input_chars,output_chars"]
)
def test_other_columns_are_no_numbers_of_tokens(names):
    assert not is_trace(names.split(","))


@pytest.mark.parametrize("name", ["hash_ids", "hashIds", "block_hashes"])
def test_ids_of_blocks_are_found(name):
    assert columns_of(["ts", "isl", "osl", name]).ids == name


@pytest.mark.parametrize("name", ["max_tokens", "Max tokens", "maxTokens", "max-tokens", " MAX_TOKENS "])
def test_names_are_compared_in_snake_case(name):
    assert snake_case(name) == "max_tokens"


@pytest.mark.parametrize(
    "sample, names, delimiter",
    [
        (b"ts,isl\n1,2\n", ["ts", "isl"], ","),
        (b"\r\nts;isl\r\n1;2\r\n", ["ts", "isl"], ";"),
        (b"a,b\tts\r1\t2", ["a,b", "ts"], "\t"),
        (b'"a|b",ts', ["a|b", "ts"], ","),
        (b"a;b;c", ["a", "b", "c"], ";"),
        (b"", [], ","),
    ],
)
def test_the_delimiter_is_the_one_that_gives_known_names(sample, names, delimiter):
    assert header_of(sample, lambda names: "ts" in names) == (names, delimiter)
