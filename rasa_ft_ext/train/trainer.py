"""TRL's SFTTrainer with two changes: batches may share prefixes, and an evaluation measures command accuracy.

Optimizer, schedule, adapters, precision, several devices, checkpoints and the curves stay TRL's, transformers' and
accelerate's. Examples come tokenized and whole (see `rasa_ft_ext.train.data`); nothing is cut off or packed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, PrinterCallback
from trl import SFTConfig, SFTTrainer

from rasa_ft_ext.scores import Scores
from rasa_ft_ext.train.base import compute_dtype
from rasa_ft_ext.train.batches import make_batch
from rasa_ft_ext.train.chat import Chat
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.evaluation import Evaluation, Evaluator
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.train.sharing import shared_logits

POINTS_AN_EPOCH = 10  # of the curve of the training loss
BLANK = -1  # stands for no example


class CommandTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on `examples`, and evaluates with `evaluator` if there is one.

    Args:
        model: A causal language model, or a PEFT model around one; with `sharing`, `sharing.enable` has seen it.
        args: What `trainer_config` made of the settings.
        chat: The tokenizer.
        examples: What to train on.
        sharing: Whether batches are laid out as prefix trees.
        evaluator: Evaluates on the validation set; None where there is none.
        callbacks: As the Trainer takes them.
    """

    def __init__(
        self,
        model: Any,
        args: SFTConfig,
        *,
        chat: Chat,
        examples: Sequence[Tokens],
        sharing: bool,
        evaluator: Evaluator | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_dict({"example": [*range(len(examples)), BLANK]}),
            # The evaluator has the examples; the Trainer only wants to know that there are some.
            eval_dataset=Dataset.from_dict({"example": [0]}) if evaluator else None,
            processing_class=chat.tokenizer,
            data_collator=lambda rows: make_batch(
                _learned(examples, [row["example"] for row in rows]), pad=chat.pad_id, sharing=sharing
            ),
            callbacks=list(callbacks),
        )
        self._evaluator = evaluator and replace(evaluator, in_step=self.is_fsdp_enabled)
        self.remove_callback(PrinterCallback)  # prints each entry of the log as it is

    def _get_train_sampler(self, train_dataset: Any = None) -> Drawn:
        each = self.args.train_batch_size * self.args.world_size if self.args.world_size > 1 else 1
        return Drawn(len(self.train_dataset) - 1, each, self.args.data_seed)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # The Trainer forgets a best checkpoint whose folder is not there yet, and with FSDP it is made late.
        Path(self.args.output_dir, f"checkpoint-{self.state.global_step}").mkdir(parents=True, exist_ok=True)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # only what all processes have written is whole

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean negative log-likelihood of the learned tokens of the step, as TRL computes it."""
        if "prefix_tree" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        logits = shared_logits(model, inputs).float()
        count = len(inputs["labels"]) if num_items_in_batch is None else num_items_in_batch
        loss = functional.cross_entropy(logits, inputs["labels"], reduction="sum") / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the count is that of all, and gradients are averaged
        self._total_train_tokens += inputs["prefix_tree"].raw_tokens
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return (loss, {"logits": logits}) if return_outputs else loss

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Evaluate on the validation set: loss, command accuracy, and what the best checkpoint is chosen by."""
        if self._evaluator is None:
            raise ValueError("there is no validation set")
        model = self.model_wrapped if self._evaluator.in_step else self.model
        evaluation = self._evaluator.run(model)
        metrics = {
            f"{metric_key_prefix}_loss": evaluation.loss,
            f"{metric_key_prefix}_command_accuracy": evaluation.scores.exact_match or 0.0,
            f"{metric_key_prefix}_selection": selection(evaluation),
            **{f"{metric_key_prefix}_{name}": share for name, share in measured(evaluation.scores).items()},
        }
        self.model.eval()  # TRL keeps what it logs by mode
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Drawn(Sampler):  # type: ignore[misc]
    """All examples in a new random order each epoch, then blanks until there is as much for each process.

    So every step learns from the same examples, however many processes share them; accelerate would fill up with
    examples that the epoch has had already.

    Args:
        examples: The number of examples; the blank has the index after the last one.
        multiple: What the number of all that is drawn is a multiple of.
        seed: Of the order.
    """

    def __init__(self, examples: int, multiple: int, seed: int) -> None:
        self._examples = examples
        self._blanks = -examples % multiple
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._examples + self._blanks

    def __iter__(self) -> Iterator[int]:
        order = torch.Generator().manual_seed(self._seed + self._epoch)
        yield from torch.randperm(self._examples, generator=order).tolist()
        yield from [self._examples] * self._blanks


def _learned(examples: Sequence[Tokens], drawn: Sequence[int]) -> list[Tokens]:
    """The examples of a batch; of one that has only blanks, an example of which nothing is learned."""
    found = [examples[index] for index in drawn if index != BLANK]
    return found or [replace(examples[0], prompt_length=len(examples[0].ids))]


def measured(scores: Scores) -> dict[str, float]:
    """What the curves show besides: F1 of all commands and of each type, slot values, answers that are no commands."""
    shares = {name: getattr(scores, name) for name in ("micro_f1", "macro_f1", "slot_value_accuracy", "unparsable")}
    by_type = {f"f1_{kind}": rates.f1 for kind, rates in scores.by_command.items()}
    return {name: share for name, share in {**shares, **by_type}.items() if share is not None}


def selection(evaluation: Evaluation) -> float:
    """What the best checkpoint has most of: command accuracy, and among equal ones the lower loss.

    One answer in a million would have to differ for the second to outweigh the first.
    """
    return (evaluation.scores.exact_match or 0.0) + 1e-6 / (1 + evaluation.loss)


def trainer_config(
    settings: TrainSettings, folder: Path, *, device: str, examples: int, processes: int, evaluates: bool
) -> SFTConfig:
    """The settings in TRL's terms.

    Args:
        settings: What the user wants.
        folder: Where checkpoints go.
        device: `cuda`, `mps` or `cpu`.
        examples: The number of examples to train on.
        processes: The number of processes that share the work.
        evaluates: Whether there is a validation set.
    """
    steps = steps_per_epoch(settings, examples, processes)
    between = max(1, round(steps / settings.evaluations_per_epoch))
    checkpointing = settings.gradient_checkpointing
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.peak_learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=compute_dtype(settings, device) == torch.bfloat16,
        use_cpu=device == "cpu",
        gradient_checkpointing=device == "cuda" if checkpointing is None else checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=max(1, steps // POINTS_AN_EPOCH),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=between,
        save_strategy="steps",
        save_steps=between,
        save_total_limit=2,
        load_best_model_at_end=evaluates,
        metric_for_best_model="selection" if evaluates else None,
        greater_is_better=True if evaluates else None,
        restore_callback_states_from_checkpoint=True,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
    )
    if processes == 1:
        # One process trains on one GPU. The Trainer would cut batches up among all that it sees (nn.DataParallel), and
        # a prefix tree cannot be cut; several GPUs take a process each.
        config._n_gpu = min(config.n_gpu, 1)
    return config


def steps_per_epoch(settings: TrainSettings, examples: int, processes: int) -> int:
    """How many optimizer steps an epoch has."""
    return max(1, -(-examples // (settings.batch_size * settings.gradient_accumulation * processes)))


def early_stopping(settings: TrainSettings) -> list[EarlyStoppingCallback]:
    """What ends the training when command accuracy gets no better."""
    if not settings.early_stopping_patience:
        return []
    return [EarlyStoppingCallback(early_stopping_patience=settings.early_stopping_patience)]
