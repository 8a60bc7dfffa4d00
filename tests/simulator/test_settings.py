import pytest

from llmlocust.simulator.settings import Settings, knobs


def test_every_setting_has_a_help_text_of_one_line():
    assert all(knob.help and "\n" not in knob.help for knob in knobs())


def test_a_knob_has_its_option_and_type():
    slots = next(knob for knob in knobs() if knob.name == "kv_tokens")
    assert (slots.option, slots.kind, slots.default) == ("--kv-tokens", int, 0)


def test_the_defaults_are_a_model_that_two_cores_can_simulate():
    settings = Settings()
    assert 0.030 <= settings.step_seconds(settings.slots) <= 0.045
    assert settings.capacity() < 6000


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"port": 70_000},
        {"step_ms": -1},
        {"step_ms": 0, "step_ms_per_seq": 0},
        {"kv_tokens": -1},
        {"kv_tokens": 15},
        {"compute_ms_per_token": -1},
        {"power_cap_factor": 0},
        {"cold_start_factor": 0.5},
        {"tenant_share": 1},
        {"front_end_ms": -1},
        {"network_mbit": -1},
        {"rate_burst": 0},
        {"cache_prompts": 0},
        {"queue_limit": -2},
        {"reasoning_share": 1.5},
        {"reasoning_field": "thoughts"},
        {"tokens_per_chunk": 0},
        {"answer_tokens": 0},
        {"fault": "explode"},
        {"fault_share": 2},
    ],
)
def test_invalid_settings_are_an_error(wrong):
    with pytest.raises(ValueError):
        Settings(**wrong)
