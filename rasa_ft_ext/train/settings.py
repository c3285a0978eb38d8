"""The settings of a training: one record, every field with its sentence, every problem told at once.

    settings = load_settings(Path("train.yml"), recipe="qwen3-8b", overrides={"epochs": 5})
    settings.peak_learning_rate      # 0.0002, as the method has it
    dump(settings)                   # YAML that `load_settings` reads back

A recipe is a settings file that ships, for one base model; a file of one's own comes on top of it, and flags on top of
both. A settings file has the fields' names as keys. The flags of the command line are made from this class by
`rasa_ft_ext.cli.train`, which reads it as text: keep a field's type, default and sentences simple. This module knows
neither torch nor what a model can do; whether base model, device and data fit is found out when they are loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.yaml import to_yaml
from rasa_ft_ext.yaml_reading import read_yaml

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Allowed:
    """What a value must be, as the end of a sentence."""

    text: str


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a truth value is no number")
    return value


def _items(value: object) -> object:
    """A text as its parts between commas; `none` is no part."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    return [] if parts == ["none"] else parts


def _modules(value: object) -> object:
    return value if value == "all-linear" else _items(value)


def _from_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _template_arguments(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if _TAKEN & value.keys():
        raise ValueError("set by the training itself")
    return value


_TAKEN = {"conversation", "messages", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message"}
_ONE = "a whole number of 1 or more"
_ZERO = "a whole number of 0 or more"

Name = Annotated[str, Field(min_length=1, pattern=r"\S"), Allowed("a name")]
Model = Annotated[Name, Allowed("the name of a model on the Hugging Face hub, such as org/model, or a folder")]
AdapterFolder = Annotated[Path, Allowed("the path of a folder")]
TemplateFile = Annotated[Path, Allowed("the path of a Jinja file")]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1), Allowed(_ONE)]
CountOrNone = Annotated[int, BeforeValidator(_no_bool), Field(ge=0), Allowed(_ZERO)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, lt=2**32), Allowed(f"{_ZERO}, below 2^32")]
Positive = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False), Allowed("a number above 0")]
NotNegative = Annotated[
    float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False), Allowed("a number of 0 or more")
]
Share = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, lt=1), Allowed("a number from 0 to less than 1")]
Switch = Annotated[bool, Allowed("true or false")]
Modules = Annotated[
    Literal["all-linear"] | Annotated[tuple[Name, ...], Field(min_length=1)],
    BeforeValidator(_modules),
    Allowed("all-linear, or the names of modules such as q_proj, v_proj"),
]
Trackers = Annotated[
    tuple[Literal["tensorboard", "wandb", "mlflow"], ...],
    BeforeValidator(_items),
    Allowed("none, or any of tensorboard, wandb and mlflow"),
]
TemplateArguments = Annotated[
    dict[str, JsonValue],
    BeforeValidator(_from_json),
    AfterValidator(_template_arguments),
    Allowed(f"a mapping (on the command line: JSON) without {', '.join(sorted(_TAKEN))}"),
]


class Conflict(NamedTuple):
    """Settings that are possible each, but not together."""

    fields: tuple[str, ...]
    reason: str


