"""What a training leaves behind: models, figures, curves, and what they say of each other.

adapter/ merged/ merged_4bit/       see `rasa_ft_ext.train.outputs`
README.md                           the model card, in merged/ as well
metrics.json loss.png               how it went
answers.jsonl                       what the model answers to each validation example
settings.yml training.json          what it was made from
summary.json manifest.json          what is shown; the manifest last
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.finetuned import ADAPTER, MERGED, MERGED_4BIT, TrainFacts, digests, write_manifest
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.scores import Scores, is_exact
from rasa_ft_ext.train import outputs, parity, processes
from rasa_ft_ext.train.base import compute_dtype, describe_base, saved_dtype
from rasa_ft_ext.train.card import CARD, model_card
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.evaluation import Evaluation
from rasa_ft_ext.train.folder import KEY, ModelFolder
from rasa_ft_ext.train.plan import SharingPlan
from rasa_ft_ext.train.plots import plot_history
from rasa_ft_ext.train.preparation import Prepared
from rasa_ft_ext.train.settings import dump, used_values
from rasa_ft_ext.train.summary import TrainSummary
from rasa_ft_ext.train.verdict import Verdict, judge
from rasa_ft_ext.train.wholeness import part_with_whole_model
from rasa_ft_ext.workspace import MANIFEST, SUMMARY, Manifest, write_json, write_jsonl, write_record

SAMPLE = 2000  # examples that are enough to tell how well the training set was learned
COMPARED = 512  # examples that adapter and merged model are compared on; all logits of their answers are kept meanwhile
# Of the Trainer's log; the rest depends on the machine, or begins anew where a training goes on.
_KEPT = ("step", "epoch", "loss", "grad_norm", "learning_rate")
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True)
class Trained:
    """A training that has ended: what it started from, the Trainer with the chosen weights, its state, the plan."""

    prepared: Prepared
    trainer: Any
    state: Any
    plan: SharingPlan

    @property
    def best_step(self) -> int | None:
        return self.state.best_global_step if self.prepared.validation else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Training losses and evaluations, in their order."""
        entries = (entry for entry in self.state.log_history if "loss" in entry or "eval_loss" in entry)
        return [
            {
                name: value
                for name, value in entry.items()
                if name in _KEPT or (name.startswith("eval_") and name != "eval_selection")
            }
            for entry in entries
        ]


def write_results(trained: Trained, folder: ModelFolder, progress: Progress) -> TrainSummary:
    """Measure the model, save it, compare what was saved with it, and write down all of it.

    Raises:
        ParityError: the merged model does not say what the trained one says.
        WorkspaceError: the folder cannot be written.
    """
    prepared = trained.prepared
    on_train = _evaluated(trained, _sample(prepared.train, SAMPLE), "Answering training examples", progress)
    on_validation = _evaluated(trained, prepared.validation, "Answering validation examples", progress)
    part_with_whole_model(trained.trainer, prepared.settings)
    if not processes.is_first():  # the first process writes; the others have done their part
        return _summary(trained, on_train, on_validation, None, folder)
    history = trained.history
    verdict = _verdict(trained, on_train, on_validation)
    summary = _summary(trained, on_train, on_validation, verdict, folder)
    with folder.writing() as draft:
        metrics: dict[str, Any] = {
            "verdict": verdict.model_dump(mode="json"),
            "train": _figures(on_train),
            "validation": _figures(on_validation),
            "best_step": trained.best_step,
            "steps": trained.state.global_step,
            "tokens": {"raw": trained.plan.raw_tokens, "unique": trained.plan.unique_tokens},
            "history": history,
        }
        write_json(draft / "metrics.json", metrics)
        write_json(draft / KEY, folder.key)
        write_jsonl(draft / "answers.jsonl", list(_answers(prepared, on_validation)))
        plot_history(history, draft / "loss.png", trained.best_step)
        (draft / "settings.yml").write_text(dump(prepared.settings), encoding="utf-8")
        found = _save_models(trained, draft, progress)
        write_json(draft / "metrics.json", {**metrics, "parity": found.model_dump(mode="json")})
        facts = _facts(trained, _figures(on_validation), found, folder.root.name)
        for place in (draft, draft / MERGED):
            (place / CARD).write_text(model_card(facts), encoding="utf-8")
        write_record(draft / SUMMARY, summary)
        write_manifest(draft, facts)
    return summary


