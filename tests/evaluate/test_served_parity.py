"""Parity: two models are asked the same over HTTP, and every difference is found that rounding does not explain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.evaluate.parity import NoLogProbabilities, compare, difference
from rasa_ft_ext.evaluate.served import Served, Spoken, Token
from rasa_ft_ext.evaluation import ParityFigures
from tests.evaluate.evaluate_builders import Model, serving


def spoken(*tokens: tuple[str, float], other: tuple[str, float] = ("?", -9.0), prompt: int | None = 5) -> Spoken:
    made = tuple(Token(text, logprob, {text: logprob, other[0]: other[1]}) for text, logprob in tokens)
    return Spoken("".join(text for text, _ in tokens), made, prompt)


def test_equal_answers_are_equal() -> None:
    found = difference(spoken(("a", -0.1), ("b", -0.2)), spoken(("a", -0.1), ("b", -0.2)), 1e-3)
    assert (found.apart, found.problem, found.tie) == ((0.0, 0.0), None, False)


def test_log_probabilities_that_differ_are_a_problem() -> None:
    found = difference(spoken(("a", -0.1)), spoken(("a", -0.2)), 1e-3)
    assert found.problem == "log probabilities differ by 0.1, 0.001 is allowed"
    assert difference(spoken(("a", -0.1)), spoken(("a", -0.2)), 0.5).problem is None


def test_a_log_probability_that_is_no_number_is_a_problem() -> None:
    assert difference(spoken(("a", -0.1)), spoken(("a", float("nan"))), 1e-3).problem


def test_other_words_are_a_problem_unless_both_find_them_equally_likely() -> None:
    ours, theirs = spoken(("a", -0.7), other=("b", -0.7004)), spoken(("b", -0.7), other=("a", -0.7004))
    assert difference(ours, theirs, 1e-3).tie
    sure = spoken(("b", -0.1), other=("a", -2.0))
    found = difference(ours, sure, 1e-3)
    assert not found.tie
    assert found.problem == "the folder's model answers 'a', the served one 'b'"


def test_only_what_comes_before_a_tie_is_compared() -> None:
    ours = spoken(("x", -0.1), ("a", -0.7), ("c", -3.0), other=("b", -0.7))
    theirs = spoken(("x", -0.1), ("b", -0.7), ("d", -0.1), other=("a", -0.7))
    assert difference(ours, theirs, 1e-3).apart == (0.0,)


def test_another_number_of_prompt_tokens_is_a_problem() -> None:
    found = difference(spoken(("a", -0.1)), spoken(("a", -0.1), prompt=6), 1e-3)
    assert "tokenizer or chat template differ" in (found.problem or "")


def test_the_token_that_ends_an_answer_may_be_shown_or_not() -> None:
    ours = Spoken("a", (Token("a", -0.1, {}), Token("</s>", -0.1, {})), 5)
    assert difference(ours, spoken(("a", -0.1)), 1e-3).problem is None


def ask(reference: Model, served: Model, **options: Any) -> ParityFigures:
    with serving(reference) as one, serving(served) as other:
        given: dict[str, Any] = {"dtype": "float32", **options}
        models = (Served("student", one), Served("student", other))
        return asyncio.run(compare(*models, [f"prompt {number}" for number in range(8)], **given))


def model(**changes: Any) -> Model:
    return Model(**{"says": lambda prompt: f"set slot {prompt}", "logprob": lambda word: -0.125, **changes})


def test_the_same_model_twice_is_the_same() -> None:
    found = ask(model(), model())
    assert (found.prompts, found.largest_difference, found.problems) == (8, 0.0, ())


def test_another_model_is_found_and_not_every_prompt_is_listed() -> None:
    found = ask(model(), model(says=lambda prompt: f"start flow {prompt}"))
    assert len(found.problems) == 6
    assert found.problems[0].startswith("Prompt 1: the folder's model answers 'set slot prompt 0'")
    assert found.problems[-1] == "So do 3 more of the 8 prompts."


def test_small_differences_everywhere_are_found_by_their_mean() -> None:
    found = ask(model(), model(logprob=lambda word: -0.1254))
    assert found.problems == ("On average log probabilities differ by 0.0004, and 0.0001 is allowed.",)


def test_lower_precision_allows_more() -> None:
    other = model(logprob=lambda word: -0.15)
    assert ask(model(), other).problems
    assert not ask(model(), other, dtype="bfloat16").problems


def test_changed_files_are_a_problem() -> None:
    found = ask(model(), model(), changed=("merged/model.safetensors",))
    assert found.problems == ("Files of the model folder are not as the training left them: merged/model.safetensors.",)


def test_a_server_without_log_probabilities_cannot_be_compared() -> None:
    with pytest.raises(NoLogProbabilities, match="gives no log probabilities"):
        ask(model(), model(logprob=None))
    with pytest.raises(NoLogProbabilities, match="gives no log probabilities"):
        ask(model(), model(hidden=True))


def test_a_failed_call_is_an_error() -> None:
    with pytest.raises(LLMError, match="status 500: cannot"):
        ask(model(), model(says=lambda prompt: 500))
