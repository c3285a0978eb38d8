"""Settings of a training: where they come from, what is refused, and the flags that are made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

import rasa_ft_ext.train
from rasa_ft_ext.cli import train as cli
from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.errors import ConfigError, MissingExtraError
from rasa_ft_ext.train import libraries
from rasa_ft_ext.train.settings import RECIPES, TrainSettings, allowed, dump, load_settings, recipes

FIELDS = list(TrainSettings.model_fields)
BASE = "org/model"

# A value for each flag that is not its default, as typed and as it is meant.
TYPED: dict[str, tuple[str, Any]] = {
    "base_model": ("org/other", "org/other"),
    "revision": ("abc123", "abc123"),
    "method": ("qlora", "qlora"),
    "quantization_bits": ("8", 8),
    "lora_rank": ("8", 8),
    "lora_alpha": ("64", 64),
    "lora_dropout": ("0.1", 0.1),
    "target_modules": ("q_proj, v_proj", ("q_proj", "v_proj")),
    "learning_rate": ("5e-5", 5e-5),
    "epochs": ("0.5", 0.5),
    "max_steps": ("7", 7),
    "batch_size": ("4", 4),
    "gradient_accumulation": ("2", 2),
    "warmup_ratio": ("0", 0.0),
    "scheduler": ("linear", "linear"),
    "weight_decay": ("0.01", 0.01),
    "max_grad_norm": ("0.3", 0.3),
    "seed": ("0", 0),
    "max_length": ("2048", 2048),
    "over_length": ("drop", "drop"),
    "adapter": ("before", Path("before")),
    "chat_template": ("chat.jinja", Path("chat.jinja")),
    "chat_template_kwargs": ('{"enable_thinking": false}', {"enable_thinking": False}),
    "prefix_sharing": ("off", "off"),
    "gradient_checkpointing": ("", True),
    "precision": ("bf16", "bf16"),
    "device": ("cpu", "cpu"),
    "evaluations_per_epoch": ("2", 2.0),
    "early_stopping_patience": ("0", 0),
    "answers_max_tokens": ("64", 64),
    "eval_batch_size": ("1", 1),
    "syntax": ("v3", "v3"),
    "report_to": ("wandb,mlflow", ("wandb", "mlflow")),
    "save_4bit": ("4bit", True),
}


def loaded(text: str = "", recipe: str | None = None, folder: Path | None = None, **flags: object) -> TrainSettings:
    """Settings of a file with this text, and of flags."""
    file = None
    if folder is not None:
        file = folder / "my.yml"
        file.write_text(text, encoding="utf-8")
    return load_settings(file, recipe, flags)


def problems(text: str, folder: Path, recipe: str | None = None, **flags: object) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(text, recipe, folder, **flags)
    return [problem.replace(f"{folder}/", "") for problem in error.value.problems]


def parsed(*argv: str) -> Namespace:
    parser = ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(argv)


# ---- what settings are


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-4), ("qlora", 2e-4), ("full", 1e-5)])
def test_the_learning_rate_is_that_of_the_method_unless_one_is_set(method: str, rate: float) -> None:
    assert loaded(base_model=BASE, method=method).peak_learning_rate == rate
    assert loaded(base_model=BASE, method=method, learning_rate=3e-5).peak_learning_rate == 3e-5


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_its_sentences_and_says_what_is_allowed(name: str) -> None:
    assert (TrainSettings.model_fields[name].description or "").endswith(".")
    assert allowed(name)


def test_settings_do_not_change_and_know_no_other_names() -> None:
    settings = TrainSettings(base_model=BASE)
    with pytest.raises(ValidationError):
        settings.epochs = 4.0
    with pytest.raises(ValidationError):
        TrainSettings(base_model=BASE, epoch=4)  # type: ignore[call-arg]
    assert settings.chat_template_kwargs is not TrainSettings(base_model=BASE).chat_template_kwargs


def test_the_command_languages_are_those_that_can_be_read() -> None:
    assert cli.settings_in_source()["syntax"].choices == get_args(Syntax)


# ---- where they come from


def test_flags_go_before_the_file_and_the_file_before_the_recipe(tmp_path: Path) -> None:
    settings = loaded("epochs: 5\nbatch_size: 4", "qwen3-8b", tmp_path, epochs="7")

    assert (settings.epochs, settings.batch_size, settings.base_model) == (7, 4, "Qwen/Qwen3-8B")
    assert settings.lora_rank == 16
    assert loaded("base_model: org/mine", "qwen3-8b", tmp_path).base_model == "org/mine"


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_is_no_settings(text: str, tmp_path: Path) -> None:
    assert loaded(text, folder=tmp_path, base_model=BASE) == TrainSettings(base_model=BASE)


def test_numbers_and_lists_are_read_as_people_write_them(tmp_path: Path) -> None:
    settings = loaded(
        "learning_rate: 2e-4\nprefix_sharing: on\ntarget_modules: [q_proj]\nreport_to: []",
        folder=tmp_path,
        base_model=BASE,
    )
    assert (settings.learning_rate, settings.prefix_sharing) == (2e-4, "on")
    assert (settings.target_modules, settings.report_to) == (("q_proj",), ())
    assert loaded(base_model=BASE, report_to="none").report_to == ()


def test_what_a_lower_layer_says_for_another_method_is_left_behind(tmp_path: Path) -> None:
    assert loaded(recipe="codellama-13b-instruct", method="lora").method == "lora"
    settings = loaded(
        "lora_rank: 64\nquantization_bits: 8\nmethod: qlora", folder=tmp_path, base_model=BASE, method="full"
    )
    assert (settings.method, settings.lora_rank, settings.quantization_bits) == ("full", 16, 4)


def test_a_revision_is_left_behind_with_its_base_model(tmp_path: Path) -> None:
    text = "base_model: org/one\nrevision: abc"
    assert loaded(text, folder=tmp_path).revision == "abc"
    assert loaded(text, folder=tmp_path, base_model="org/two").revision is None


def test_a_base_model_is_a_folder_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    project = tmp_path / "project"
    (project / "tiny").mkdir(parents=True)
    file = tmp_path / "my.yml"
    file.write_text("base_model: beside")

    assert load_settings(file, None, {}).base_model == str(tmp_path / "beside")
    assert load_settings(None, None, {"base_model": "./tiny"}, project=project).base_model == str(project / "tiny")
    assert load_settings(None, None, {"base_model": "beside"}, project=project).base_model == "beside"


def test_a_chat_template_is_found_beside_the_file_or_in_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "chat.jinja").touch()
    file = tmp_path / "my.yml"
    file.write_text(f"base_model: {BASE}\nchat_template: chat.jinja")

    assert load_settings(file, None, {}, project=project).chat_template == project / "chat.jinja"
    (tmp_path / "chat.jinja").touch()
    assert load_settings(file, None, {}, project=project).chat_template == tmp_path / "chat.jinja"


# ---- what is refused


def test_all_problems_are_told_at_once_with_value_and_place(tmp_path: Path) -> None:
    text = "lora_rnk: 3\nepochs: many\nbatch_size: true\nlora_dropout: 0.1\nquantization_bits: 8\nlora_rank:"

    assert problems(text, tmp_path, max_length="-3", prefix_sharing="on", base_model="./nowhere") == [
        "lora_rnk in my.yml is no setting; did you mean lora_rank?",
        "quantization_bits in my.yml is 8, but the method is lora: it is for qlora only. Leave it out, or change the "
        "method.",
        "--base-model is ./nowhere, but there is no such folder, and models of the hub have names such as org/model.",
        "lora_rank in my.yml is empty; it must be a whole number of 1 or more.",
        "epochs in my.yml is 'many'; it must be a number above 0.",
        "batch_size in my.yml is true; it must be a whole number of 1 or more.",
        "--max-length is -3; it must be a whole number of 1 or more.",
        "--prefix-sharing is on and lora_dropout in my.yml is 0.1: it is exact only without dropout; take 0, or auto.",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_model", 3),
        ("base_model", " "),
        ("method", "dora"),
        ("quantization_bits", 2),
        ("lora_rank", 0),
        ("lora_rank", 1.5),
        ("lora_dropout", 1),
        ("target_modules", []),
        ("target_modules", "q_proj,"),
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("epochs", float("nan")),
        ("epochs", True),
        ("max_steps", 0),
        ("scheduler", "step"),
        ("weight_decay", -1),
        ("seed", 2**32),
        ("chat_template", 5),
        ("chat_template_kwargs", "{"),
        ("chat_template_kwargs", "[1]"),
        ("chat_template_kwargs", {"tokenize": True}),
        ("gradient_checkpointing", "sometimes"),
        ("evaluations_per_epoch", 0),
        ("early_stopping_patience", -1),
        ("syntax", "v4"),
        ("report_to", "tensorbord"),
        ("save_4bit", "4bit"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_can(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(**{"base_model": BASE, "method": "qlora", name: value})

    flag = "--save" if name == "save_4bit" else "--" + name.replace("_", "-")
    assert error.value.problems == (f"{flag} is {value}; it must be {allowed(name)}.",)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("learningrate", "; did you mean learning_rate?"),
        ("batch-size", "; did you mean batch_size?"),
        ("num_train_epochs", "; it is called epochs here."),
        ("lora_r", "; it is called lora_rank here."),
        ("trust_remote_code", "."),
        (7, "."),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_may_be_meant(key: str | int, hint: str, tmp_path: Path) -> None:
    assert problems(f"{key}: 1", tmp_path, base_model=BASE) == [f"{key} in my.yml is no setting{hint}"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"method": "qlora", "device": "mps"}, ["--method is qlora", "--device is mps"]),
        ({"save_4bit": True, "device": "mps"}, ["--save is 4bit", "--device is mps"]),
        ({"prefix_sharing": "on", "batch_size": 1}, ["--prefix-sharing is on", "--batch-size is 1"]),
        ({"prefix_sharing": "on", "lora_dropout": 0.1}, ["--prefix-sharing is on", "--lora-dropout is 0.1"]),
        ({"method": "full", "lora_rank": 8}, ["--lora-rank is 8", "the method is full", "lora and qlora"]),
        ({"quantization_bits": 8}, ["--quantization-bits is 8", "the method is lora", "qlora only"]),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(flags: dict[str, object], names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(base_model=BASE, **flags)

    (problem,) = error.value.problems
    assert all(name in problem for name in names)


def test_what_does_not_fit_together_is_refused_in_python_as_well() -> None:
    with pytest.raises(ValidationError, match="not supported here"):
        TrainSettings(base_model=BASE, method="qlora", device="mps")


def test_what_is_wrong_alone_is_not_told_twice() -> None:
    with pytest.raises(ConfigError) as error:
        loaded(base_model=BASE, method="dora", quantization_bits=8, device="mps", lora_rank=4)

    assert error.value.problems == ("--method is dora; it must be lora, qlora or full.",)


def test_without_a_base_model_the_recipes_are_named() -> None:
    with pytest.raises(ConfigError) as error:
        loaded()

    (problem,) = error.value.problems
    assert problem.startswith("base_model is missing")
    assert all(name in problem for name in recipes())


def test_a_recipe_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(ConfigError) as error:
        loaded(recipe="qwen3-4")

    (problem,) = error.value.problems
    assert problem.startswith("There is no recipe 'qwen3-4'; did you mean qwen3-4b? The recipes are ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epochs: [", "my.yml is not YAML"),
        ("epochs: 1\nepochs: 2", "my.yml is not YAML"),
        ("- epochs", "my.yml must be a mapping"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(text: str, problem: str, tmp_path: Path) -> None:
    (told,) = problems(text, tmp_path)
    assert told.startswith(problem)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml cannot be read: No such file"):
        load_settings(tmp_path / "none.yml", None, {})


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    (told,) = problems(f"base_model: {tmp_path}\nrevision: abc", tmp_path)
    assert told.startswith("revision in my.yml is 'abc', but the base model is the folder")


def test_a_chat_template_that_is_not_there_is_named_with_the_places(tmp_path: Path) -> None:
    (told,) = problems("chat_template: no.jinja", tmp_path, base_model=BASE)
    assert told == "chat_template in my.yml is 'no.jinja', but there is no no.jinja and no no.jinja."


# ---- recipes, and settings as YAML


def test_there_is_a_recipe_for_each_common_base() -> None:
    bases = {name: loaded(recipe=name).base_model for name in recipes()}
    assert bases == {
        "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
        "qwen3-4b": "Qwen/Qwen3-4B-Instruct-2507",
        "qwen3-8b": "Qwen/Qwen3-8B",
        "ministral-8b": "mistralai/Ministral-8B-Instruct-2410",
        "codellama-13b-instruct": "meta-llama/CodeLlama-13b-Instruct-hf",
    }


@pytest.mark.parametrize("name", list(recipes()))
def test_a_recipe_loads_says_what_it_is_and_leaves_the_method_open(name: str) -> None:
    text = (RECIPES / f"{name}.yml").read_text(encoding="utf-8")

    assert loaded(recipe=name).model_fields_set == YAML(typ="safe").load(text).keys()
    assert text.startswith(f"# {recipes()[name]}\n")
    for method in ("lora", "qlora", "full"):
        assert loaded(recipe=name, method=method).method == method


def test_the_thinking_of_qwen3_8b_is_off() -> None:
    assert loaded(recipe="qwen3-8b").chat_template_kwargs == {"enable_thinking": False}


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"method": "full", "learning_rate": 1e-5},
        {"method": "qlora", "quantization_bits": 8, "prefix_sharing": "on", "syntax": "v2"},
        {"target_modules": "q_proj,v_proj", "report_to": "none", "gradient_checkpointing": False, "save_4bit": True},
        {"chat_template_kwargs": {"a": [1, "on", None], "date": "${TODAY}"}, "revision": "1e5", "lora_dropout": 0.1},
    ],
)
def test_what_is_dumped_gives_the_same_settings_again(flags: dict[str, object], tmp_path: Path) -> None:
    settings = loaded(base_model=BASE, **flags)
    assert loaded(dump(settings), folder=tmp_path) == settings


@pytest.mark.parametrize("name", list(recipes()))
def test_a_recipe_that_is_dumped_gives_the_same_settings_again(name: str, tmp_path: Path) -> None:
    settings = loaded(recipe=name)
    assert loaded(dump(settings), folder=tmp_path) == settings


# ---- flags


def test_the_flags_are_made_of_the_fields() -> None:
    for name, field in cli.settings_in_source().items():
        known = TrainSettings.model_fields[name]
        assert field.default == (None if known.is_required() else known.default)
        assert field.text == " ".join((known.description or "").split())
        assert not field.choices or f"{field.choices[-1]}" in allowed(name)
    assert list(cli.settings_in_source()) == FIELDS
    assert sorted(name for names in cli.GROUPS.values() for name in names) == sorted(FIELDS)


def test_flags_that_are_not_given_override_nothing() -> None:
    assert cli.given_settings(parsed()) == {}


@pytest.mark.parametrize("name", FIELDS)
def test_each_flag_reaches_its_setting(name: str, tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").touch()
    (tmp_path / "before").mkdir()
    typed, value = TYPED[name]
    flag = "--save" if name == "save_4bit" else "--" + name.replace("_", "-")
    needed = {"base_model": BASE, "method": "qlora"}

    given = cli.given_settings(parsed(*([flag, typed] if typed else [flag])))

    settings = load_settings(None, None, {**needed, **given}, project=tmp_path)
    assert list(given) == [name]
    assert getattr(settings, name) == (tmp_path / value if name in ("adapter", "chat_template") else value)


def test_a_switch_can_be_turned_off() -> None:
    assert cli.given_settings(parsed("--no-gradient-checkpointing")) == {"gradient_checkpointing": False}
    assert cli.given_settings(parsed("--save", "16bit")) == {"save_4bit": False}


def test_the_flags_are_made_without_loading_pydantic() -> None:
    code = (
        "import argparse, json, sys\n"
        "from rasa_ft_ext.cli import train\n"
        "train.add_arguments(argparse.ArgumentParser())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pydantic", "torch", "rich", "ruamel.yaml"} & set(json.loads(printed.stdout))


# ---- the command


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What the stage was called with; it trains nothing."""
    made: list[tuple[Any, dict[str, Any]]] = []
    stage = SimpleNamespace(train=lambda rows, **options: made.append((rows, options)))
    monkeypatch.setattr(rasa_ft_ext.train, "stage", stage, raising=False)
    monkeypatch.setitem(sys.modules, "rasa_ft_ext.train.stage", stage)  # type: ignore[arg-type]
    monkeypatch.setattr(cli, "require_libraries", lambda: None)
    monkeypatch.setattr(cli.output, "print_summary", lambda *args: None)
    return made


