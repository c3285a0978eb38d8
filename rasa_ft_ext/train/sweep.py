"""`sweep`: which settings are best, by training with several and comparing them on the same validation examples.

    settings = load_settings(None, "qwen3-8b", {})
    summary = sweep(Path("output"), out=Path("sweep"), settings=settings, space=default_space(settings), trials=12)
    summary.ranking[0].chosen                     # of the best one

    sweep/
        search.json             what the sweep depends on
        study.db                Optuna's study: what was chosen for each trial, and how good it was
        trials/001/             a trial: settings, figures and answers, or why it failed; no model
        sweep.json sweep.png    the trials, best first, and how they compare
        best.yml final.yml      the best settings: to train once more, and to train on all rows
        timings.json            seconds of each trial

The same command goes on where a sweep was interrupted: finished trials are kept, and the one that was under way goes on
from its last checkpoint. What is chosen for a trial depends on the seed, its number and the trials before it, so that
an interruption changes nothing.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, TrainingError, WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.folder import CHECKPOINTS, KEY, ModelFolder
from rasa_ft_ext.train.plots import plot_sweep
from rasa_ft_ext.train.preparation import Prepared, Rows, prepare
from rasa_ft_ext.train.processes import how_many
from rasa_ft_ext.train.settings import TrainSettings, dump
from rasa_ft_ext.train.space import Space, applied, size
from rasa_ft_ext.train.stage import measure, quieten, train
from rasa_ft_ext.train.study import Study
from rasa_ft_ext.train.summary import TrainSummary
from rasa_ft_ext.train.trials import Ranked, Trial, conclusion, rank, shown
from rasa_ft_ext.workspace import TIMINGS, write_json

SEARCH = "search.json"
RESULTS, PLOT, BEST, FINAL = "sweep.json", "sweep.png", "best.yml", "final.yml"
FAILURE = "failure.json"


class SweepSummary(Record):
    """What came out of a sweep; `ranking` has all trials, best first, and `final_model` what --final trained."""

    base_model: str
    method: str
    trials: int
    failed_trials: int
    validation_examples: int
    best_trial: int
    best_settings: str
    validation_accuracy: str
    conclusion: tuple[str, ...]
    failures: tuple[str, ...] = ()
    ranking: tuple[Ranked, ...] = ()
    final_model: TrainSummary | None = None


def sweep(
    rows: Rows,
    *,
    out: Path,
    settings: TrainSettings,
    space: Space,
    trials: int = 12,
    final: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SweepSummary:
    """Train with several settings and compare what comes of them.

    Args:
        rows: An output folder of `prepare-data`, or the files to train on and to validate on.
        out: Where the results go; the trials' models are not kept.
        settings: What all trials share.
        space: What is tried (see `rasa_ft_ext.train.space`).
        trials: How many; fewer where the space has fewer combinations.
        final: Then train a model with the best settings on all rows, and save it here.
        force: Start anew and replace what is in `out` (and in `final`).
        progress: Is told how far it is.

    Raises:
        ConfigError: there is nothing to validate on, or the settings cannot work.
        ForeignResultsError: `out` or `final` holds something else.
        TrainingError: not one trial could be finished.
    """
    if how_many() > 1:
        raise ConfigError("sweep", ["It runs in one process. Train with the settings that it finds in several."])
    if trials < 1:
        raise ConfigError("sweep", [f"trials is {trials}; it must be 1 or more."])
    quieten()
    progress = progress or Progress()
    # A trial's curves are in its metrics.json, and its model is not saved.
    prepared = prepare(rows, settings.model_copy(update={"report_to": (), "save_4bit": False}))
    if not prepared.validation:
        raise ConfigError(
            prepared.data.origin.source,
            ["There are no validation examples, and without them settings cannot be compared. Split the data with a "
             "--train-frac below 1, or give a --val-file."],
        )  # fmt: skip
    folder = SweepFolder(out, {**prepared.key, "search": json.loads(json.dumps(space, default=vars))}, force=force)
    if final is not None:
        _refuse_other_model(rows, settings, space, final, force=force)
    folder.begin()
    for note in (*prepared.data.origin.notes, *prepared.chat.notes):
        progress.note(note)
    found = list(_run(Study(folder.root / "study.db", settings, space), prepared, folder, trials, progress))
    if all(trial.reason for trial in found):
        reasons = dict.fromkeys(f"trial {trial.number} ({trial.settings}): {trial.reason}" for trial in found)
        raise TrainingError(
            f"Not one of {len(found)} trials could be finished:\n"
            + "\n".join(f"  - {reason}" for reason in reasons)
            + f"\nChange the settings, and give --force to start anew in {out}."
        )
    summary = _write(folder, prepared, settings, rank(found))
    if final is None:
        return summary
    best = final_settings(settings, summary.ranking[0])
    progress.note(f"Training on all rows: {shown({**summary.ranking[0].chosen, 'epochs': best.epochs})}.")
    try:
        trained = train(rows, out=final, settings=best, final=True, force=force, progress=progress)
    except ForeignResultsError as error:
        raise ForeignResultsError(
            f"The sweep is finished, but {final} holds a model of other settings. Replace it with: rasa-ft train "
            f"--settings {out / FINAL} --final --force, and the rows as they are given here."
        ) from error
    return summary.model_copy(update={"final_model": trained})


def final_settings(settings: TrainSettings, best: Ranked) -> TrainSettings:
    """The settings for training on all rows, where no validation set says when to stop.

    The epochs are those after which the best trial was best, so the learning rate falls to its end by then.
    """
    chosen = {**best.chosen, "epochs": best.best_epoch, "max_steps": None}
    return applied(settings, chosen)


class SweepFolder:
    """The folder of a sweep: what it depends on, and what was measured in each trial."""

    def __init__(self, root: Path, key: dict[str, Any], *, force: bool) -> None:
        self.root = root
        self._key = json.loads(json.dumps(key, default=str))
        self._force = force

    def begin(self) -> None:
        """Make room.

        Raises:
            ForeignResultsError: there is another sweep, and `force` is off; or there is anything else.
            WorkspaceError: the folder cannot be written.
        """
        file = self.root / SEARCH
        if self.root.is_file() or (self.root.is_dir() and any(self.root.iterdir()) and not file.is_file()):
            raise ForeignResultsError(
                f"{self.root} holds files that no sweep wrote. Give another folder with --out-sweep, or empty this one."
            )
        if not self._force:
            self._refuse_others(file)
        try:
            if self._force:
                shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True, exist_ok=True)
            write_json(file, self._key)
        except OSError as error:
            raise WorkspaceError(
                f"{self.root} cannot be written: {error.strerror or error}. Give another folder with --out-sweep."
            ) from error

    def _refuse_others(self, file: Path) -> None:
        found = _read(file) if file.is_file() else self._key
        differing = sorted(name for name in {*found, *self._key} if found.get(name) != self._key.get(name))
        if differing:
            raise ForeignResultsError(
                f"{self.root} holds another sweep (it differs in: {', '.join(differing)}). Give another folder with "
                "--out-sweep, or --force to replace it."
            )

    def trial(self, number: int) -> Path:
        return self.root / "trials" / f"{number:03}"

    def result(self, number: int, chosen: dict[str, Any], prepared: Prepared) -> Trial | None:
        """What a trial came to; None where it has not ended."""
        place = self.trial(number)
        if (place / FAILURE).is_file():
            return Trial(number=number, chosen=chosen, reason=_read(place / FAILURE)["reason"])
        if not (place / "metrics.json").is_file():
            return None
        metrics = _read(place / "metrics.json")
        lines = (place / "answers.jsonl").read_text(encoding="utf-8").splitlines()
        right = {row["name"]: row["right"] for row in map(json.loads, lines)}
        step = metrics["best_step"] or metrics["steps"]
        seconds = _read(place / TIMINGS)["seconds"] if (place / TIMINGS).is_file() else None
        return Trial(
            number=number,
            chosen=chosen,
            right=tuple(right[example.name] for example in prepared.validation),
            loss=metrics["validation"]["loss"],
            best_step=step,
            best_epoch=_epoch(metrics["history"], step),
            seconds=seconds,
        )

    def failed(self, number: int, reason: str) -> None:
        """Note why a trial failed; what it left is removed."""
        shutil.rmtree(self.trial(number), ignore_errors=True)
        write_json(self.trial(number) / FAILURE, {"reason": reason})


def _run(study: Study, prepared: Prepared, folder: SweepFolder, trials: int, progress: Progress) -> Iterator[Trial]:
    """Yield each trial once it has ended; those of an earlier run at once."""
    total = min(trials, size(study.space) or trials)
    for number, chosen in study.trials(total):
        trial = folder.result(number, chosen, prepared)
        if trial is None:
            _train(number, chosen, prepared, folder, _Shown(progress, f"Trial {number} of {total}"))
            trial = folder.result(number, chosen, prepared)
            if trial is None:
                raise WorkspaceError(f"{folder.trial(number)} was changed while its trial was under way.")
            progress.note(f"Trial {number} of {total}: {trial.settings}: {_outcome(trial)}")
        study.tell(number, None if trial.reason else trial.hits / len(trial.right), trial.loss)
        yield trial


def _train(number: int, chosen: dict[str, Any], prepared: Prepared, folder: SweepFolder, progress: Progress) -> None:
    """Train for a trial, and leave its figures or the reason why there are none."""
    place = folder.trial(number)
    begun_before = place.exists()
    start = perf_counter()
    reason = None
    try:
        settings = applied(prepared.settings, chosen)
        measure(replace(prepared, settings=settings), place, progress=progress)
        loss = _read(place / "metrics.json")["validation"]["loss"]
        if not isfinite(loss):
            reason = f"The training diverged: the validation loss is {loss}. A lower learning_rate helps."
    except TrainingError as error:
        reason = str(error)
    _free_memory()  # outside of the handler, whose traceback holds the model
    if reason:
        folder.failed(number, reason)
    elif not begun_before:
        write_json(place / TIMINGS, {"seconds": round(perf_counter() - start, 1)})


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _write(
    folder: SweepFolder, prepared: Prepared, settings: TrainSettings, ranked: tuple[Ranked, ...]
) -> SweepSummary:
    best = ranked[0]
    failed = [trial for trial in ranked if trial.verdict == "failed"]
    summary = SweepSummary(
        base_model=settings.base_model,
        method=settings.method,
        trials=len(ranked),
        failed_trials=len(failed),
        validation_examples=best.examples,
        best_trial=best.number,
        best_settings=best.settings,
        validation_accuracy=f"{best.accuracy:.1%} ({best.correct} of {best.examples})",
        conclusion=conclusion(ranked),
        failures=tuple(f"trial {trial.number}: {_outcome(trial)}" for trial in failed),
        ranking=ranked,
    )
    write_json(folder.root / RESULTS, summary.model_dump(mode="json", exclude={"final_model"}))
    write_json(folder.root / TIMINGS, {str(trial.number): trial.seconds for trial in sorted(ranked, key=_number)})
    plot_sweep([trial.model_dump() for trial in ranked], folder.root / PLOT)
    for name, text, values in (
        (BEST, f"The settings of trial {best.number}, the best of a sweep.", applied(settings, best.chosen)),
        (FINAL, f"The same for training on all rows, with --final: it was best after {best.best_epoch:g} epochs.",
         final_settings(settings, best)),
    ):  # fmt: skip
        (folder.root / name).write_text(f"# {text}\n{dump(values)}", encoding="utf-8")
    return summary


def _refuse_other_model(rows: Rows, settings: TrainSettings, space: Space, out: Path, *, force: bool) -> None:
    """Find out before the search whether its best settings can be trained into a folder."""
    key = prepare(rows, settings, final=True).key
    found = next((_read(file) for file in (out / KEY, out / CHECKPOINTS / KEY) if file.is_file()), {})
    open_yet = {*space, "lora_alpha", "epochs", "max_steps"} & found.keys()
    ModelFolder(out, {**key, **{name: found[name] for name in open_yet}}, force=force).is_done()


class _Shown(Progress):
    """Shows a trial's training as one bar, and nothing else of it."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._training = False

    def start(self, what: str, total: int) -> None:
        self._training = what.startswith("Training")
        if self._training:
            self._progress.start(self._name, total)

    def step(self, parts: int = 1) -> None:
        if self._training:
            self._progress.step(parts)


def _outcome(trial: Trial) -> str:
    if trial.reason:
        return f"failed. {trial.reason.splitlines()[0]}"
    return f"{trial.hits / len(trial.right):.1%} ({trial.hits} of {len(trial.right)}), loss {trial.loss:.4f}"


def _number(trial: Trial) -> int:
    return trial.number


def _epoch(history: list[dict[str, Any]], step: int) -> float:
    """The epoch that a step ended in."""
    return next(round(float(entry["epoch"]), 4) for entry in history if entry["step"] == step and "epoch" in entry)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}. Give --force to start the sweep anew.") from error
    return value if isinstance(value, dict) else {}
