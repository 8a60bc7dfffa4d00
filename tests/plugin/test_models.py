"""The server's list of models: names, and the owner by which a server names itself."""

import pytest

from llmlocust.plugin.startup.models import listed, owner


@pytest.mark.parametrize(
    "body, name",
    [
        (b'{"data": [{"id": "m", "owned_by": "vllm"}]}', "vllm"),
        (b'{"data": [{"id": "m", "owned_by": "llamacpp"}], "models": [{"name": "m"}]}', "llamacpp"),
        (b'{"data": [{"id": "m"}, {"id": "n", "owned_by": "sglang"}]}', "sglang"),
        (b'["m", "n"]', ""),
        (b'{"data": [{"id": "m", "owned_by": 5}]}', ""),
        (b'{"data": [{"id": "m", "owned_by": "a\\u0007b"}]}', ""),
        (b'{"data": [{"id": "m", "owned_by": "%s"}]}' % (b"x" * 999), "x" * 60),
        (b"<html>", ""),
    ],
)
def test_the_owner_of_a_model_is_the_name_that_a_server_gives_itself(body, name):
    assert owner(body) == name


def test_a_body_without_a_list_has_no_names():
    assert listed(b"<html>") is None
    assert listed(b'{"data": []}') == []
