"""What became of a training, in plain words: fine, underfit, overfit or unknown, and what to try.

    verdict = judge(history, train_accuracy=0.99, validation_accuracy=0.86, best_step=120, epochs=3)
    verdict.kind        # "fine"
    verdict.text        # "Fine: the kept model gives exactly the expected commands in 99 % of ..."
    verdict.advice      # ("...", "...")

Command accuracy decides; the losses decide where it was not measured, and say why it is as it is. `history` has the
entries of `metrics.json`. This module measures nothing: it knows neither models nor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from statistics import fmean
from typing import Any, Literal

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.scores import interval

# The recipe asks that 95 % of the training tests pass and 80 % of the validation tests. A conversation passes only if
# each of its messages is answered well, so for single messages these are the least that one may ask for.
LEARNED = 0.95
GENERALISES = 0.80
# What lies between the two: so much worse on unseen messages is what the recipe puts up with.
GAP = LEARNED - GENERALISES
# Fewer evaluations than these show no trend: the lowest, and two after it, since one may be chance.
EVALUATIONS = 3
# A loss has changed when it did so by a tenth, and by 0.02: that is 2 % of a token's probability, and near 0 a tenth is
# nothing.
LOSS_CHANGE = 0.10
LEAST_LOSS_CHANGE = 0.02
# Accuracy that differs by less between two evaluations is the noise of a few hundred examples.
ACCURACY_CHANGE = 0.05
# A figure that may as well be 5 points higher or lower is given with its range.
SURE = 0.10

Kind = Literal["fine", "underfit", "overfit", "unknown"]
Points = Sequence[tuple[float, float]]  # step and value, by step


class Verdict(Record):
    """What became of the training, why one thinks so, and what to try, the most promising first.

    `underfit`: not even the training examples are learned, or losses still fell at the end. `overfit`: the training
    examples are learned, but unseen ones are answered badly. `unknown`: there is too little to judge by.
    """

    kind: Kind
    text: str
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Training:
    """All there is to judge by."""

    train_accuracy: float | None
    validation_accuracy: float | None
    train_loss: Points
    validation_loss: Points
    accuracy: Points
    epochs_at: Mapping[float, float]
    best_step: int | None
    epochs: float | None
    learning_rate: float | None
    lora_rank: int | None
    validation_examples: int | None

    @property
    def learned(self) -> bool | None:
        return None if self.train_accuracy is None else self.train_accuracy >= LEARNED

    @property
    def generalises(self) -> bool | None:
        return None if self.validation_accuracy is None else self.validation_accuracy >= GENERALISES

    @property
    def gap(self) -> float:
        """How much worse unseen examples are answered; 0 where that is not known."""
        if self.train_accuracy is None or self.validation_accuracy is None:
            return 0.0
        return self.train_accuracy - self.validation_accuracy

    @property
    def missed(self) -> float:
        """The share of the training examples that are answered badly; 0 where that is not known."""
        return 0.0 if self.train_accuracy is None else 1 - self.train_accuracy

    @property
    def restored(self) -> bool:
        """Whether the kept model is that of an earlier step than the last one that was evaluated."""
        last = max((points[-1][0] for points in (self.validation_loss, self.accuracy) if points), default=0)
        return self.best_step is not None and self.best_step < last

    @property
    def diverged(self) -> bool:
        """Whether the training loss got worse in the end, or is no number any more."""
        losses = [loss for _, loss in self.train_loss]
        if not all(map(isfinite, losses[-1:])):
            return True
        quarter = len(losses) // 4
        return quarter > 0 and _grew(fmean(losses[:quarter]), fmean(losses[-quarter:]))

    @property
    def rise(self) -> tuple[tuple[float, float], float] | None:
        """Where the validation loss was lowest, and what it rose to, if it did while the training loss did not."""
        if len(self.validation_loss) < EVALUATIONS or self.diverged:
            return None
        lowest = min(self.validation_loss, key=lambda point: point[1])
        later = [loss for step, loss in self.validation_loss if step > lowest[0]]
        rose = len(later) >= EVALUATIONS - 1 and all(_grew(lowest[1], loss) for loss in later[1 - EVALUATIONS :])
        return (lowest, later[-1]) if rose else None

    @property
    def drop(self) -> tuple[tuple[float, float], float] | None:
        """Where the validation set's command accuracy was best, and what it fell to, if it did."""
        if len(self.accuracy) < 2:
            return None
        best, last = max(self.accuracy, key=lambda point: point[1]), self.accuracy[-1][1]
        return (best, last) if best[1] - last > ACCURACY_CHANGE else None

    @property
    def improving(self) -> bool:
        """Whether things still got better at the end."""
        rates = [rate for _, rate in self.accuracy]
        rising = len(rates) >= EVALUATIONS and rates[-1] - max(rates[:-1]) > ACCURACY_CHANGE
        losses = self.validation_loss if len(self.validation_loss) >= EVALUATIONS else self.train_loss
        return rising or _falling([loss for _, loss in losses])


