"""What is said of a training, by its curves and its command accuracy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from rasa_ft_ext.train.verdict import judge

FALLING = [2 * 0.9**time for time in range(24)]
LEVEL = [2.0, 1.0, 0.5, 0.3, 0.2, *[0.15] * 19]
SETTLED = [0.5, 0.3, 0.25, 0.24, 0.24, 0.24]
RISING = [0.5, 0.3, 0.25, 0.3, 0.4, 0.5]
SETTINGS: dict[str, Any] = {"epochs": 6, "learning_rate": 1e-4, "lora_rank": 16}


def history(
    loss: Sequence[float] = (), eval_loss: Sequence[float] = (), accuracy: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """A training loss every 10 steps, an evaluation every 40, which is an epoch."""
    return [
        *({"step": 10 * time, "epoch": time / 4, "loss": value} for time, value in enumerate(loss, 1)),
        *({"step": 40 * time, "epoch": float(time), "eval_loss": value} for time, value in enumerate(eval_loss, 1)),
        *(
            {"step": 40 * time, "epoch": float(time), "eval_command_accuracy": value}
            for time, value in enumerate(accuracy, 1)
        ),
    ]


def test_learned_and_generalising_is_fine_and_the_figures_are_named() -> None:
    verdict = judge(history(LEVEL, SETTLED, [0.5, 0.7, 0.8, 0.85, 0.86, 0.86]), 0.99, 0.86, **SETTINGS)
    assert (verdict.kind, verdict.advice) == ("fine", ())
    assert "99 % of the training examples and 86 % of the validation examples" in verdict.text


def test_accuracy_decides_even_without_any_curve() -> None:
    kinds = {
        rates: judge([], *rates).kind
        for rates in ((0.95, 0.80), (0.94, 0.80), (0.95, 0.79), (0.50, 0.30), (0.90, 0.40), (None, 0.85), (0.5, None))
    }
    assert kinds == {
        (0.95, 0.80): "fine",
        (0.94, 0.80): "underfit",
        (0.95, 0.79): "overfit",
        (0.50, 0.30): "underfit",  # what it misses of the training set weighs more than the gap
        (0.90, 0.40): "overfit",
        (None, 0.85): "fine",
        (0.5, None): "underfit",
    }


def test_underfit_while_still_improving_advises_to_train_longer_first() -> None:
    verdict = judge(history(FALLING, [1.5, 1.2, 1.0, 0.8, 0.6, 0.5]), 0.61, 0.60, **SETTINGS)
    assert verdict.kind == "underfit"
    assert "61 %" in verdict.text
    assert "still getting better" in verdict.text
    assert verdict.advice[0] == "Train longer: --epochs 12 (now 6)."


def test_underfit_on_a_plateau_advises_larger_steps_first() -> None:
    verdict = judge(history(LEVEL, SETTLED), 0.61, 0.60, **SETTINGS)
    assert verdict.kind == "underfit"
    assert verdict.advice[0] == "Take larger steps: --learning-rate 0.0002 (now 0.0001)."
    assert "--lora-rank 32" in verdict.advice[1]


def test_without_an_adapter_nothing_is_said_of_its_rank() -> None:
    for rates in ((0.6, 0.6), (1.0, 0.5)):
        assert "--lora-rank" not in " ".join(judge([], *rates, epochs=3).advice)


def test_unknown_settings_are_advised_without_figures() -> None:
    assert judge(history(FALLING), 0.6, 0.6).advice[0] == "Train longer: more --epochs."


@pytest.mark.parametrize("losses", [[1, 0.8, 0.7, 0.9, 3, 5, 6, 7], [1, 0.8, 0.7, 0.6, float("nan")]])
def test_a_loss_that_grows_or_is_no_number_asks_for_smaller_steps(losses: list[float]) -> None:
    for rates in ((0.01, 0.0), (None, None)):
        verdict = judge(history(losses), *rates, **SETTINGS)
        assert verdict.kind == "underfit"
        assert "worse instead of better" in verdict.text
        assert verdict.advice == ("Take smaller steps: --learning-rate 5e-05 (now 0.0001).",)


def test_a_known_training_set_and_bad_answers_to_unseen_messages_is_overfit() -> None:
    verdict = judge(history(LEVEL, RISING), 1.0, 0.7, **SETTINGS)
    assert verdict.kind == "overfit"
    assert "lowest at step 120 (0.25) and rose to 0.5" in verdict.text
    assert verdict.advice[0] == "Train for less long: --epochs 3, or a lower --early-stopping-patience."
    advice = " ".join(verdict.advice)
    assert all(word in advice for word in ("E2E tests", "--num-rephrases", "--learning-rate 5e-05", "--lora-rank 8"))


def test_overfit_while_unseen_messages_still_get_better_may_train_longer() -> None:
    verdict = judge(history(LEVEL, [0.9, 0.7, 0.6, 0.5, 0.4, 0.3]), 1.0, 0.7, **SETTINGS)
    assert verdict.kind == "overfit"
    assert verdict.advice[0].startswith("Train longer: --epochs 12")
    assert "less long" not in " ".join(verdict.advice)


def test_overfit_in_steps_that_were_not_kept_is_fine_and_said() -> None:
    late = history(LEVEL, RISING, [0.5, 0.7, 0.86, 0.8, 0.75, 0.7])
    verdict = judge(late, 0.99, 0.86, best_step=120, **SETTINGS)
    assert verdict.kind == "fine"
    assert "fell from 86 % at step 120 to 70 %" in verdict.text
    assert "The model of step 120 was kept, so what came after it does no harm." in verdict.text
    assert verdict.advice == (
        "Save time, since the later steps were of no use: --epochs 3, or a lower --early-stopping-patience.",
    )


def test_the_same_with_the_last_model_kept_is_overfit() -> None:
    late = history(LEVEL, RISING, [0.5, 0.7, 0.95, 0.9, 0.85, 0.82])
    verdict = judge(late, 0.99, 0.82, best_step=None, **SETTINGS)
    assert verdict.kind == "overfit"
    assert verdict.advice[0] == "Train for less long: --epochs 3, or a lower --early-stopping-patience."
    assert "checkpoint with the best command accuracy" in verdict.advice[1]


def test_an_overfit_model_of_an_early_step_needs_data_rather_than_fewer_steps() -> None:
    verdict = judge(history(LEVEL, RISING), 1.0, 0.6, best_step=120, **SETTINGS)
    assert verdict.kind == "overfit"
    assert "E2E tests" in verdict.advice[0]


def test_a_rising_loss_with_steady_accuracy_is_fine() -> None:
    verdict = judge(history(LEVEL, RISING, [0.5, 0.7, 0.86, 0.87, 0.87, 0.88]), 0.99, 0.88, best_step=240, **SETTINGS)
    assert (verdict.kind, verdict.advice) == ("fine", ())
    assert "Command accuracy did not fall with it" in verdict.text


def test_the_history_gives_the_accuracy_of_the_kept_model() -> None:
    entries = history(LEVEL, SETTLED, [0.5, 0.85, 0.84])
    assert "84 % of the validation" in judge(entries, 1.0, None).text
    assert "85 % of the validation" in judge(entries, 1.0, None, best_step=80).text


def test_losses_decide_where_accuracy_was_not_measured() -> None:
    assert judge(history(LEVEL, RISING), None, None).kind == "overfit"
    assert judge(history(LEVEL, RISING), None, None, best_step=120).kind == "fine"
    assert judge(history(LEVEL, SETTLED), None, None).kind == "fine"
    assert judge(history(FALLING, [1.5, 1.2, 1.0, 0.8, 0.6, 0.5]), None, None).kind == "underfit"


@pytest.mark.parametrize(
    "losses",
    [
        [5.0, 3.0, 2.5, 2.6, 2.7],  # less than a tenth
        [0.01, 0.005, 0.001, 0.005, 0.01],  # many times as much, of next to nothing
        [0.5, 0.3, 0.25, 0.5, 0.26],  # one evaluation alone
        [0.5, 0.4, 0.3, 0.25, 0.4],
    ],
)
def test_small_and_single_rises_are_noise(losses: list[float]) -> None:
    assert judge(history(LEVEL, losses), None, None).kind == "fine"


def test_a_noisy_training_loss_has_neither_diverged_nor_is_it_falling() -> None:
    noise = random.Random(1)
    losses = [0.3 * noise.uniform(0.8, 1.2) for _ in range(200)]
    verdict = judge(history(losses), 0.99, 0.9)
    assert verdict.kind == "fine"
    assert "still" not in verdict.text
    assert judge(history(losses), 0.9, 0.88).advice[0].startswith("Take larger steps")


def test_without_a_validation_set_a_learned_training_set_says_nothing() -> None:
    verdict = judge(history(LEVEL), 1.0, None)
    assert verdict.kind == "unknown"
    assert "--train-frac" in verdict.advice[0]


def test_too_few_evaluations_are_not_judged_by() -> None:
    verdict = judge(history(LEVEL, [0.25, 0.5]), None, None)
    assert verdict.kind == "unknown"
    assert "too few evaluations (2)" in verdict.text
    assert judge(history(LEVEL, [0.25]), None, 0.6).kind == "unknown"


def test_nothing_at_all_is_unknown() -> None:
    verdict = judge([], None, None)
    assert verdict.kind == "unknown"
    assert verdict.advice


def test_a_figure_of_few_examples_has_its_range() -> None:
    assert "these are only 20: the true share may be anything from 64 % to 95 %" in (
        judge([], 1.0, 0.85, validation_examples=20).text
    )
    assert "only" not in judge([], 1.0, 0.85, validation_examples=2000).text


def test_entries_may_come_in_any_order() -> None:
    entries = history(LEVEL, RISING, [0.5, 0.7, 0.86, 0.85, 0.85, 0.85])
    shuffled = random.Random(3).sample(entries, len(entries))
    assert judge(shuffled, 0.99, 0.7, **SETTINGS) == judge(entries, 0.99, 0.7, **SETTINGS)
