"""The Trainer is TRL's, with our settings, our batches and our choice of the best checkpoint."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from rasa_ft_ext.scores import Rates, Scores  # noqa: E402
from rasa_ft_ext.train import trainer as module  # noqa: E402
from rasa_ft_ext.train.base import load_base  # noqa: E402
from rasa_ft_ext.train.chat import Chat, load_chat  # noqa: E402
from rasa_ft_ext.train.data import Tokens, given_data, tokenize  # noqa: E402
from rasa_ft_ext.train.evaluation import Evaluation, Evaluator  # noqa: E402
from rasa_ft_ext.train.sharing import enable  # noqa: E402
from rasa_ft_ext.train.trainer import (  # noqa: E402
    CommandTrainer,
    early_stopping,
    selection,
    steps_per_epoch,
    trainer_config,
)
from tests.train.builders import settings_for  # noqa: E402


@pytest.fixture(scope="module")
def chat(tiny_base: Path) -> Chat:
    return load_chat(str(tiny_base), revision=None, chat_template=None, chat_template_kwargs={})


@pytest.fixture(scope="module")
def examples(tiny_rows: Path, chat: Chat) -> list[Tokens]:
    return tokenize(given_data(tiny_rows, None).train, chat, 512).kept


def config(
    folder: Path = Path("c"), *, device: str = "cpu", count: int = 100, evaluates: bool = True, **given: Any
) -> Any:
    settings = settings_for("base", **{"report_to": "none", "device": "auto", **given})
    return trainer_config(settings, folder, device=device, examples=count, processes=1, evaluates=evaluates)


def trainer(
    base: Path,
    folder: Path,
    chat: Chat,
    examples: list[Tokens],
    *,
    sharing: bool = True,
    evaluates: bool = False,
    **given: Any,
) -> CommandTrainer:
    settings = settings_for(base, **{"method": "full", "batch_size": 4, "report_to": "none", "epochs": 2, **given})
    model = load_base(settings, device="cpu")
    if sharing:
        enable(model)
    evaluator = Evaluator(
        examples=examples[:1], chat=chat, syntax="v2", flows=None, sharing=sharing, batch_size=4, longest=8
    )
    return CommandTrainer(
        model,
        trainer_config(settings, folder, device="cpu", examples=len(examples), processes=1, evaluates=evaluates),
        chat=chat,
        examples=examples,
        sharing=sharing,
        evaluator=evaluator if evaluates else None,
        callbacks=early_stopping(settings) if evaluates else [],
    )


# ---- settings


def test_the_settings_arrive() -> None:
    found = config(
        batch_size=5,
        gradient_accumulation=3,
        epochs=2.5,
        max_steps=70,
        learning_rate=3e-4,
        scheduler="linear",
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_grad_norm=0.5,
        seed=7,
        report_to="tensorboard,wandb",
    )

    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (5, 3)
    assert (found.num_train_epochs, found.max_steps) == (2.5, 70)
    assert (found.learning_rate, str(found.lr_scheduler_type.value)) == (3e-4, "linear")
    assert found.get_warmup_steps(70) == 7
    assert (found.weight_decay, found.max_grad_norm, found.seed, found.data_seed) == (0.01, 0.5, 7, 7)
    assert found.report_to == ["tensorboard", "wandb"]
    assert found.optim.value.startswith("adamw_torch")


def test_what_is_left_out_is_what_the_settings_say() -> None:
    found = config()

    assert found.max_steps == -1
    assert found.learning_rate == 2e-4
    assert config(method="full").learning_rate == 1e-5
    assert found.report_to == []
    assert found.get_warmup_steps(100) == 5
    assert found.metric_for_best_model == "selection"
    assert found.greater_is_better


def test_nothing_is_cut_off_or_packed() -> None:
    found = config()

    assert found.max_length is None
    assert not found.packing
    assert found.dataset_kwargs == {"skip_prepare_dataset": True}


@pytest.mark.parametrize(
    ("device", "given", "on"),
    [("cpu", None, False), ("cpu", True, True)],
)
def test_gradients_are_checkpointed_where_it_is_wanted(device: str, given: bool | None, on: bool) -> None:
    assert config(device=device, gradient_checkpointing=given).gradient_checkpointing is on


def test_without_a_validation_set_nothing_is_evaluated_and_the_last_step_is_kept() -> None:
    found = config(evaluates=False)

    assert (found.eval_strategy.value, found.load_best_model_at_end, found.metric_for_best_model) == ("no", False, None)
    assert (found.save_strategy.value, found.save_steps) == ("steps", 7)


@pytest.mark.parametrize(
    ("count", "given", "steps", "between"),
    [
        (100, {}, 7, 7),
        (96, {}, 6, 6),
        (97, {}, 7, 7),
        (100, {"gradient_accumulation": 2}, 4, 4),
        (100, {"evaluations_per_epoch": 2}, 7, 4),
        (100, {"evaluations_per_epoch": 0.5}, 7, 14),
        (100, {"evaluations_per_epoch": 100}, 7, 1),
        (3, {}, 1, 1),
    ],
)
def test_evaluations_and_checkpoints_fall_on_the_same_steps(count: int, given: Any, steps: int, between: int) -> None:
    found = config(count=count, **given)

    assert steps_per_epoch(settings_for("base", **given), count, 1) == steps
    assert (found.eval_steps, found.save_steps) == (between, between)


def test_processes_share_the_steps_of_an_epoch() -> None:
    assert steps_per_epoch(settings_for("base"), 100, 4) == 2


# ---- training


@pytest.mark.parametrize("sharing", [False, True])
def test_each_epoch_has_every_example_once_in_another_order(
    sharing: bool,
    tiny_base: Path,
    tmp_path: Path,
    chat: Chat,
    examples: list[Tokens],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[str]] = []
    make = module.make_batch

    def recorded(drawn: Any, **how: Any) -> Any:
        batches.append([example.name for example in drawn])
        return make(drawn, **how)

    monkeypatch.setattr(module, "make_batch", recorded)
    trainer(tiny_base, tmp_path, chat, examples[:11], sharing=sharing).train()

    assert [len(batch) for batch in batches] == [4, 4, 3] * 2
    first, second = ([name for batch in batches[start : start + 3] for name in batch] for start in (0, 3))
    assert Counter(first) == Counter(second) == Counter(example.name for example in examples[:11])
    assert first != second


def trained_weights(made: CommandTrainer) -> dict[str, Any]:
    made.train()
    return {name: value.clone() for name, value in made.model.state_dict().items()}


def losses(made: CommandTrainer) -> list[float]:
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


def test_sharing_changes_nothing_in_a_training(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens]
) -> None:
    shared = trainer(tiny_base, tmp_path / "a", chat, examples[:11], weight_decay=0.1)
    plain = trainer(tiny_base, tmp_path / "b", chat, examples[:11], weight_decay=0.1, sharing=False)
    shared.train()
    plain.train()

    assert len(losses(shared)) == 6
    assert losses(shared) == pytest.approx(losses(plain), abs=1e-5)


def test_accumulated_batches_weigh_each_token_alike(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens]
) -> None:
    """Half the batch, twice: the same loss, although the halves have unequal numbers of learned tokens."""
    whole = trainer(tiny_base, tmp_path / "a", chat, examples, max_steps=3)
    halves = trainer(tiny_base, tmp_path / "b", chat, examples, max_steps=3, batch_size=2, gradient_accumulation=2)
    whole.train()
    halves.train()

    assert losses(halves) == pytest.approx(losses(whole), abs=1e-5)


def test_the_last_smaller_step_weighs_its_own_tokens_only(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens]
) -> None:
    """Five examples in batches of two, two at a time: a step of four and a step of one."""
    made = trainer(tiny_base, tmp_path, chat, examples[:5], batch_size=2, gradient_accumulation=2, epochs=1)
    shared = trainer(tiny_base, tmp_path / "b", chat, examples[:5], batch_size=4, epochs=1)
    made.train()
    shared.train()

    assert made.state.global_step == 2
    assert losses(made) == pytest.approx(losses(shared), abs=1e-5)


# ---- the best checkpoint


def scores(accuracy: float) -> Scores:
    rates = {"StartFlow": Rates(precision=0.5, recall=1.0, f1=0.6, support=4)}
    return Scores(
        examples=10,
        exact_match=accuracy,
        slot_value_accuracy=None,
        unparsable=0.1,
        micro_f1=0.7,
        macro_f1=0.8,
        by_command=rates,
        by_flow={},
        by_slot={},
    )


def evaluation(accuracy: float | None, loss: float) -> Evaluation:
    return Evaluation(loss, scores(accuracy), ())


def scripted(monkeypatch: pytest.MonkeyPatch, *found: tuple[float | None, float]) -> None:
    """Let evaluations come to these, one after the other."""
    left = iter(found)
    monkeypatch.setattr(Evaluator, "run", lambda self, model, done=None: evaluation(*next(left)))


def test_the_best_has_the_highest_accuracy_and_then_the_lowest_loss() -> None:
    order = [(0.5, 9.0), (0.5, 0.1), (0.501, 9.0), (1.0, 5.0), (1.0, 0.0)]
    values = [selection(evaluation(*entry)) for entry in order]

    assert values == sorted(values)
    assert len(set(values)) == len(values)
    assert selection(evaluation(None, 1.0)) < selection(evaluation(0.001, 9.0))


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([(0.2, 0.1), (0.5, 0.9), (0.5, 0.8), (0.3, 0.2)], 9),
        ([(0.5, 0.8), (0.5, 0.9), (0.4, 0.1), (0.5, 0.8)], 3),
        ([(0.1, float("nan")), (0.0, 2.0), (0.1, float("nan")), (0.1, float("inf"))], 12),
    ],
)
def test_the_best_checkpoint_is_loaded_at_the_end(
    found: list[tuple[float, float]],
    best: int,
    tiny_base: Path,
    tmp_path: Path,
    chat: Chat,
    examples: list[Tokens],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, *found)
    made = trainer(tiny_base, tmp_path, chat, examples, evaluates=True, epochs=4, learning_rate=1e-3)
    kept: dict[int, Any] = {}
    save = made._save_checkpoint

    def recorded(model: Any, trial: Any) -> None:
        kept[made.state.global_step] = made.model.lm_head.weight.detach().clone()
        save(model, trial)

    monkeypatch.setattr(made, "_save_checkpoint", recorded)
    made.train()

    assert made.state.best_global_step == best
    assert sorted(kept) == [3, 6, 9, 12]
    assert torch.equal(made.model.lm_head.weight, kept[best])
    assert all(best == step or not torch.equal(kept[step], kept[best]) for step in kept)


def test_early_stopping_waits_for_as_many_evaluations_as_it_has_patience(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.1, 1.0), (0.5, 1.0), (0.4, 1.0), (0.5, 1.1), (0.9, 1.0))
    made = trainer(tiny_base, tmp_path, chat, examples, evaluates=True, epochs=9, early_stopping_patience=2)
    made.train()

    assert (made.state.global_step, made.state.best_global_step) == (12, 6)


def test_a_falling_loss_at_the_same_accuracy_is_better(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first epochs no answer may be right yet; that is no reason to give up."""
    scripted(monkeypatch, *((0.0, 5.0 - step) for step in range(4)))
    made = trainer(tiny_base, tmp_path, chat, examples, evaluates=True, epochs=4, early_stopping_patience=1)
    made.train()

    assert made.state.global_step == 12