def judge(
    history: Iterable[Mapping[str, Any]],
    train_accuracy: float | None,
    validation_accuracy: float | None,
    *,
    best_step: int | None = None,
    epochs: float | None = None,
    learning_rate: float | None = None,
    lora_rank: int | None = None,
    validation_examples: int | None = None,
) -> Verdict:
    """Judge a training.

    Args:
        history: What was logged, in any order: entries with `step`, and some of `epoch`, `loss`, `eval_loss` and
            `eval_command_accuracy`.
        train_accuracy: The share of training examples that the kept model answers with just the expected commands;
            None if that was not measured.
        validation_accuracy: The same of the validation set; None takes it from the history, if it is there.
        best_step: The step of the kept model; None if it is that of the last step.
        epochs: How many were asked for. This and the next two give the advice its figures.
        learning_rate: The one that was set.
        lora_rank: The adapter's rank; None if there is no adapter.
        validation_examples: How many examples the validation set's accuracy was measured on.
    """
    entries = sorted(history, key=lambda entry: entry["step"])
    accuracy = _points(entries, "eval_command_accuracy")
    if validation_accuracy is None and accuracy:
        validation_accuracy = dict(accuracy).get(best_step or accuracy[-1][0])
    training = _Training(
        train_accuracy=train_accuracy,
        validation_accuracy=validation_accuracy,
        train_loss=_points(entries, "loss"),
        validation_loss=_points(entries, "eval_loss"),
        accuracy=accuracy,
        epochs_at=dict(_points(entries, "epoch")),
        best_step=best_step,
        epochs=epochs,
        learning_rate=learning_rate,
        lora_rank=lora_rank,
        validation_examples=validation_examples,
    )
    kind = _kind(training)
    found = " ".join([_accuracies(training), *_reasons(kind, training), *_trends(training)])
    return Verdict(kind=kind, text=f"{kind.capitalize()}: {found}", advice=tuple(_advice(kind, training)))


def _kind(training: _Training) -> Kind:
    """Accuracy decides; the losses where it is not known or could mean either."""
    overfits_late = training.rise is not None or training.drop is not None
    if training.learned is False:
        by_heart = training.gap > GAP and (overfits_late or training.gap > training.missed)
        return "overfit" if by_heart else "underfit"
    if training.generalises is False:
        if training.learned or overfits_late:
            return "overfit"
        return "underfit" if training.improving or training.diverged else "unknown"
    if training.generalises:
        return "overfit" if training.drop and not training.restored else "fine"
    if training.diverged:
        return "underfit"
    if len(training.validation_loss) < EVALUATIONS:
        return "unknown"
    if training.rise:
        return "fine" if training.restored else "overfit"
    return "underfit" if training.improving and not training.learned else "fine"


def _accuracies(training: _Training) -> str:
    known = [
        f"{_percent(accuracy)} of the {name} examples"
        for name, accuracy in (("training", training.train_accuracy), ("validation", training.validation_accuracy))
        if accuracy is not None
    ]
    if not known:
        return "command accuracy was not measured."
    return f"the kept model gives exactly the expected commands in {' and '.join(known)}{_range(training)}."


def _range(training: _Training) -> str:
    """How sure the validation set's figure is, if it is not."""
    number, accuracy = training.validation_examples, training.validation_accuracy
    if not number or accuracy is None:
        return ""
    low, high = interval(round(accuracy * number), number) or (0.0, 1.0)
    if high - low <= SURE:
        return ""
    return f" (these are only {number}: the true share may be anything from {_percent(low, 0)} to {_percent(high, 0)})"


def _reasons(kind: Kind, training: _Training) -> list[str]:
    """Why it is of that kind, where the figures alone do not say so."""
    if training.diverged and kind == "underfit":
        return [f"Training loss got worse instead of better{_from_to(training.train_loss)}."]
    if kind == "underfit" and training.learned is False:
        return [f"Examples that it was trained on should be right to {_percent(LEARNED)} at least."]
    if kind == "overfit" and training.gap > GAP:
        return [
            f"Unseen examples should be right to {_percent(GENERALISES)} at least, and nearly as often as known ones."
        ]
    if kind == "overfit" and training.generalises is False:
        return [f"Unseen examples should be right to {_percent(GENERALISES)} at least."]
    if kind == "unknown" and training.generalises is False:
        return ["That is too few, but nothing says whether it has learned too little or by heart."]
    if kind == "unknown":
        times = len(training.validation_loss)
        had = f"There were too few evaluations ({times})" if times else "Nothing was measured on a validation set"
        return [f"{had}, so nothing says how it does on messages that it has not seen."]
    return []


def _trends(training: _Training) -> list[str]:
    """What the curves show, and whether the kept model has suffered from it."""
    found = []
    if training.rise:
        (step, lowest), last = training.rise
        found.append(
            f"Validation loss was lowest at step {step:g} ({lowest:.3g}) and rose to {last:.3g} while training loss "
            f"did not rise{_from_to([point for point in training.train_loss if point[0] >= step])}."
        )
    if training.drop:
        (step, best), last = training.drop
        found.append(
            f"Command accuracy on the validation set fell from {_percent(best)} at step {step:g} to {_percent(last)}."
        )
    elif training.rise and training.accuracy:
        found.append("Command accuracy did not fall with it, and that is what counts.")
    if found and training.restored:
        found.append(f"The model of step {training.best_step} was kept, so what came after it does no harm.")
    if not found and training.improving and not training.diverged:
        found.append("It was still getting better when training ended.")
    elif not found and len(training.validation_loss) >= EVALUATIONS:
        found.append(f"Validation loss had levelled off at {training.validation_loss[-1][1]:.3g}.")
    return found


