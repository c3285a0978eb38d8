"""Who may import what: the arrows between the rooms of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rasa_ft_ext

PACKAGE = Path(rasa_ft_ext.__file__).parent
STAGES = {
    "connect",
    "coverage",
    "doctor",
    "annotate",
    "rephrase",
    "dataset",
    "split",
    "train",
    "serve",
    "evaluate",
    "monitor",
}
TRAINING = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "safetensors", "optuna"}
HEAVY = {*TRAINING, "litellm", "rasa", "aiohttp", "matplotlib", "huggingface_hub", "fsspec"}
# What works with tensors all the time and is imported in functions only; importing it brings the training libraries in.
WITH_TENSORS = {
    f"rasa_ft_ext.train.{name}"
    for name in (
        *("batches", "evaluation", "exactness", "generation", "reporting", "results", "sharing", "trainer"),
        "wholeness",
    )
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imported(file: str, *, at_the_top: bool = False) -> Iterator[str]:
    """The modules that a file imports, whole names; with `at_the_top` only those that importing it brings in."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (entry.name for entry in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{entry.name}" for entry in node.names)


@pytest.mark.parametrize("file", [file for file in FILES if file.split("/")[0] in STAGES])
def test_a_stage_imports_no_other_stage_and_no_command_line(file: str) -> None:
    own = file.split("/")[0]
    rooms = {name.split(".")[1] for name in imported(file) if name.startswith("rasa_ft_ext.")}
    assert not rooms & (STAGES | {"cli", "rasa_pro", "api"}) - {own}


@pytest.mark.parametrize("file", FILES)
def test_rasa_is_imported_in_one_place_only(file: str) -> None:
    roots = {name.split(".")[0] for name in imported(file)}
    fenced = file.startswith("rasa_pro/") or file == "cli/logs.py"
    assert fenced or not roots & {"rasa", "rasa_sdk", "pypred"}


def module(file: str) -> str:
    return f"rasa_ft_ext.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("rasa_pro/")])
def test_heavy_libraries_are_imported_where_they_are_used(file: str) -> None:
    names = set(imported(file, at_the_top=True))
    roots = {name.split(".")[0] for name in names}
    servers = ("llm/scripted", "local_http", "model_server/transformers_api", "review_server/server")
    served = {"aiohttp"} if file.startswith(servers) else set()
    if module(file) in WITH_TENSORS:
        assert roots & TRAINING or names & WITH_TENSORS, "needs no place among WITH_TENSORS any more"
        served = TRAINING
    else:
        assert not names & WITH_TENSORS
    assert not roots & (HEAVY - served)


def test_what_works_with_tensors_is_there() -> None:
    assert set(map(module, FILES)) >= WITH_TENSORS


@pytest.mark.parametrize(
    "file",
    [
        *("api", "cli.main", "cli.train", "cli.export", "export", "scores"),
        *("train.chat", "train.data", "train.plan", "train.settings", "train.stage", "train.verdict"),
    ],
)
def test_no_training_library_is_loaded_before_it_is_needed(file: str) -> None:
    heavy = sorted(TRAINING | {"matplotlib", "huggingface_hub"})
    code = f"import sys, rasa_ft_ext.{file}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("rasa_pro/")])
def test_the_seam_to_rasa_knows_neither_stages_nor_command_line(file: str) -> None:
    rooms = {name.split(".")[1] for name in imported(file) if name.startswith("rasa_ft_ext.")}
    assert not rooms & (STAGES | {"cli", "api"})


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(("checks/", "review/"))])
def test_checks_and_decisions_which_stages_use_know_no_stage(file: str) -> None:
    rooms = {name.split(".")[1] for name in imported(file) if name.startswith("rasa_ft_ext.")}
    assert not rooms & (STAGES | {"cli", "rasa_pro", "api"})
