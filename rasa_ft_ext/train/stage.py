"""The stage `train`: from rows to a model that one may trust.

    train(Path("output"), out=Path("finetuned_model"), settings=settings)

Everything that can be wrong with settings, data, tokenizer and base model is looked at before a weight is loaded. A
training that was interrupted goes on from its last whole checkpoint when it is called again with the same arguments;
one that is finished is not run again. `rasa_ft_ext.train.results` writes what is left at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.base import adapter_in_fp32, compute_dtype, load_base, memory_advice
from rasa_ft_ext.train.folder import TENSORBOARD, ModelFolder
from rasa_ft_ext.train.plan import SharingPlan, plan_sharing
from rasa_ft_ext.train.preparation import Prepared, Rows, prepare
from rasa_ft_ext.train.processes import agreed, how_many, is_first
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.train.summary import TrainSummary
from rasa_ft_ext.workspace import read_summary

if TYPE_CHECKING:
    from rasa_ft_ext.train.results import Trained


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
    quieten()
    progress = progress if progress is not None and is_first() else Progress()
    prepared = prepare(rows, settings, final=final)
    folder = ModelFolder(out, prepared.key, force=force)
    if agreed(folder.is_done):
        progress.note(f"{out} holds the finished model of just this training; nothing is to be done.")
        return read_summary(out, TrainSummary)
    for note in (*prepared.data.origin.notes, *prepared.chat.notes):
        progress.note(note)
    from rasa_ft_ext.train.results import write_results

    with memory_advice(settings):
        return write_results(_train(prepared, folder, progress), folder, progress)


def measure(prepared: Prepared, out: Path, *, progress: Progress) -> None:
    """Train, and leave only what is measured on the validation set: a trial, whose model nobody will serve.

    Raises:
        RasaFtError: the training failed, or `out` holds something else.
    """
    from rasa_ft_ext.train.results import write_measures

    folder = ModelFolder(out, prepared.key, force=False)
    if not folder.is_done():
        with memory_advice(prepared.settings):
            write_measures(_train(prepared, folder, progress), folder, progress)


def _train(prepared: Prepared, folder: ModelFolder, progress: Progress) -> Trained:
    from rasa_ft_ext.train.exactness import is_exact
    from rasa_ft_ext.train.results import Trained
    from rasa_ft_ext.train.sharing import enable

    settings = prepared.settings
    checkpoint = agreed(folder.begin)
    model = load_base(settings, device=prepared.device)
    plan = plan_sharing(settings, model, prepared.train, prepared.chat.tokenizer)
    if plan.on:
        bare = model.get_base_model() if hasattr(model, "peft_config") else model
        own_attention = bare.config._attn_implementation
        enable(bare)
        dtype = compute_dtype(settings, prepared.device)
        exact = agreed(lambda: is_exact(model, prepared.train, prepared.chat.pad_id, dtype))
        if not exact:
            bare.set_attn_implementation(own_attention)
            plan = plan_sharing(settings, model, prepared.train, prepared.chat.tokenizer, exact=False)
    progress.note(plan.text)
    with _curves_in(folder.root / TENSORBOARD):
        trainer = _trainer(prepared, model, plan, folder, progress)
        state = _run(trainer, checkpoint, progress)
    return Trained(prepared, trainer, state, plan)


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
            processes=how_many(),
            evaluates=evaluates,
        ),
        chat=prepared.chat,
        examples=prepared.train,
        sharing=plan.on,
        evaluator=prepared.evaluator(prepared.validation, sharing=plan.on) if evaluates else None,
        callbacks=[
            Reporter(progress),
            Keeper(),
            *(early_stopping(prepared.settings) if evaluates else []),
        ],
    )
    adapter_in_fp32(trainer.model)
    return trainer


@contextmanager
def _curves_in(folder: Path) -> Iterator[None]:
    """Let TensorBoard write there, unless the user has told it where; it listens to the environment only."""
    name = "TENSORBOARD_LOGGING_DIR"
    own = name not in os.environ
    os.environ.setdefault(name, str(folder))
    try:
        yield
    finally:
        if own:
            del os.environ[name]


def _run(trainer: Any, checkpoint: str | None, progress: Progress) -> Any:
    """Train, or go on, or only load what an ended training has chosen; return the Trainer's state."""
    from rasa_ft_ext.train.reporting import has_ended, state_in

    if checkpoint is None or not has_ended(state := state_in(Path(checkpoint))):
        if checkpoint is not None:
            progress.note(f"Going on from step {checkpoint.rpartition('-')[2]}.")
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer.state
    progress.note("The training had come to its end; its results are written now.")
    trainer.state = state
    if trainer.is_fsdp_enabled:  # the model is divided when a training begins: it does so, and takes no step
        trainer.args.max_steps = state.global_step
        trainer.train(resume_from_checkpoint=checkpoint)
    elif state.best_model_checkpoint:
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(checkpoint)
    return state


def quieten() -> None:
    """What the libraries tell by the way (bars of their own, notes on tied weights) hides what matters."""
    import logging
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # what is trained here is nobody's business
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import huggingface_hub.constants
    import transformers

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # for a caller who had it imported before
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    for name in ("bitsandbytes", "huggingface_hub"):  # the latter tells each of its retries
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(trl|peft|transformers|torch|bitsandbytes)\b")
