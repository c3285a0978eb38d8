"""The stage `train`: from rows to a model that one may trust.

    train(Path("output"), out=Path("finetuned_model"), settings=settings)

Everything that can be wrong with settings, data, tokenizer and base model is looked at before a weight is loaded. A
training that was interrupted goes on from its last whole checkpoint when it is called again with the same arguments;
one that is finished is not run again. `rasa_ft_ext.train.results` writes what is left at the end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.base import (
    BaseRecord,
    adapter_in_fp32,
    describe_base,
    load_base,
    memory_advice,
    pick_device,
    quantization_config,
)
from rasa_ft_ext.train.chat import Chat, load_chat
from rasa_ft_ext.train.data import Data, Tokens, find_data, given_data, tokenize
from rasa_ft_ext.train.folder import TENSORBOARD, ModelFolder
from rasa_ft_ext.train.plan import SharingPlan, plan_sharing
from rasa_ft_ext.train.settings import TrainSettings

SAMPLE = 2000  # examples that are enough to tell how well the training set was learned
DEFAULT_SYNTAX: Syntax = "v2"  # what Rasa's newer command generators speak

Rows = Path | tuple[Path, Path | None]


class TrainSummary(Record):
    """What came out of a training, as the command line shows it.

    Accuracies are shares of examples whose answer has just the expected commands; None where there was nothing to
    measure on. `tokens` are those of an epoch, `computed_tokens` those that were left after prefix sharing.
    """

    base_model: str
    method: str
    examples: int
    validation_examples: int
    tokens: int
    computed_tokens: int
    steps: int
    best_step: int | None
    train_accuracy: str
    validation_accuracy: str
    merged_model: str
    verdict: tuple[str, ...] = ()
    what_to_try: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What a training starts from, checked."""

    settings: TrainSettings
    data: Data
    chat: Chat
    base: BaseRecord
    device: str
    syntax: Syntax
    train: list[Tokens]
    validation: list[Tokens]
    dropped: tuple[str, ...]
    final: bool

    @property
    def key(self) -> dict[str, Any]:
        """All that the model depends on."""
        ignored = {"report_to", "eval_batch_size", "device"}
        return {
            "version": __version__,
            "data": self.data.origin.data_hash,
            "files": self.data.origin.files,
            "base": self.base.model_dump(mode="json"),
            "chat_template": self.chat.template,
            "final": self.final,
            **self.settings.model_dump(mode="json", exclude=ignored),
        }


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
        from rasa_ft_ext.train.results import read_train_summary

        return read_train_summary(out)
    for note in (*prepared.data.origin.notes, *prepared.chat.notes):
        progress.note(note)
    with memory_advice(settings):
        return _train(prepared, folder, progress)


def prepare(rows: Rows, settings: TrainSettings, *, final: bool = False) -> Prepared:
    """Look at everything that can be wrong, and turn the rows into tokens.

    Raises:
        RasaFtError: something is.
    """
    data = find_data(rows) if isinstance(rows, Path) else given_data(*rows)
    if final:
        data = replace(data, train=[*data.train, *data.validation], validation=[])
    device = pick_device(settings.device)
    quantization_config(settings, device)
    if settings.prefix_sharing == "on" and settings.batch_size == 1:
        raise ConfigError("settings", ["prefix_sharing is on, but with a batch_size of 1 there is nothing to share."])
    chat = load_chat(
        settings.base_model,
        revision=settings.revision,
        chat_template=settings.chat_template,
        chat_template_kwargs=settings.chat_template_kwargs,
    )
    train_tokens, dropped = tokenize(data.train, chat, settings.max_length, settings.over_length)
    validation, dropped_there = tokenize(data.validation, chat, settings.max_length, settings.over_length)
    if not train_tokens:
        raise ConfigError(str(data.origin.source), ["No example to train on is left."])
    return Prepared(
        settings=settings,
        data=data,
        chat=chat,
        base=describe_base(settings),
        device=device,
        syntax=settings.syntax or data.origin.syntax or DEFAULT_SYNTAX,
        train=train_tokens,
        validation=validation,
        dropped=tuple(f"{name}: {length} tokens" for name, length in {**dropped, **dropped_there}.items()),
        final=final,
    )


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
        evaluator=evaluator_for(prepared, prepared.validation, plan.on) if evaluates else None,
        callbacks=[
            Reporter(progress),
            Keeper(folder.ended),
            *(early_stopping(prepared.settings) if evaluates else []),
        ],
    )
    adapter_in_fp32(trainer.model)
    return trainer


def evaluator_for(prepared: Prepared, examples: list[Tokens], sharing: bool) -> Any:
    """What measures loss and command accuracy on these examples."""
    from rasa_ft_ext.train.evaluation import Evaluator

    return Evaluator(
        examples=examples,
        chat=prepared.chat,
        syntax=prepared.syntax,
        flows=prepared.data.origin.flows or None,
        sharing=sharing,
        batch_size=prepared.settings.eval_batch_size,
        longest=min(prepared.settings.answers_max_tokens, longest_answer(examples)),
        in_step=os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true",
    )


def longest_answer(examples: list[Tokens]) -> int:
    """Enough tokens for any answer that may be right: twice the longest expected one, and some."""
    return 2 * max((len(example.ids) - example.prompt_length for example in examples), default=0) + 8


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
