"""Which settings a sweep tries: a few choices or a range for each, checked before anything is trained.

    space = default_space(settings)                                   # learning rate, rank, epochs, batch size
    space = load_space(Path("search.yml"), settings)                  # or one's own
    chosen = applied(settings, {"learning_rate": 3e-4, "lora_rank": 8})

A search file has settings as keys, each with a list of values or a range:

    learning_rate: {min: 5.0e-5, max: 1.0e-3, log: true}
    lora_rank: [8, 16, 32]
    epochs: {min: 2, max: 6, step: 1}

This module knows neither torch nor Optuna.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.train.settings import TrainSettings, allowed
from rasa_ft_ext.yaml_reading import read_yaml

OF_LORA = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules")
# What may be searched. The others say what is measured, and on what, or change speed and memory only.
SEARCHED = (
    *("learning_rate", "epochs", "max_steps", "batch_size", "gradient_accumulation", "warmup_ratio", "scheduler"),
    *("weight_decay", "max_grad_norm", "quantization_bits", *OF_LORA),
)
WHOLE = {"max_steps", "batch_size", "gradient_accumulation", "quantization_bits", "lora_rank", "lora_alpha"}
NO_NUMBERS = {"scheduler", "target_modules"}
DIGITS = 3  # of a number from a range: more mean nothing, and make the settings hard to read


@dataclass(frozen=True)
class Choices:
    """Some values, with no order."""

    values: tuple[Any, ...]

    def all(self) -> tuple[Any, ...]:
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; with `step` only each so many, with `log` by their magnitude."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def all(self) -> tuple[float, ...] | None:
        """Its values, None where there are too many to count them."""
        if self.step is None:
            return None
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self.value(self.low + index * self.step) for index in range(count))

    def value(self, number: float) -> float:
        """The setting that stands for a number of the range."""
        return int(number) if self.whole else float(f"{number:.{DIGITS if self.step is None else 9}g}")

    def __contains__(self, value: float) -> bool:
        values = self.all()
        return self.low <= value <= self.high if values is None else value in values


Space = dict[str, Choices | Range]


def default_space(settings: TrainSettings, fixed: Collection[str] = ()) -> Space:
    """What is searched where nobody says it: what matters most, around the settings that are given.

    Args:
        settings: The settings that all trials share.
        fixed: Settings that were chosen, and are not to be searched.
    """
    rate = settings.peak_learning_rate
    space: Space = {
        "learning_rate": Range(float(f"{rate / 4:.{DIGITS}g}"), float(f"{rate * 5:.{DIGITS}g}"), log=True),
        "lora_rank": Choices((8, 16, 32)),
        "epochs": Range(2, 6, step=1),
        "batch_size": Choices((8, 16, 32)),
    }
    unused = {*fixed, *_unused(settings)}
    space = {name: values for name, values in space.items() if name not in unused}
    if not space:
        raise ConfigError(
            "sweep",
            ["Every setting that is searched was given as a flag. Leave one out, or name others with --search."],
        )
    return space


def load_space(file: Path, settings: TrainSettings, fixed: Collection[str] = ()) -> Space:
    """Read a search file; `settings` and `fixed` are those of `default_space`.

    Raises:
        ConfigError: it cannot be searched; names every problem.
    """
    content = read_yaml(file)
    if not isinstance(content, dict) or not content:
        raise ConfigError(str(file), ["It must be a mapping with settings as keys, such as `lora_rank: [8, 16, 32]`."])
    return make_space(content, settings, fixed, where=str(file))


def make_space(
    content: Mapping[Any, Any], settings: TrainSettings, fixed: Collection[str] = (), *, where: str = "search"
) -> Space:
    """The same of a mapping."""
    reading = _Reading(settings, fixed)
    space = {str(name): reading.read(str(name), given) for name, given in content.items()}
    if reading.problems:
        raise ConfigError(where, reading.problems)
    return {name: values for name, values in space.items() if values is not None}


def applied(settings: TrainSettings, chosen: Mapping[str, Any]) -> TrainSettings:
    """The settings with what was chosen for a trial.

    With another rank `lora_alpha` changes in proportion, unless it is chosen as well: the adapter's scale is their
    quotient, and would change the size of every step.
    """
    values = {**settings.model_dump(), **chosen}
    if "lora_rank" in chosen and "lora_alpha" not in chosen:
        values["lora_alpha"] = max(1, round(settings.lora_alpha * chosen["lora_rank"] / settings.lora_rank))
    return TrainSettings(**values)


def given_values(settings: TrainSettings, space: Space) -> dict[str, Any]:
    """What the settings have themselves, of what is searched and has that value."""
    values = {**settings.model_dump(include=set(space)), "learning_rate": settings.peak_learning_rate}
    modules = values.get("target_modules")
    values["target_modules"] = ",".join(modules) if isinstance(modules, tuple) else modules
    return {name: values[name] for name, entry in space.items() if values[name] is not None and values[name] in entry}


def combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination; of a space that `size` gives a number for."""
    for values in product(*(entry.all() or () for entry in space.values())):
        yield dict(zip(space, values, strict=True))