def test_the_command_trains_on_a_folder(calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_text("epochs: 2")
    assert (
        cli.run(parsed("out", "--project", str(tmp_path), "--settings", "my.yml", "--recipe", "qwen3-4b", "--final"))
        == 0
    )

    ((rows, options),) = calls
    assert rows == tmp_path / "out"
    assert options["out"] == tmp_path / "finetuned_model"
    assert (options["final"], options["force"]) == (True, False)
    assert (options["settings"].epochs, options["settings"].base_model) == (2, "Qwen/Qwen3-4B-Instruct-2507")


def test_the_command_trains_on_files(calls: list[tuple[Any, dict[str, Any]]]) -> None:
    files = ["--train-file", "a.jsonl", "--val-file", "b.jsonl"]
    cli.run(parsed(*files, "--base-model", BASE, "--out-model", "m", "--force"))
    cli.run(parsed(*files[:2], "--base-model", BASE))

    assert [rows for rows, _ in calls] == [(Path("a.jsonl"), Path("b.jsonl")), (Path("a.jsonl"), None)]
    assert [(options["out"], options["force"]) for _, options in calls] == [
        (Path("m"), True),
        (Path("finetuned_model"), False),
    ]


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--val-file", "b.jsonl"], "without --train-file"),
        (["out", "--train-file", "a.jsonl"], "given twice"),
        (["--out", "out", "--train-file", "a.jsonl"], "given twice"),
        (["out", "--out", "other"], "given twice"),
    ],
)
def test_rows_from_two_places_are_refused(argv: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        cli.run(parsed(*argv, "--base-model", BASE))


def test_settings_are_checked_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: pytest.fail("looked for a library"))
    with pytest.raises(ConfigError, match="--epochs is 0"):
        cli.run(parsed("--base-model", BASE, "--epochs", "0"))


@pytest.mark.parametrize("missing", libraries.LIBRARIES)
def test_a_library_that_is_not_installed_is_told_with_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(MissingExtraError, match=r"pip install 'rasa-ft-ext\[train\]'"):
        cli.run(parsed("--base-model", BASE))


def test_nothing_is_told_where_all_libraries_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: object())
    libraries.require_libraries()


def test_the_settings_of_the_demo_load() -> None:
    file = Path(__file__).parents[2] / "scripts/train_demo.yml"
    settings = load_settings(file, None, {"base_model": BASE})
    assert (settings.method, settings.device) == ("full", "cpu")
