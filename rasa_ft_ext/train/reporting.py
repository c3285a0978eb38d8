"""What is told while a training goes on: a bar with the time left, and a line for each evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.folder import mark_whole


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes on how far the Trainer is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.start("Training (steps)", state.max_steps)
        self._progress.step(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.step()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        training = f"training loss {losses[-1]:.4f}, " if losses else ""
        self._progress.note(
            f"Epoch {state.epoch:.1f}, step {state.global_step}: {training}validation loss {metrics['eval_loss']:.4f}, "
            f"command accuracy {metrics['eval_command_accuracy']:.1%}"
        )


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Notes which checkpoints are whole, and that the training has come to its end."""

    def __init__(self, ended: Path) -> None:
        self._ended = ended

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            draft = self._ended.with_suffix(".part")
            state.save_to_json(str(draft))
            draft.replace(self._ended)