def test_no_patience_never_ends_early() -> None:
    assert early_stopping(settings_for("base", early_stopping_patience=0)) == []


def test_an_evaluation_is_logged_with_what_the_curves_show(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.25, 1.5))
    made = trainer(tiny_base, tmp_path, chat, examples, evaluates=True)

    found = made.evaluate()

    assert (found["eval_loss"], found["eval_command_accuracy"]) == (1.5, 0.25)
    logged = made.state.log_history[-1]
    assert logged["eval_loss"] == 1.5
    assert (logged["eval_micro_f1"], logged["eval_f1_StartFlow"], logged["eval_unparsable"]) == (0.7, 0.6, 0.1)
    assert "eval_slot_value_accuracy" not in logged, "there was no slot to measure"


def test_without_a_validation_set_there_is_no_evaluation(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens]
) -> None:
    with pytest.raises(ValueError, match="no validation set"):
        trainer(tiny_base, tmp_path, chat, examples).evaluate()


def test_an_adapters_step_trains_the_adapter_only(
    tiny_base: Path, tmp_path: Path, chat: Chat, examples: list[Tokens]
) -> None:
    made = trainer(tiny_base, tmp_path, chat, examples, method="lora", sharing=False, max_steps=2, learning_rate=1e-2)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    after = trained_weights(made)

    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora_" in name for name in changed)


def test_examples_are_replaced_by_none(examples: list[Tokens]) -> None:
    blank = module._learned(examples, [module.BLANK])
    assert [example.prompt_length for example in blank] == [len(blank[0].ids)]
    assert module._learned(examples, [2, module.BLANK]) == [examples[2]]
    assert replace(blank[0], prompt_length=examples[0].prompt_length) == examples[0]
