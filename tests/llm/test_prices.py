"""Prices: litellm's own, without litellm; what is not known stays unknown."""

from __future__ import annotations

import subprocess
import sys

import litellm
import pytest

from rasa_ft_ext.llm.prices import Prices, dollars


@pytest.mark.parametrize(
    "model",
    [
        *("openai/gpt-4.1-mini-2025-04-14", "openai/gpt-4o", "azure/gpt-4o", "anthropic/claude-sonnet-4-5"),
        *("gemini/gemini-2.5-flash", "mistral/mistral-large-latest", "groq/llama-3.3-70b-versatile"),
        *("bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", "deepseek/deepseek-chat", "cohere/command-r-08-2024"),
    ],
)
def test_a_price_is_that_of_litellm(model: str) -> None:
    theirs = sum(litellm.cost_per_token(model=model, prompt_tokens=1000, completion_tokens=500))

    assert theirs > 0
    assert Prices().cost(model, 1000, 500) == pytest.approx(theirs)


@pytest.mark.parametrize(
    "model", ["self-hosted/gpt-4o", "anthropic/gpt-4o", "azure/my-deployment", "openai/gpt-of-mine", "gpt-x", ""]
)
def test_a_price_that_nobody_knows_is_none_and_not_0(model: str) -> None:
    assert Prices().cost(model, 1000, 500) is None
    assert Prices((0.001, 0.002)).cost(model, 1000, 500) == pytest.approx(2)


def test_a_given_price_does_not_replace_a_known_one() -> None:
    assert Prices((1.0, 1.0)).of("openai/gpt-4o") == Prices().of("openai/gpt-4o")


def test_a_model_that_the_table_lists_as_free_has_no_known_price() -> None:
    free = [
        name
        for name, entry in litellm.model_cost.items()
        if name.startswith("openrouter/")
        and entry.get("input_cost_per_token") == 0 == entry.get("output_cost_per_token")
    ]
    assert free
    assert {Prices().of(name) for name in free} == {None}


def test_batches_cost_half() -> None:
    prices = Prices((0.001, 0.002))
    for model in ("openai/gpt-4o", "self-hosted/mine"):
        whole = prices.cost(model, 1000, 500)
        assert whole is not None
        assert prices.cost(model, 1000, 500, batch=True) == pytest.approx(whole / 2)


def test_a_price_does_not_cost_the_import_of_litellm() -> None:
    code = "import sys; from rasa_ft_ext.llm.prices import Prices; assert Prices().of('openai/gpt-4o'); "
    code += "assert 'litellm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_amounts_are_read_by_people() -> None:
    amounts = (None, 0.0, 0.00001, 0.0123, 1.0, 1234.5)
    assert [dollars(amount) for amount in amounts] == [
        *("unknown", "0.00 dollars", "under 0.0001 dollars", "0.0123 dollars", "1.00 dollars", "1,234.50 dollars"),
    ]
