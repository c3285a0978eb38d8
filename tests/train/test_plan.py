"""Whether prefixes are shared is decided by what it saves, and always said with its reason."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from rasa_ft_ext.errors import TrainingError  # noqa: E402
from rasa_ft_ext.train.data import Tokens  # noqa: E402
from rasa_ft_ext.train.plan import SharingPlan, plan_sharing  # noqa: E402
from tests.train.builders import settings_for, tiny_model, tokens, words  # noqa: E402


class Words:
    """Stands in for a tokenizer."""

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def plan(
    examples: list[Tokens], model: Any = None, *, exact: bool = True, text: Any = None, **given: Any
) -> SharingPlan:
    settings = settings_for("base", **{"batch_size": 4, **given})
    return plan_sharing(settings, model or tiny_model("Llama"), examples, text or Words(), exact=exact)


def alike(count: int = 8) -> list[Tokens]:
    """Prompts of 100 tokens that differ in the last ten."""
    chance = random.Random(1)
    begin = words(chance, 90)
    return [tokens(begin + words(chance, 10), words(chance, 4)) for _ in range(count)]


def dated(count: int = 8) -> list[Tokens]:
    """The same with another token at the fourth place of each."""
    return [
        Tokens(example.name, (*example.ids[:3], 100 + n, *example.ids[4:]), example.prompt_length, example.completion)
        for n, example in enumerate(alike(count))
    ]


@pytest.mark.parametrize("wanted", ["auto", "on"])
def test_prefixes_are_shared_where_it_saves_a_lot(wanted: str) -> None:
    found = plan(alike(), prefix_sharing=wanted)

    unique = 2 * (90 + 4 * 15)
    assert (found.on, found.raw_tokens, found.unique_tokens) == (True, 8 * 105, unique)
    figures = "840 tokens an epoch, 300 of them unique within their batch (2.8 : 1)"
    assert found.text == f"Prefix sharing: {figures}; only these are computed."


def test_the_last_smaller_batch_counts() -> None:
    assert plan(alike(5)).unique_tokens == 90 + 4 * 15 + 105


def test_prefixes_are_not_shared_when_switched_off() -> None:
    found = plan(alike(), prefix_sharing="off")

    assert (found.on, found.unique_tokens) == (False, 840)
    assert found.text.startswith("Prefix sharing is switched off: 840 tokens an epoch, 300 of them unique")


def test_a_date_at_the_top_is_told_with_its_place() -> None:
    found = plan(dated(), text=Dated())

    assert not found.on
    assert "it would save little: prompts mostly differ from token 3 of 105 on, around 'the <date> 2026" in found.text
    assert "A date or another changing line at the top" in found.text
    assert plan(dated(), prefix_sharing="on").on


class Dated:
    def decode(self, ids: list[int]) -> str:
        return " ".join("<date> 2026" if 100 <= token < 108 else "the" for token in ids[2:])


def test_a_batch_of_one_shares_nothing() -> None:
    found = plan(alike(), batch_size=1)

    assert not found.on
    assert "it would save little: batch_size is 1." in found.text


def test_a_single_example_shares_nothing() -> None:
    assert "there is one example only" in plan(alike(1)).text


@pytest.mark.parametrize(
    ("config", "given", "reason"),
    [
        ({}, {"lora_dropout": 0.05}, "lora_dropout is 0.05, and what examples share cannot be dropped"),
        ({"attention_dropout": 0.1}, {}, "drops 10% of its attention"),
        ({"sliding_window": 50}, {}, "reaches back 50 tokens only, the longest example has 105"),
    ],
)
def test_what_cannot_be_exact_is_off_with_its_reason(config: Any, given: Any, reason: str) -> None:
    model = tiny_model("Mistral", **config)
    found = plan(alike(), model, **given)

    assert (found.on, found.unique_tokens) == (False, 840)
    assert "Prefix sharing is off: " in found.text
    assert reason in found.text
    assert "2.8 : 1" in found.text
    if not given:
        with pytest.raises(TrainingError, match=r"cannot be shared: .*Set prefix_sharing to auto or off"):
            plan(alike(), model, prefix_sharing="on")


def test_any_dropout_of_the_model_is_a_reason() -> None:
    model = tiny_model("Llama")
    model.model.layers[0].mlp.add_module("dropout", torch.nn.Dropout(0.1))

    assert "drops 10% " in plan(alike(), model).text
    assert not plan(alike(), model).on
    model.model.layers[0].mlp.dropout.p = 0.0
    assert plan(alike(), model).on


def test_the_dropout_of_an_adapter_that_is_not_trained_is_no_reason() -> None:
    assert plan(alike(), method="full", lora_dropout=0.05).on


def test_numbers_that_were_not_the_models_own_turn_it_off_or_are_an_error() -> None:
    found = plan(alike(), exact=False)

    assert not found.on
    assert "off: its numbers are not those of the plain step with this model. There are 840 tokens" in found.text
    with pytest.raises(TrainingError, match="numbers are not those of the plain step"):
        plan(alike(), exact=False, prefix_sharing="on")