def write_measures(trained: Trained, folder: ModelFolder, progress: Progress) -> None:
    """Measure the model on the validation set and write that down; the model itself is not kept.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    found = _evaluated(trained, trained.prepared.validation, "Answering validation examples", progress)
    with folder.writing() as draft:
        metrics = {
            "validation": _figures(found),
            "best_step": trained.best_step,
            "steps": trained.state.global_step,
            "history": trained.history,
        }
        write_json(draft / "metrics.json", metrics)
        write_json(draft / KEY, folder.key)
        write_jsonl(draft / "answers.jsonl", list(_answers(trained.prepared, found)))
        (draft / "settings.yml").write_text(dump(trained.prepared.settings), encoding="utf-8")
        write_record(draft / MANIFEST, Manifest(version=__version__, key=folder.key, files=digests(draft)))


def _verdict(trained: Trained, on_train: Evaluation | None, on_validation: Evaluation | None) -> Verdict:
    """What became of the training; of a last one, on all rows, nothing can be known but whether it learned them."""
    prepared = trained.prepared
    found = judge(
        trained.history,
        _share(on_train),
        _share(on_validation),
        best_step=trained.best_step,
        epochs=prepared.settings.epochs,
        learning_rate=prepared.settings.peak_learning_rate,
        lora_rank=None if prepared.settings.method == "full" else prepared.settings.lora_rank,
        validation_examples=len(prepared.validation) or None,
    )
    if prepared.final and found.kind == "unknown":
        text = (
            f"Trained on all rows, of which {_shown(on_train)} are answered with just the expected commands. How well "
            "unseen messages are answered was measured with the validation rows kept apart."
        )
        return Verdict(kind="unknown", text=text)
    return found


def _save_models(trained: Trained, draft: Path, progress: Progress) -> parity.Parity:
    """Save the adapter, the merged model and its copy in 4 bit; compare the merged model with the trained one."""
    prepared, settings = trained.prepared, trained.prepared.settings
    model, chat = trained.trainer.model, prepared.chat
    steps = 4 if settings.save_4bit else 3
    progress.start("Saving and comparing the merged model", steps)
    examples = _sample(prepared.validation or prepared.train, COMPARED)
    computing = compute_dtype(settings, prepared.device)
    seen = parity.observe(
        model,
        examples,
        end=chat.stop_ids,
        pad=chat.pad_id,
        longest=prepared.longest_answer(examples),
        batch_size=settings.eval_batch_size,
        autocast=computing if computing != model.dtype else None,
    )
    progress.step()
    if settings.method != "full":
        outputs.save_adapter(model, chat.tokenizer, draft / ADAPTER, describe_base(settings))
    merged = draft / MERGED
    outputs.save_merged(
        model,
        chat.tokenizer,
        merged,
        dtype=saved_dtype(settings, prepared.device),
        end=chat.stop_ids,
        pad=chat.pad_id,
    )
    progress.step()
    _make_room(trained.trainer)
    device = _device_with_room(merged, prepared.device)
    found = parity.compare(seen, merged, examples, device=device, batch_size=settings.eval_batch_size)
    progress.step()
    if settings.save_4bit:
        outputs.save_4bit(merged, draft / MERGED_4BIT, device=prepared.device)
        progress.step()
    return found


def _make_room(trainer: Any) -> None:
    """Take the trained model off the GPU, with all that its training needed; its configuration is still there."""
    import torch

    if trainer.model.device.type != "cuda":
        return
    handler = trainer.callback_handler
    trainer.optimizer = trainer.lr_scheduler = handler.optimizer = handler.lr_scheduler = None
    trainer.accelerator.free_memory()
    with suppress(ValueError, RuntimeError):  # not every quantised model can be moved
        trainer.model.to("cpu")
    torch.cuda.empty_cache()


def _device_with_room(merged: Path, device: str) -> str:
    """Where the merged model can be compared while the trained one is still there; slowly on the CPU, if need be."""
    import torch

    if device != "cuda":
        return device
    size = sum(file.stat().st_size for file in merged.glob("*.safetensors"))
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if free > 1.3 * size else "cpu"


def _evaluated(trained: Trained, examples: Sequence[Tokens], what: str, progress: Progress) -> Evaluation | None:
    if not examples:
        return None
    progress.start(what, len(examples))
    trainer = trained.trainer
    evaluator = replace(trained.prepared.evaluator(examples, sharing=trained.plan.on), in_step=trainer.is_fsdp_enabled)
    found: Evaluation = evaluator.run(trainer.model, progress.step)
    return found


def _sample(examples: Sequence[Tokens], most: int) -> list[Tokens]:
    """Examples from all over, if there are too many."""
    step = max(1.0, len(examples) / most)
    return [examples[int(index * step)] for index in range(min(most, len(examples)))]


def _answers(prepared: Prepared, evaluation: Evaluation | None) -> Iterator[dict[str, Any]]:
    """What was answered to each validation example, the wrong ones first."""
    if evaluation is None:
        return
    rows = [
        {
            "name": example.name,
            "right": is_exact(example.completion, answer, prepared.syntax, prepared.data.origin.flows or None),
            "expected": example.completion,
            "answered": answer,
        }
        for example, answer in zip(prepared.validation, evaluation.answers, strict=True)
    ]
    yield from sorted(rows, key=lambda row: bool(row["right"]))


def _summary(
    trained: Trained,
    on_train: Evaluation | None,
    on_validation: Evaluation | None,
    verdict: Verdict | None,
    folder: ModelFolder,
) -> TrainSummary:
    prepared = trained.prepared
    return TrainSummary(
        base_model=prepared.settings.base_model,
        method=prepared.settings.method,
        examples=len(prepared.train),
        validation_examples=len(prepared.validation),
        tokens=trained.plan.raw_tokens,
        computed_tokens=trained.plan.unique_tokens,
        steps=trained.state.global_step,
        best_step=trained.best_step,
        train_accuracy=_shown(on_train),
        validation_accuracy=_shown(on_validation),
        merged_model=str(folder.root / MERGED),
        verdict=(verdict.text,) if verdict else (),
        what_to_try=verdict.advice if verdict else (),
        dropped=prepared.dropped,
        notes=prepared.chat.notes,
    )


def _facts(trained: Trained, metrics: dict[str, Any] | None, found: parity.Parity, name: str) -> TrainFacts:
    prepared = trained.prepared
    origin = prepared.data.origin
    config = trained.trainer.model.config
    examples = [*prepared.train, *prepared.validation]
    return TrainFacts(
        name=name,
        base_model=prepared.base.base_model,
        base_revision=prepared.base.revision,
        base_fingerprint=describe_base(prepared.settings).fingerprint,
        data_hash=origin.data_hash,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        templates=origin.templates or {},
        rasa_version=origin.rasa_version,
        syntax=prepared.syntax,
        assistant=origin.assistant,
        settings=used_values(prepared.settings),
        metrics=metrics or {},
        parity=found.model_dump(mode="json"),
        dtype=str(saved_dtype(prepared.settings, prepared.device)).removeprefix("torch."),
        max_length=min(prepared.settings.max_length, getattr(config, "max_position_embeddings", 1 << 30)),
        longest_prompt=max(example.prompt_length for example in examples),
        longest_answer=prepared.longest_answer(examples),
        packages=dict(_versions()),
    )


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _figures(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    return {"loss": evaluation.loss, **evaluation.scores.model_dump(mode="json")}


def _share(evaluation: Evaluation | None) -> float | None:
    return evaluation.scores.exact_match if evaluation else None


def _shown(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "not measured"
    scores: Scores = evaluation.scores
    share = scores.exact_match or 0.0
    return f"{share:.1%} ({round(share * scores.examples)} of {scores.examples})"
