"""What is told while a training goes on: a bar with the time left, and a line for each evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

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
    """Notes which checkpoints are whole, and leaves them so that a training goes on as if nothing had happened."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.best_model_checkpoint = _best_checkpoint(state, Path(args.output_dir))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_save:  # the loss since the last entry of the log is in no checkpoint
            control.should_log = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def state_in(checkpoint: Path) -> TrainerState:
    """The Trainer's state at a checkpoint."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    state.best_model_checkpoint = _best_checkpoint(state, checkpoint.parent)
    return state


def has_ended(state: TrainerState) -> bool:
    """Whether the training had come to its end with this checkpoint; the Trainer itself would go on."""
    control = state.stateful_callbacks.get("TrainerControl", {})
    return bool(control.get("args", {}).get("should_training_stop"))


def _best_checkpoint(state: TrainerState, folder: Path) -> str | None:
    """The best checkpoint, which was elsewhere when it was noted if the folder has been moved."""
    return str(folder / f"checkpoint-{state.best_global_step}") if state.best_global_step else None