def size(space: Space) -> int | None:
    """How many combinations there are; None where a range has no steps."""
    values = [entry.all() for entry in space.values()]
    return None if None in values else prod(len(entry or ()) for entry in values)


def _unused(settings: TrainSettings) -> dict[str, str]:
    """Settings that would change nothing, each with the reason."""
    unused = {}
    if settings.method == "full":
        unused = dict.fromkeys(OF_LORA, "the method is full, which has no adapter")
    if settings.method != "qlora":
        unused["quantization_bits"] = f"the method is {settings.method}, which does not quantise"
    if settings.max_steps:
        unused["epochs"] = f"max_steps is {settings.max_steps}, whatever epochs says"
    return unused


class _Reading:
    """Makes choices and ranges of what a person wrote, and collects what is wrong with it."""

    def __init__(self, settings: TrainSettings, fixed: Collection[str]) -> None:
        self._settings = settings
        self._fixed = fixed
        self.problems: list[str] = []

    def read(self, name: str, given: Any) -> Choices | Range | None:
        against = self._against(name)
        if against:
            self.problems.append(f"{name} {against}")
        elif isinstance(given, list):
            return self._choices(name, given)
        elif isinstance(given, dict):
            return self._range(name, given)
        else:
            self.problems.append(f"{name} must be a list of values, or a range such as {{min: 1, max: 4}}.")
        return None

    def _against(self, name: str) -> str | None:
        """Why a setting cannot be searched, as the end of a sentence."""
        if name not in TrainSettings.model_fields:
            close = get_close_matches(name.lower().replace("-", "_"), SEARCHED, n=1)
            return f"is no setting{f'; did you mean {close[0]}?' if close else '.'}"
        if name not in SEARCHED:
            return f"cannot be searched. These can: {', '.join(SEARCHED)}."
        if name in self._fixed:
            return "is searched, and given as a flag as well. Leave one of them out."
        reason = _unused(self._settings).get(name)
        return f"would change nothing: {reason}. Leave it out." if reason else None

    def _choices(self, name: str, given: list[Any]) -> Choices | None:
        if not given:
            self.problems.append(f"{name} has no values.")
            return None
        values = [self._valid(name, value) for value in given]
        values = [",".join(value) if isinstance(value, tuple) else value for value in values]
        if None not in values and len(set(values)) < len(values):
            self.problems.append(f"{name} has a value twice.")
        return Choices(tuple(values))

    def _range(self, name: str, given: dict[Any, Any]) -> Range | None:
        before = len(self.problems)
        if name in NO_NUMBERS or name == "quantization_bits":
            self.problems.append(f"{name} has no range: give a list of values.")
            return None
        unknown = sorted(map(str, given.keys() - {"min", "max", "log", "step"}))
        if unknown:
            self.problems.append(f"{name} has {', '.join(unknown)}; a range has min, max, and step or log: true.")
        missing = [end for end in ("min", "max") if end not in given]
        if missing:
            self.problems.append(f"{name} has no {' and no '.join(missing)}.")
        low, high = (None if end in missing else self._valid(name, given[end]) for end in ("min", "max"))
        if low is not None and high is not None and not low < high:
            self.problems.append(f"{name} has a min of {low:g}, which is not below its max of {high:g}.")
        log, step = given.get("log", False), given.get("step")
        if not isinstance(log, bool):
            self.problems.append(f"{name} has a log of {log!r}; it must be true or false.")
        elif log and step is not None:
            self.problems.append(f"{name} has both log and step; a range has one of them at most.")
        elif log and low == 0:
            self.problems.append(f"{name} has a min of 0, which has no magnitude: leave log out, or begin above 0.")
        whole = name in WHOLE
        if step is not None and not _is_step(step, whole):
            self.problems.append(f"{name} has a step of {step!r}; it must be a {'whole ' * whole}number above 0.")
        if len(self.problems) > before or low is None or high is None:
            return None
        if whole and step is None and not log:
            step = 1
        if step is not None:
            high = low + step * int((high - low) / step + 1e-9)
        return Range(low, high, log, step, whole)

    def _valid(self, name: str, value: Any) -> Any:
        """The value as the settings have it, or None and a problem more."""
        if value is None:
            self.problems.append(f"{name} has an empty value; it must be {allowed(name)}.")
            return None
        try:
            return getattr(TrainSettings(**{**self._settings.model_dump(), name: value}), name)
        except ValidationError as error:
            entry = error.errors()[0]
        if entry["loc"]:
            self.problems.append(f"{name} has {value!r}; it must be {allowed(name)}.")
        else:
            self.problems.append(f"{name} cannot be {value!r}. {entry['msg']}")
        return None


def _is_step(step: object, whole: bool) -> bool:
    kinds = int if whole else (int, float)
    return isinstance(step, kinds) and not isinstance(step, bool) and 0 < step < float("inf")
