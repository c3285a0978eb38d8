"""Optuna's study of a sweep, in a SQLite file: what is tried next.

    for number, chosen in Study(Path("sweep/study.db"), settings, space).trials(12):
        ...                                        # train with `chosen`
        study.tell(number, accuracy, loss)         # or None: it failed

Trials of before come first, with the one that was interrupted. Where all combinations can be tried they are, in order;
else the first trial has the settings as they are given, and Optuna's TPE chooses the others by those before. This
module knows nothing of trainings.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import MissingExtraError, WorkspaceError
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.train.space import Choices, Space, combinations, given_values, size

NAME = "sweep"
AT_RANDOM = 5  # trials before the first that learns from others
REPEATS, MOST_REPEATS = 5, 10_000  # choices that were made before, until one is drawn at random, and until we give up


class Study:
    """One study.

    Args:
        file: The SQLite file; it need not exist yet.
        settings: What all trials share; its seed is that of the choices.
        space: What is chosen from.

    Raises:
        MissingExtraError: Optuna is not installed.
        WorkspaceError: the file holds no study.
    """

    def __init__(self, file: Path, settings: TrainSettings, space: Space) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingExtraError("Optuna", "train") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = space
        self._settings = settings
        try:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA schema_version")
            self._study = optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name=NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=self._sampler(0),
            )
        except (sqlite3.Error, optuna.exceptions.OptunaError, RuntimeError) as error:
            raise WorkspaceError(
                f"{file} holds no study that can be read: {str(error).splitlines()[0]} Give --force to start anew."
            ) from error

    def trials(self, total: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number, from 1 on, and choices of so many trials, or of all that are there already if these are more.

        `tell` must have been called for one before the next.
        """
        known = self._known()
        for number in range(1, max(total, len(known)) + 1):
            if number > len(known):
                self._ask(total)
                known = self._known()
            yield number, self._chosen(known[number - 1].params) or {}

    def tell(self, number: int, accuracy: float | None, loss: float | None) -> None:
        """Say what came of a trial: None where it failed. Among equal accuracies the lower loss is better."""
        from optuna.trial import TrialState

        trial = self._known()[number - 1]
        if trial.state != TrialState.RUNNING:
            return
        if accuracy is None:
            self._study.tell(trial.number, state=TrialState.FAIL)
        else:
            self._study.tell(trial.number, accuracy + 1e-6 / (1 + (loss or 0.0)))

    def _all(self) -> list[Any]:
        trials: list[Any] = self._study.get_trials(deepcopy=False)
        return trials

    def _known(self) -> list[Any]:
        """The trials that count: none that was only asked for, and none that repeats one before."""
        from optuna.trial import TrialState

        known: dict[tuple[Any, ...], Any] = {}
        for trial in self._all():
            chosen = self._chosen(trial.params)
            if chosen is not None and trial.state != TrialState.WAITING:
                known.setdefault(tuple(chosen.values()), trial)
            elif trial.state == TrialState.RUNNING:  # ended between being asked for and being chosen
                self._study.tell(trial.number, state=TrialState.FAIL)
        return list(known.values())

    def _ask(self, total: int) -> None:
        """Choose for one more trial."""
        from optuna.trial import TrialState

        tried = [self._chosen(trial.params) for trial in self._known()]
        possible = size(self.space)
        for repeats in range(MOST_REPEATS):
            if possible is not None and possible <= total:
                self._enqueue(next(chosen for chosen in combinations(self.space) if chosen not in tried))
            elif not tried:
                self._enqueue(given_values(self._settings, self.space))
            self._study.sampler = self._sampler(len(tried), repeats)
            trial = self._study.ask()
            if self._choose(trial) not in tried:
                return
            self._study.tell(trial, state=TrialState.FAIL)
        raise AssertionError("a choice that was not made before was not found")

    def _enqueue(self, chosen: dict[str, Any]) -> None:
        from optuna.trial import TrialState

        if not any(trial.state == TrialState.WAITING for trial in self._all()):
            self._study.enqueue_trial(chosen)

    def _sampler(self, trials: int, repeats: int = 0) -> Any:
        """A sampler of its own for each choice: what it draws does not depend on what was drawn since the start."""
        import optuna

        seed = (self._settings.seed + MOST_REPEATS * trials + repeats) % 2**32
        if repeats < REPEATS:
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM)
        return optuna.samplers.RandomSampler(seed=seed)

    def _choose(self, trial: Any) -> dict[str, Any]:
        for name, entry in self.space.items():
            if isinstance(entry, Choices):
                trial.suggest_categorical(name, entry.values)
            elif entry.whole:
                trial.suggest_int(name, entry.low, entry.high, step=entry.step or 1, log=entry.log)
            else:
                trial.suggest_float(name, entry.low, entry.high, step=entry.step, log=entry.log)
        return self._chosen(trial.params) or {}

    def _chosen(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """What Optuna has chosen, as settings; None where it has not chosen all."""
        if any(name not in params for name in self.space):
            return None
        return {
            name: params[name] if isinstance(entry, Choices) else entry.value(params[name])
            for name, entry in self.space.items()
        }
