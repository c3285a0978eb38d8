"""What is measured is what the model says: the loss of its tokens, and the answers that it would give."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from rasa_ft_ext.scores import score  # noqa: E402
from rasa_ft_ext.train import evaluation as module  # noqa: E402
from rasa_ft_ext.train.chat import load_chat  # noqa: E402
from rasa_ft_ext.train.data import Tokens, given_data, tokenize  # noqa: E402
from rasa_ft_ext.train.evaluation import Evaluation, Evaluator  # noqa: E402
from rasa_ft_ext.train.exactness import is_exact  # noqa: E402
from rasa_ft_ext.train.generation import answers  # noqa: E402
from rasa_ft_ext.train.sharing import enable  # noqa: E402
from tests.train.builders import KINDS, PAD, settings_for, tiny_model, tokens, train, with_lora, words  # noqa: E402

Half = tuple[Any, Evaluator]


@pytest.fixture(scope="module")
def half_learned(tiny_base: Path, tiny_rows: Path) -> Half:
    """A model that answers some of twelve examples rightly, and its evaluator."""
    from rasa_ft_ext.train.base import load_base

    chat = load_chat(str(tiny_base), revision=None, chat_template=None, chat_template_kwargs={})
    examples = tokenize(given_data(tiny_rows, None).train, chat, 512).kept
    model = load_base(settings_for(tiny_base, method="full"), device="cpu")
    train(model, examples[:6], steps=14, rate=1e-2)
    enable(model)
    return model, Evaluator(
        examples=examples, chat=chat, syntax="v2", flows=None, sharing=True, batch_size=5, longest=40
    )


def plain_loss(model: Any, examples: list[Tokens]) -> float:
    losses = []
    for example in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.ids])).logits[0].log_softmax(-1)
        for place in range(example.prompt_length, len(example.ids)):
            losses.append(-float(logits[place - 1, example.ids[place]]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("sharing", [False, True])
def test_the_loss_is_the_mean_of_all_learned_tokens(sharing: bool, half_learned: Half) -> None:
    model, evaluator = half_learned
    found = replace(evaluator, sharing=sharing).run(model)

    assert found.loss == pytest.approx(plain_loss(model.eval(), list(evaluator.examples)), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_batches_change_nothing(batch_size: int, half_learned: Half) -> None:
    model, evaluator = half_learned
    found, other = evaluator.run(model), replace(evaluator, batch_size=batch_size, sharing=False).run(model)

    assert (other.answers, other.scores) == (found.answers, found.scores)
    assert other.loss == pytest.approx(found.loss, abs=1e-5)


def test_answers_are_those_of_generating_all_of_them(half_learned: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    model, evaluator = half_learned
    prompts = [example.ids[: example.prompt_length] for example in evaluator.examples]
    chat = evaluator.chat
    whole = answers(model, prompts, end=chat.stop_ids, pad=chat.pad_id, longest=40)
    generated: list[int] = []
    monkeypatch.setattr(
        module, "answers", lambda model, given, **how: (generated.append(len(given)), answers(model, given, **how))[1]
    )

    found = evaluator.run(model)

    assert found.answers == tuple(chat.decode(prompt, ids) for prompt, ids in zip(prompts, whole, strict=True))
    right = [example.completion == answer for example, answer in zip(evaluator.examples, found.answers, strict=True)]
    assert 0 < sum(right) < 12, "some should be right and some wrong"
    assert generated == [12 - sum(right)], "only what is not as expected should be generated"


def test_answers_are_scored_as_commands_against_what_is_expected(half_learned: Half) -> None:
    model, evaluator = half_learned
    found = evaluator.run(model)
    pairs = [(example.completion, text) for example, text in zip(evaluator.examples, found.answers, strict=True)]

    assert found.scores == score(pairs, "v2", None)
    assert found.scores.examples == 12
    assert 0 < (found.scores.exact_match or 0) < 1
    some = replace(evaluator, flows={"rent_car"}).run(model)
    assert some.scores == score(pairs, "v2", {"rent_car"}) != found.scores


def test_each_example_is_told_as_done_once(half_learned: Half) -> None:
    model, evaluator = half_learned
    told: list[int] = []
    evaluator.run(model, told.append)

    assert sum(told) == 12


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_in_the_mode_it_was_in(training: bool, half_learned: Half) -> None:
    model, evaluator = half_learned
    evaluator.run(model.train(training))

    assert model.training is training
    model.eval()


def test_an_evaluation_takes_nothing_from_the_random_numbers_of_the_training(half_learned: Half) -> None:
    model, evaluator = half_learned
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    evaluator.run(model)

    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_there_must_be_something_to_evaluate_on(half_learned: Half) -> None:
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        replace(half_learned[1], examples=[]).run(half_learned[0])


def test_an_evaluation_says_what_it_found(half_learned: Half) -> None:
    assert isinstance(half_learned[1].run(half_learned[0]), Evaluation)


# ---- whether sharing gives the model's own numbers


def few() -> list[Tokens]:
    chance = random.Random(2)
    begin = words(chance, 30)
    return [tokens(begin + words(chance, 3 + n), words(chance, 2)) for n in range(5)]


@pytest.mark.parametrize("kind", KINDS)
def test_sharing_is_exact_with_plain_attention(kind: str) -> None:
    model, adapted = tiny_model(kind), with_lora(tiny_model(kind))
    enable(model)
    enable(adapted.get_base_model())

    assert is_exact(model.train(), few(), PAD)
    assert is_exact(adapted, few(), PAD)
    assert model.training


def test_sharing_is_not_exact_where_attention_hears_nothing_of_the_tree() -> None:
    model = tiny_model("Llama")
    enable(model)
    forget(model)

    assert not is_exact(model, few(), PAD)


def forget(model: Any) -> None:
    """Let a model's layers lose the keyword, as a model's code of its own may do."""
    for layer in model.model.layers:
        forward = layer.self_attn.forward
        layer.self_attn.forward = lambda *args, forward=forward, prefix_tree=None, **given: forward(*args, **given)


def test_sharing_is_not_exact_where_places_are_counted_anew() -> None:
    model = tiny_model("Llama")
    enable(model)
    forward = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda states, position_ids: forward(
        states, position_ids=torch.arange(states.shape[1])[None]
    )

    assert not is_exact(model, few(), PAD)


def test_a_model_that_does_not_take_the_tree_is_not_exact() -> None:
    model = tiny_model("Llama")
    enable(model)
    forward = model.forward

    def strict(
        input_ids: Any = None, attention_mask: Any = None, use_cache: bool = False, logits_to_keep: Any = 0
    ) -> Any:
        return forward(input_ids, attention_mask, use_cache=use_cache, logits_to_keep=logits_to_keep)

    model.forward = strict

    assert not is_exact(model, few(), PAD)
