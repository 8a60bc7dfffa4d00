import pytest

from llmlocust.simulator.faults import GRAMMAR, Fault, parse, usage


@pytest.mark.parametrize(
    "text, faults",
    [
        ("", {}),
        ("drop@5", {"drop": Fault(5)}),
        ("stall@0:2.5", {"stall": Fault(0, 2.5)}),
        ("http:429", {"http": Fault(0, 429)}),
        (" crlf , cut:7 ,", {"crlf": Fault(), "cut": Fault(0, 7)}),
    ],
)
def test_faults_are_parsed(text, faults):
    assert parse(text) == faults


@pytest.mark.parametrize(
    "text, message",
    [
        ("explode", "unknown fault 'explode'; known: drop@TOKENS, "),
        ("drop", "fault 'drop' is written drop@TOKENS"),
        ("drop@5:1", "fault 'drop@5:1' is written drop@TOKENS"),
        ("crlf:1", "is written crlf"),
        ("stall@1", "is written stall@TOKENS:SECONDS"),
        ("cut:0", "bytes must be a whole number from 1"),
        ("chunk:1.5", "tokens must be a whole number from 1"),
        ("http:200", "status must be 400 to 599"),
        ("drop@-1", "unknown fault"),
    ],
)
def test_an_invalid_fault_gives_an_error_with_the_allowed_forms(text, message):
    with pytest.raises(ValueError) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize("name", GRAMMAR)
def test_the_usage_of_every_fault_can_be_parsed(name):
    text = usage(name).replace("TOKENS", "4").replace("SECONDS", "1").replace("BYTES", "7").replace("STATUS", "503")
    assert list(parse(text)) == [name]