class TrainSettings(BaseModel):
    """How a model is fine-tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_model: Model
    """Model to start from: its name on the Hugging Face hub, or a folder. Take one that follows instructions already
    (an Instruct model). A token for models behind a licence is taken from HF_TOKEN, or from the login of `hf`."""
    revision: Name | None = None
    """Branch, tag or commit of the base model on the hub. A commit makes sure that the next training starts from the
    same weights."""
    method: Literal["lora", "qlora", "full"] = "lora"
    """What is trained: `lora` a small adapter, which does for a few hundred to a few thousand examples what a full
    training does; `qlora` the same on a quantised base, for small GPUs; `full` all weights, with some eight times the
    memory."""
    quantization_bits: Literal[4, 8] = 4
    """Bits of a weight of the base under `qlora`: 4 (NF4) needs half the memory of 8 and is hardly worse."""
    lora_rank: Count = 16
    """Rank of the adapter's matrices. 16 is plenty for some thousand short answers; a higher one costs memory."""
    lora_alpha: Count = 32
    """Scale of the adapter, which counts as lora_alpha / lora_rank: 2, with the defaults."""
    lora_dropout: Share = 0.0
    """Share of the adapter's inputs that is dropped while training. Above 0, prefix sharing is off: examples that share
    a prefix would have to share what is dropped."""
    target_modules: Modules = "all-linear"
    """Modules that get an adapter: `all-linear`, every linear layer but the output, which is better than attention
    alone at the same size; or their names, with commas between them."""

    adapter: AdapterFolder | None = None
    """Folder of an adapter to go on from in place of a new one, such as `adapter` of an earlier training. It must have
    been trained on the same base model; its rank and its modules hold."""

    learning_rate: Positive | None = None
    """Highest learning rate. Left out, it is 2e-4 for lora and qlora and 1e-5 for full: an adapter wants ten times as
    much as all weights do, and more when the training is short."""
    epochs: Positive = 3.0
    """How often every example is seen. The checkpoint with the best command accuracy is kept, so that too many cost
    time only."""
    max_steps: Count | None = None
    """End after so many optimizer steps, whatever `epochs` says."""
    batch_size: Count = 16
    """Examples at a time on each device. With prefix sharing a bigger batch costs little, as its examples share their
    prompts' beginning; lower it first when memory runs out."""
    gradient_accumulation: Count = 1
    """Batches for one optimizer step. Half the batch_size with twice this gives the same training in less memory."""
    warmup_ratio: Share = 0.05
    """Share of the steps in which the learning rate rises to its highest value."""
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """How the learning rate goes on after that."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW. An adapter that starts at zero needs none."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm, so that one odd batch does no harm."""
    seed: Seed = 42
    """Seed of the adapter's first values and of the examples' order."""

    max_length: Count = 4096
    """Most tokens of an example, prompt and completion together. Prompts of commands have 1,000 to 2,000; nothing is
    ever cut off."""
    over_length: Literal["refuse", "drop"] = "refuse"
    """What happens to an example that is longer: `refuse` ends before the training and names it, `drop` leaves it out
    and lists it."""
    chat_template: TemplateFile | None = None
    """Jinja file with a chat template in place of the base model's own, or for a base that has none."""
    chat_template_kwargs: TemplateArguments = {}
    """Arguments for the chat template, such as {"enable_thinking": false}. They are written into the template that is
    saved; where that cannot be, a note says what the server has to be given."""

    prefix_sharing: Literal["auto", "on", "off"] = "auto"
    """Compute the beginning that prompts of a batch have in common once, with the same loss and gradients. `auto` does
    so where it is exact and saves time, and says why where not; `on` makes that an error."""
    gradient_checkpointing: Switch | None = None
    """Keep less for the backward pass and compute it anew: less memory, a third more time. Left out, it is on with
    CUDA and off elsewhere."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers to compute with. `auto` is bf16 where the GPU has it, and fp32 elsewhere."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train. `auto` takes the first of cuda, mps (Apple) and cpu that there is."""

    evaluations_per_epoch: Positive = 1.0
    """Evaluations on the validation set in an epoch, each with loss and command accuracy: 2 is twice an epoch, 0.5
    every other epoch. Each one leaves a checkpoint to choose or resume from."""
    early_stopping_patience: CountOrNone = 3
    """End after so many evaluations in a row without a better command accuracy, or a lower loss at the same one; 0
    never ends early."""
    answers_max_tokens: Count = 256
    """Most tokens of an answer in an evaluation. Commands have 5 to 40, so only a model that babbles gets there."""
    eval_batch_size: Count = 16
    """Validation examples at a time on each device."""
    syntax: Literal["v1", "v2", "v3"] | None = None
    """Version of the command language that answers are read in. Left out, it is the one that the data says."""
    report_to: Trackers = ("tensorboard",)
    """Where the curves go as well: any of tensorboard, wandb and mlflow, with commas between them, or none."""

    save_4bit: Switch = False
    """Save the merged model in 4 bit as well (`--save 4bit`), for GPUs on which 16 bit do not fit. The 16 bit are saved
    in any case."""

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate, by method where none is set."""
        return self.learning_rate or (1e-5 if self.method == "full" else 2e-4)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        conflicts = list(self._conflicts())
        if conflicts:
            text = " ".join(f"{' and '.join(conflict.fields)}: {conflict.reason}." for conflict in conflicts)
            raise PydanticCustomError("conflicts", "{text}", {"text": text, "conflicts": conflicts})
        return self

    def _conflicts(self) -> Iterable[Conflict]:
        if self.device == "mps":
            if self.method == "qlora":
                yield Conflict(
                    ("method", "device"), "quantising on Apple GPUs is not supported here; take lora, or cuda"
                )
            if self.save_4bit:
                yield Conflict(
                    ("save_4bit", "device"), "quantising on Apple GPUs is not supported here; save 16 bit only"
                )
        if self.prefix_sharing == "on":
            if self.lora_dropout and self.method != "full":
                yield Conflict(("prefix_sharing", "lora_dropout"), "it is exact only without dropout; take 0, or auto")
            if self.batch_size == 1:
                yield Conflict(("prefix_sharing", "batch_size"), "one example has nothing to share; take 2 or more")


_OF_LORA = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules", "adapter")
_UNUSED = {"lora": ("quantization_bits",), "qlora": (), "full": ("quantization_bits", *_OF_LORA)}
_USED_BY = {"quantization_bits": "qlora", **dict.fromkeys(_OF_LORA, "lora and qlora")}

# What other tools, and the notebook that people come from, call the same.
_OTHER_NAMES = {
    **dict.fromkeys(("model", "model_name", "model_name_or_path", "pretrained_model_name_or_path"), "base_model"),
    **dict.fromkeys(("r", "lora_r", "rank"), "lora_rank"),
    **dict.fromkeys(("lora_target_modules", "modules"), "target_modules"),
    **dict.fromkeys(("num_train_epochs", "num_epochs"), "epochs"),
    **dict.fromkeys(("per_device_train_batch_size", "train_batch_size", "micro_batch_size"), "batch_size"),
    **dict.fromkeys(("max_seq_length", "max_seq_len", "cutoff_len"), "max_length"),
    **dict.fromkeys(("load_in_4bit", "load_in_8bit", "bits"), "quantization_bits"),
    **dict.fromkeys(("save", "save_method"), "save_4bit"),
    "gradient_accumulation_steps": "gradient_accumulation",
    "per_device_eval_batch_size": "eval_batch_size",
    "lr": "learning_rate",
    "lr_scheduler_type": "scheduler",
    "max_new_tokens": "answers_max_tokens",
}


def recipes() -> dict[str, str]:
    """The recipes that ship: their names, each with the line that its file begins with."""
    files = sorted(RECIPES.glob("*.yml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def dump(settings: TrainSettings) -> str:
    """YAML that gives the same settings again; without what is left open or what the method does not use."""
    return to_yaml(used_values(settings))


def used_values(settings: TrainSettings) -> dict[str, Any]:
    """The settings that the method uses, as JSON has them; without what is left open."""
    return settings.model_dump(mode="json", exclude_none=True, exclude={*_UNUSED[settings.method]})


def load_settings(
    file: Path | None, recipe: str | None, overrides: Mapping[str, object], *, project: Path | None = None
) -> TrainSettings:
    """Put recipe, file and flags together.

    Args:
        file: A YAML file with settings; they go before those of the recipe.
        recipe: One of `recipes()`.
        overrides: Settings that go before all others; an error names them as flags of the command line.
        project: The folder that relative paths start from; those in `file` may be beside it as well.

    Raises:
        ConfigError: the settings cannot work; names every problem, with the value and where it was given.
    """
    reading = _Reading(project or Path())
    if recipe is not None:
        reading.read_recipe(recipe)
    if file is not None:
        reading.read_file(file)
    reading.add(None, overrides)
    return reading.settings()


class _Given(NamedTuple):
    """A value and where it was given: in a layer of a rank, which has a name unless it is the command line."""

    value: Any
    rank: int
    where: str | None
    folder: Path | None


class _Reading:
    """Collects values of the layers, the later ones on top, and the problems of all."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._given: dict[str, _Given] = {}
        self._problems: list[str] = []
        self._layers = 0
        self._complete = True

    def read_recipe(self, name: str) -> None:
        known = recipes()
        if name in known:
            self._read(RECIPES / f"{name}.yml", f"the recipe {name}")
            return
        hint = _did_you_mean(name, known)
        self._unreadable(
            f"There is no recipe {name!r}{hint} The recipes are {_listed(known, 'and')}; a file of your own is given "
            "with --settings."
        )

    def read_file(self, file: Path) -> None:
        self._read(file, str(file), file.parent)

    def _read(self, file: Path, where: str, folder: Path | None = None) -> None:
        try:
            content = read_yaml(file)
        except ConfigError as error:
            self._unreadable(f"{where} {error.problems[0].removeprefix('it ')}.")
        else:
            if content is None or isinstance(content, dict):
                self.add(where, content or {}, folder)
            else:
                self._unreadable(f"{where} must be a mapping with settings as keys, such as `epochs: 3`.")

    def _unreadable(self, problem: str) -> None:
        self._problems.append(problem)
        self._complete = False

    def add(self, where: str | None, values: Mapping[Any, Any], folder: Path | None = None) -> None:
        """Lay values on top of those that were given before."""
        self._layers += 1
        for key, value in values.items():
            if key in TrainSettings.model_fields:
                self._given[key] = _Given(value, self._layers, where, folder)
            else:
                name = _flag(str(key)) if where is None else f"{key} in {where}"
                self._problems.append(f"{name} is no setting{_hint(str(key))}")

    def settings(self) -> TrainSettings:
        """The settings, or every problem in one error."""
        self._leave_behind()
        self._find_files()
        settings = self._validated()
        if self._problems or settings is None:
            raise ConfigError("The settings of the training cannot work", self._problems)
        return settings

    def _leave_behind(self) -> None:
        """Drop what a lower layer says for another method or base model than the one that a higher layer chose."""
        method, rank = "lora", 0
        if "method" in self._given:
            method, rank = str(self._given["method"].value), self._given["method"].rank
        for name in _UNUSED.get(method, ()):
            if name not in self._given:
                continue
            if self._given[name].rank < rank:
                del self._given[name]
            else:
                self._problems.append(
                    f"{self._said(name)}, but the method is {method}: it is for {_USED_BY[name]} only. Leave it "
                    "out, or change the method."
                )
        revision, base = self._given.get("revision"), self._given.get("base_model")
        if revision and base and revision.rank < base.rank:
            del self._given["revision"]

    def _find(self, name: str, is_there: Callable[[Path], bool]) -> None:
        given = self._given.get(name)
        if given and isinstance(given.value, str) and given.value:
            found = next((place for place in self._places(given) if is_there(place)), None)
            if found is None:
                places = " and no ".join(map(str, self._places(given)))
                self._problems.append(f"{self._said(name)}, but there is no {places}.")
            self._given[name] = given._replace(value=found or given.value)

    def _find_files(self) -> None:
        """Turn relative paths into those that are there."""
        base = self._given.get("base_model")
        self._find("chat_template", Path.is_file)
        self._find("adapter", Path.is_dir)
        if base and isinstance(base.value, str) and base.value.strip():
            folder = next((place for place in self._places(base) if place.is_dir()), None)
            if folder:
                self._given["base_model"] = base._replace(value=str(folder))
                if self._given.get("revision"):
                    self._problems.append(
                        f"{self._said('revision')}, but the base model is the folder {folder}: only models of the hub "
                        "have revisions."
                    )
            elif not _HUB_NAME.fullmatch(base.value):
                self._problems.append(
                    f"{self._said('base_model')}, but there is no such folder, and models of the hub have names such "
                    "as org/model."
                )

    def _places(self, given: _Given) -> list[Path]:
        path = Path(given.value).expanduser()
        folders = [given.folder, self._project] if given.folder is not None else [self._project]
        return list(dict.fromkeys(folder / path for folder in folders))

    def _validated(self) -> TrainSettings | None:
        values = {name: given.value for name, given in self._given.items()}
        try:
            return TrainSettings(**values)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        wrong = {str(entry["loc"][0]): entry for entry in errors if entry["loc"]}
        self._problems += [problem for name in wrong for problem in self._wrong(name)]
        if wrong:  # what is wrong together is found only where nothing is wrong alone
            rest = {name: value for name, value in values.items() if name not in wrong}
            try:
                TrainSettings(**{"base_model": "some/model", **rest})
            except ValidationError as error:
                errors = error.errors(include_url=False)
        self._problems += [self._together(conflict) for conflict in _conflicts_in(errors)]
        return None

    def _wrong(self, name: str) -> Iterable[str]:
        if name in self._given:
            yield f"{self._said(name)}; it must be {allowed(name)}."
        elif self._complete:
            yield (
                "base_model is missing: give the name of a model on the hub or a folder with --base-model or in a "
                f"settings file, or take a recipe with --recipe: {_listed(recipes(), 'or')}."
            )

    def _together(self, conflict: Conflict) -> str:
        return f"{' and '.join(map(self._said, conflict.fields))}: {conflict.reason}."

    def _said(self, name: str) -> str:
        """What was given for a setting, and where."""
        given = self._given.get(name)
        if given is None:
            return f"{name} is {_shown(TrainSettings.model_fields[name].default)} by default"
        if given.where is None:
            value = "4bit" if name == "save_4bit" and given.value is True else given.value
            return f"{_flag(name)} is {value}"
        return f"{name} in {given.where} is {_shown(given.value)}"


_HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")


def allowed(name: str) -> str:
    """What a setting must be, as the end of a sentence."""
    field = TrainSettings.model_fields[name]
    return next(_allowed([field.annotation, *field.metadata]))


def _allowed(kinds: Iterable[Any]) -> Iterator[str]:
    kinds = list(kinds)
    yield from [kind.text for kind in reversed(kinds) if isinstance(kind, Allowed)]
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield _listed(map(str, get_args(kind)), "or")
        elif get_args(kind):
            yield from _allowed(get_args(kind))


def _conflicts_in(errors: Iterable[ErrorDetails]) -> list[Conflict]:
    return [conflict for entry in errors if entry["type"] == "conflicts" for conflict in entry["ctx"]["conflicts"]]


def _flag(name: str) -> str:
    return "--save" if name == "save_4bit" else f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _hint(key: str) -> str:
    plain = key.strip().lower().replace("-", "_")
    if plain in _OTHER_NAMES:
        return f"; it is called {_OTHER_NAMES[plain]} here."
    return _did_you_mean(plain, TrainSettings.model_fields)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _listed(names: Iterable[str], word: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
