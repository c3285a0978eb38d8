"""transformers as a model server: it answers as vLLM does, and refuses what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.model_server.transformers import TransformersServer
from rasa_ft_ext.model_server.vllm import VllmServer
from tests.model_server.conftest import KEY
from tests.served import ROWS, call, chat, post

PROMPTS = [*(row["prompt"] for row in ROWS), "Hello", "東京 ö 🙂 " * 4]


@pytest.fixture(scope="session")
def base(tiny_model: Path) -> Iterator[TransformersServer]:
    """The whole model, with room for 256 tokens, behind a key."""
    settings = ServeSettings(model=str(tiny_model), name="base", port=0, api_key=KEY, max_model_len=256)
    with TransformersServer(settings) as server:
        yield server


@pytest.fixture(scope="session")
def tuned(tiny_model: Path, tiny_adapter: Path) -> Iterator[TransformersServer]:
    adapter, model = str(tiny_adapter), str(tiny_model)
    settings = ServeSettings(
        model=model, name="tuned", lora=adapter, tokenizer=adapter, generation_config=model, port=0, api_key=KEY
    )
    with TransformersServer(settings) as server:
        yield server


@pytest.mark.parametrize("name", ["base", "tuned"])
def test_vllm_and_transformers_answer_alike(vllm_server: VllmServer, name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(name)
    furthest = 0.0
    for prompt in PROMPTS:
        question = chat(prompt, model=name)
        (first, theirs), (second, ours) = (post(one.base_url, question, key=KEY) for one in (vllm_server, server))
        assert (first, second) == (200, 200), (theirs, ours)
        assert {key: theirs["usage"][key] for key in ours["usage"]} == ours["usage"]
        said, repeated = theirs["choices"][0], ours["choices"][0]
        assert said["message"]["content"] == repeated["message"]["content"]
        assert said["finish_reason"] == repeated["finish_reason"]
        furthest = max(furthest, distance(said["logprobs"]["content"], repeated["logprobs"]["content"]))
    print(f"largest difference of a log-probability: {furthest:.2g}")
    assert furthest < 1e-4


def distance(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    """The largest difference of a log-probability, where the tokens are the same."""
    furthest = 0.0
    for first, second in zip(one, other, strict=True):
        for a, b in zip([first, *first["top_logprobs"]], [second, *second["top_logprobs"]], strict=True):
            assert (a["token"], a["bytes"]) == (b["token"], b["bytes"])
            furthest = max(furthest, abs(a["logprob"] - b["logprob"]))
    return furthest


def test_a_request_without_the_key_is_refused(base: TransformersServer) -> None:
    assert post(base.base_url, chat("Hello"))[0] == 401
    assert post(base.base_url, chat("Hello"), key="other")[0] == 401
    assert call(f"{base.base_url}/models")[0] == 401
    assert call(base.base_url.replace("/v1", "/health"))[0] == 200


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"temperature": 0.7}, 400, "'temperature': 0.7"),
        ({"stream": True}, 400, "'stream'"),
        ({"n": 2}, 400, "'n'"),
        ({"stop": ["\n"]}, 400, "'stop'"),
        ({"tools": [{"type": "function"}]}, 400, "'tools'"),
        ({"response_format": {"type": "json_object"}}, 400, "'response_format'"),
        ({"max_tokens": 0}, 400, "'max_tokens'"),
        ({"max_tokens": True}, 400, "'max_tokens'"),
        ({"max_tokens": 257}, 400, "maximum context length is 256"),
        ({"messages": []}, 400, "'messages'"),
        ({"messages": [{"role": "user", "content": 3}]}, 400, "'content'"),
        ({"messages": [{"role": "user", "content": "word " * 300}]}, 400, "maximum context length is 256"),
        ({"top_logprobs": 21}, 400, "'top_logprobs'"),
        ({"logprobs": False}, 400, "'top_logprobs'"),
        ({"model": "other"}, 404, "'other'"),
    ],
)
def test_what_it_cannot_do_is_refused(base: TransformersServer, more: dict[str, Any], status: int, said: str) -> None:
    found, answer = post(base.base_url, chat("Hello", **more), key=KEY)
    assert found == status
    assert said in answer["error"]["message"]
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_an_answer_ends_at_the_limit(base: TransformersServer) -> None:
    question = chat("Hello", max_tokens=3, n=1, stream=False, stop=None, user="somebody")
    status, answer = post(base.base_url, question, key=KEY)
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"
    del question["max_tokens"]
    answer = post(base.base_url, question, key=KEY)[1]
    assert answer["usage"]["total_tokens"] == 256 or answer["choices"][0]["finish_reason"] == "stop"


def test_contents_in_parts_are_joined(base: TransformersServer) -> None:
    parts = [{"type": "text", "text": "I need"}, {"type": "text", "text": "a car"}]
    whole, joined = (
        post(base.base_url, chat("", messages=[{"role": "user", "content": content}]), key=KEY)[1]
        for content in ("I need\na car", parts)
    )
    assert whole["choices"] == joined["choices"]


def test_the_key_is_not_in_the_command(base: TransformersServer) -> None:
    assert not any(KEY in word for word in base.command(1))
    assert base.environment()["VLLM_API_KEY"] == KEY


def test_arguments_for_vllm_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-num-seqs"):
        TransformersServer(ServeSettings(model="some/model", name="mine", extra=("--max-num-seqs", "8")))
