"""Answers are those of plain greedy generation, one prompt at a time and without a cache."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from rasa_ft_ext.train import generation  # noqa: E402
from rasa_ft_ext.train.generation import answers  # noqa: E402
from rasa_ft_ext.train.sharing import enable  # noqa: E402
from tests.train.builders import END, KINDS, PAD, tiny_model, with_lora, words  # noqa: E402

OTHER_END = 7
LONGEST = 12


def prompts() -> list[tuple[int, ...]]:
    """Prompts with a common beginning, of unequal lengths; two are equal, one begins another."""
    chance = random.Random(1)
    begin = words(chance, 20)
    found = [tuple(begin + words(chance, count)) for count in (3, 1, 15, 8, 8, 30)]
    return [*found, found[3], (*found[0], 5, 6), tuple(begin)]


def plainly(model: Any, prompt: tuple[int, ...], end: set[int], longest: int = LONGEST) -> tuple[int, ...]:
    """The likeliest token, again and again; everything is computed anew each time."""
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + longest:
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in end:
                break
            ids.append(token)
    return tuple(ids[len(prompt) :])


def written(model: Any, given: list[tuple[int, ...]], **options: Any) -> list[tuple[int, ...]]:
    return answers(model, given, **{"end": (END,), "pad": PAD, "longest": LONGEST, "batch_size": 4, **options})


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_plain_greedy_generation(kind: str, adapted: bool) -> None:
    model = tiny_model(kind)
    model = with_lora(model) if adapted else model
    enable(model.get_base_model() if adapted else model)
    ends = {END, OTHER_END, *range(10, 30)}
    expected = [plainly(model.eval(), prompt, ends) for prompt in prompts()]
    assert len({len(answer) for answer in expected}) > 2, "answers should end at different places"

    assert written(model, prompts(), end=ends) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_size_of_batches_does_not_matter(batch_size: int) -> None:
    model = tiny_model("Llama").eval()
    expected = [plainly(model, prompt, {END}) for prompt in prompts()]

    assert written(model, prompts(), batch_size=batch_size) == expected


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([prompts()[0]], id="one prompt"),
        pytest.param([prompts()[0]] * 3, id="equal prompts"),
        pytest.param([prompts()[8], prompts()[0]], id="one begins the other"),
        pytest.param([prompts()[0], prompts()[8]], id="the other way round"),
        pytest.param([(5,), (5, 6)], id="one token"),
        pytest.param([(5, 9, 11), (6, 9)], id="nothing in common"),
    ],
)
def test_few_prompts_are_answered_as_well(given: list[tuple[int, ...]]) -> None:
    model = tiny_model("Llama").eval()

    assert written(model, given) == [plainly(model, prompt, {END}) for prompt in given]


def test_each_end_token_ends_an_answer_and_is_not_part_of_it() -> None:
    model = tiny_model("Llama").eval()
    (whole,) = written(model, prompts()[:1], end=(END,))
    place = next(at for at in range(1, len(whole)) if whole[at] not in whole[:at])

    assert written(model, prompts()[:1], end=(END, whole[place])) == [whole[:place]]
    assert written(model, prompts()[:1], end=(whole[0], END)) == [()]


def test_an_answer_is_cut_off_after_the_longest_one() -> None:
    model = tiny_model("Llama").eval()
    (whole,) = written(model, prompts()[:1], end=(END,), longest=9)

    assert len(whole) == 9
    assert written(model, prompts()[:1], end=(END,), longest=4) == [whole[:4]]


def test_the_padding_token_is_never_looked_at() -> None:
    model = tiny_model("Llama").eval()
    expected = written(model, prompts(), pad=PAD)

    assert written(model, prompts(), pad=END) == expected
    assert written(model, prompts(), pad=123) == expected


def test_what_the_bases_generation_config_says_is_of_no_account() -> None:
    model = tiny_model("Llama").eval()
    expected = [plainly(model, prompt, {END}) for prompt in prompts()]
    for name, value in {
        "do_sample": True,
        "temperature": 5.0,
        "top_k": 3,
        "repetition_penalty": 5.0,
        "no_repeat_ngram_size": 1,
        "suppress_tokens": [answer[0] for answer in expected],
        "min_new_tokens": 10,
        "forced_eos_token_id": 9,
        "max_length": 3,
    }.items():
        setattr(model.generation_config, name, value)
    kept = model.generation_config

    assert written(model, prompts()) == expected
    assert written(with_nothing(model), prompts()) == expected
    assert model.generation_config is kept


def with_nothing(model: Any) -> Any:
    """An adapter that changes nothing."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"))


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_in_the_mode_it_was_in(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("Llama").train(training)
    written(model, prompts())
    assert model.training is training
    assert all(not parameter.grad_fn for parameter in model.parameters())

    monkeypatch.setattr(generation, "_padded", lambda *args: pytest.fail("out of memory, say"))
    with pytest.raises(pytest.fail.Exception):
        written(model, prompts())
    assert model.training is training


def test_there_is_no_dropout_in_an_answer() -> None:
    model = tiny_model("Llama", attention_dropout=0.9)

    assert written(model.train(), prompts()) == written(model.eval(), prompts())


def test_nothing_is_answered_to_no_prompt() -> None:
    assert written(tiny_model("Llama"), []) == []


def test_it_is_told_how_many_prompts_are_done() -> None:
    told: list[int] = []
    written(tiny_model("Llama"), prompts(), done=told.append)

    assert told == [4, 4, 1]


def test_what_all_prompts_share_is_computed_once() -> None:
    model = tiny_model("Llama")
    computed: list[int] = []
    model.model.register_forward_pre_hook(
        lambda module, args, given: computed.append(given["input_ids"].numel()), with_kwargs=True
    )
    written(model, prompts()[:6], batch_size=6, longest=1)

    assert computed == [20, 6 * 30]