def _advice(kind: Kind, training: _Training) -> list[str]:
    if kind == "fine":
        late = (training.rise or training.drop) and training.restored
        return [_fewer_epochs("Save time, since the later steps were of no use", training)] if late else []
    if kind == "underfit":
        return _against_underfitting(training)
    if kind == "overfit":
        return _against_overfitting(training)
    if training.validation_accuracy is None:
        return [
            "Train with a validation set (`rasa-ft split --train-frac 0.8`), and evaluate at least "
            f"{EVALUATIONS} times while training (--evaluations-per-epoch).",
            "Look at loss.png: training loss should fall and level off.",
        ]
    return [
        "Measure command accuracy on training examples as well: if it is low, train longer; if not, add data.",
        f"Evaluate at least {EVALUATIONS} times while training (--evaluations-per-epoch).",
    ]


def _against_underfitting(training: _Training) -> list[str]:
    slower = _setting("Take smaller steps", "--learning-rate", training.learning_rate, 0.5)
    longer = _setting("Train longer", "--epochs", training.epochs, 2)
    if training.diverged:
        return [slower]
    faster = _setting("Take larger steps", "--learning-rate", training.learning_rate, 2)
    larger = (
        [_setting("Give the adapter more room", "--lora-rank", training.lora_rank, 2)] if training.lora_rank else []
    )
    if training.improving:
        return [longer, faster, *larger]
    data = (
        "See in metrics.json which commands are missed: examples with nearly the same prompt and different commands "
        "cannot all be learned."
    )
    return [faster, *larger, longer, data]


def _against_overfitting(training: _Training) -> list[str]:
    advice = [
        "Write more E2E tests for the commands, flows and slots that metrics.json shows with a low F1.",
        "Prepare the data with more rephrasings (--num-rephrases), so that each command is learned in more wordings.",
    ]
    late = training.rise is not None or training.drop is not None
    if training.drop and not training.restored:
        advice.insert(0, "Keep the checkpoint with the best command accuracy instead of the last one.")
    if late and not training.restored:
        advice.insert(0, _fewer_epochs("Train for less long", training))
    elif training.improving and not late:
        advice.insert(0, _setting("Train longer", "--epochs", training.epochs, 2))
    advice.append(_setting("Take smaller steps", "--learning-rate", training.learning_rate, 0.5))
    if training.lora_rank and training.lora_rank > 1:
        advice.append(_setting("Give the adapter less room", "--lora-rank", training.lora_rank, 0.5))
    if late and training.restored:
        advice.append(_fewer_epochs("Save time, since the later steps were of no use", training))
    return advice


def _fewer_epochs(what: str, training: _Training) -> str:
    best = training.best_step
    if best is None:
        turn = training.drop or training.rise
        best = int(turn[0][0]) if turn else None
    at = ceil(training.epochs_at.get(best or 0, 0) - 0.01)
    fewer = at if 0 < at < (training.epochs or float("inf")) else None
    return f"{what}: {f'--epochs {fewer}' if fewer else 'fewer --epochs'}, or a lower --early-stopping-patience."


def _setting(what: str, flag: str, now: float | None, factor: float) -> str:
    """A change of one setting, with the figure if it is known what it is now."""
    if now is None:
        return f"{what}: {'more' if flag == '--epochs' else 'a higher' if factor > 1 else 'a lower'} {flag}."
    value = now * factor if flag == "--learning-rate" else ceil(now * factor)
    return f"{what}: {flag} {value:g} (now {now:g})."


def _points(entries: Iterable[Mapping[str, Any]], key: str) -> Points:
    """One curve. A figure that is no number any more ends a curve of the training loss, and is none of the others."""
    points = [(float(entry["step"]), float(entry[key])) for entry in entries if entry.get(key) is not None]
    return [point for point in points if isfinite(point[1]) or (key == "loss" and point is points[-1])]


def _from_to(points: Points) -> str:
    return f" (from {points[0][1]:.3g} to {points[-1][1]:.3g})" if len(points) > 1 else ""


def _grew(before: float, after: float) -> bool:
    return after - before > max(LOSS_CHANGE * before, LEAST_LOSS_CHANGE)


def _falling(losses: Sequence[float]) -> bool:
    """Whether the last quarter, taken as a whole, is lower than each one before it."""
    size = max(1, len(losses) // 4)
    means = [fmean(losses[max(0, end - size) : end]) for end in range(len(losses), 0, -size)]
    return len(means) > 1 and _grew(means[0], min(means[1:]))


def _percent(share: float, digits: int = 1) -> str:
    return f"{round(100 * share, digits):g} %"
