"""The stage `train`: from rows to a model that one may trust.

    train(Path("output"), out=Path("finetuned_model"), settings=settings)

Everything that can be wrong with settings, data, tokenizer and base model is looked at before a weight is loaded. A
training that was interrupted goes on from its last whole checkpoint when it is called again with the same arguments;
one that is finished is not run again. `rasa_ft_ext.train.results` writes what is left at the end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.base import adapter_in_fp32, load_base, memory_advice
from rasa_ft_ext.train.folder import TENSORBOARD, ModelFolder
from rasa_ft_ext.train.plan import SharingPlan, plan_sharing
from rasa_ft_ext.train.preparation import Prepared, Rows, prepare
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.train.summary import TrainSummary
from rasa_ft_ext.workspace import read_summary


def train(
    rows: Rows,
    *,
    out: Path,
    settings: TrainSettings,
    final: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> TrainSummary:
    """Fine-tune a base model.

    Args:
        rows: An output folder of `prepare-data`, or the files to train on and to validate on.
        out: Where the model goes.
        settings: How it is trained.
        final: Train on the validation rows as well, when the settings have been found.
        force: Start anew and replace what is in `out`.
        progress: Is told how far it is.

    Raises:
        RasaFtError: something cannot work; nothing that was there before is touched.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # what is trained here is nobody's business
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _quiet()
    progress = progress if progress is not None and _is_first_process() else Progress()
    prepared = prepare(rows, settings, final=final)
    folder = ModelFolder(out, prepared.key, force=force)
    if folder.is_done():
        return read_summary(out, TrainSummary)
    for note in (*prepared.data.origin.notes, *prepared.chat.notes):
        progress.note(note)
    with memory_advice(settings):
        return _train(prepared, folder, progress)


def _train(prepared: Prepared, folder: ModelFolder, progress: Progress) -> TrainSummary:
    from rasa_ft_ext.train.exactness import is_exact
    from rasa_ft_ext.train.results import Trained, write_results
    from rasa_ft_ext.train.sharing import enable

    settings = prepared.settings
    checkpoint = folder.begin() if _is_first_process() else None
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder.root / TENSORBOARD))
    model = load_base(settings, device=prepared.device)
    plan = plan_sharing(settings, model, prepared.train, prepared.chat.tokenizer)
    if plan.on:
        enable(model.get_base_model() if hasattr(model, "peft_config") else model)
        if not is_exact(model, prepared.train, prepared.chat.pad_id):
            plan = plan_sharing(settings, model, prepared.train, prepared.chat.tokenizer, exact=False)
    progress.note(plan.text)
    trainer = _trainer(prepared, model, plan, folder, progress)
    state = _run(trainer, folder, checkpoint, progress)
    return write_results(Trained(prepared, trainer, state, plan), folder, progress)


def _trainer(prepared: Prepared, model: Any, plan: SharingPlan, folder: ModelFolder, progress: Progress) -> Any:
    from rasa_ft_ext.train.reporting import Keeper, Reporter
    from rasa_ft_ext.train.trainer import CommandTrainer, early_stopping, trainer_config

    evaluates = bool(prepared.validation)
    trainer = CommandTrainer(
        model,
        trainer_config(
            prepared.settings,
            folder.checkpoints,
            device=prepared.device,
            examples=len(prepared.train),
            processes=int(os.environ.get("WORLD_SIZE", "1")),
            evaluates=evaluates,
        ),
        chat=prepared.chat,
        examples=prepared.train,
        sharing=plan.on,
        evaluator=prepared.evaluator(prepared.validation, sharing=plan.on) if evaluates else None,
        callbacks=[
            Reporter(progress),
            Keeper(folder.ended),
            *(early_stopping(prepared.settings) if evaluates else []),
        ],
    )
    adapter_in_fp32(trainer.model)
    return trainer


def _run(trainer: Any, folder: ModelFolder, checkpoint: str | None, progress: Progress) -> Any:
    """Train, or go on, or only load what an ended training has chosen; return the Trainer's state."""
    from transformers import TrainerState

    if folder.ended.is_file() and checkpoint is not None:
        progress.note("The training had come to its end; its results are written now.")
        trainer.state = TrainerState.load_from_json(str(folder.ended))
        if trainer.state.best_model_checkpoint:
            trainer._load_best_model()
        else:
            trainer._load_from_checkpoint(checkpoint)
        return trainer.state
    if checkpoint is not None:
        progress.note(f"Going on from step {checkpoint.rpartition('-')[2]}.")
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.state


def _quiet() -> None:
    """What the libraries tell by the way (bars of their own, notes on tied weights) hides what matters."""
    import logging
    import warnings

    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(trl|peft|transformers|torch|bitsandbytes)\b")


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
