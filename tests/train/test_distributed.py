"""Several processes: the numbers of one, one voice, and the configurations that ship."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from rasa_ft_ext.errors import ConfigError  # noqa: E402
from rasa_ft_ext.train import processes  # noqa: E402
from rasa_ft_ext.train.base import _device_map  # noqa: E402
from rasa_ft_ext.train.launch import __name__ as launch  # noqa: E402
from rasa_ft_ext.train.preparation import prepare  # noqa: E402
from rasa_ft_ext.train.trainer import Drawn  # noqa: E402
from tests.train.builders import settings_for  # noqa: E402

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "rasa_ft_ext" / "train" / "launch"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

LORA = ("--method", "lora", "--lora-rank", "4", "--learning-rate", "2e-2")
FULL = ("--method", "full", "--learning-rate", "5e-3")
PLAIN = ("--prefix-sharing", "off")
SHARED = ("--prefix-sharing", "on")

# 12 rows: the second step of an epoch has 4 examples for the first of two processes, and none for the other.
RUNS: dict[str, tuple[int, bool, tuple[str, ...]]] = {
    "full, one": (1, False, (*FULL, *PLAIN)),
    "full, two, plain": (2, False, (*FULL, *PLAIN)),
    "full, divided": (2, True, (*FULL, *SHARED)),
    "lora, one": (1, False, (*LORA, *PLAIN)),
    "lora, two, shared": (2, False, (*LORA, *SHARED)),
    "lora, divided": (2, True, (*LORA, *PLAIN)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tiny_rows: Path) -> dict[str, Path]:
    """The model folder of each run."""
    folder = tmp_path_factory.mktemp("models")
    common = ["train", "--train-file", tiny_rows, "--val-file", tiny_rows, "--base-model", tiny_base]
    common += ["--device", "cpu", "--epochs", "2", "--evaluations-per-epoch", "1"]
    runs = []
    for name, (count, fsdp, given) in RUNS.items():
        arguments = [*common, *given, "--batch-size", 8 // count, "--out-model", folder / name]
        runs.append({"processes": count, "fsdp": fsdp, "arguments": [str(argument) for argument in arguments]})
    (folder / "runs.json").write_text(json.dumps(runs))
    command = [sys.executable, "tests/train/processes.py", str(folder / "runs.json")]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert done.stdout.count("Results:") == len(RUNS)
    assert done.stderr.count("Epoch 1.0") == len(RUNS)
    return {name: folder / name for name in RUNS}


@pytest.mark.parametrize("name", [name for name, (count, _, _) in RUNS.items() if count > 1])
def test_two_processes_give_the_numbers_of_one(models: dict[str, Path], name: str) -> None:
    one, two = (read(models[which]) for which in (f"{name.partition(',')[0]}, one", name))

    for figure in ("loss", "eval_loss", "eval_command_accuracy"):
        expected = [entry[figure] for entry in one["history"] if figure in entry]
        assert [entry[figure] for entry in two["history"] if figure in entry] == pytest.approx(expected, abs=1e-5)
        assert len(expected) == (4 if figure == "loss" else 2)
    for part in ("train", "validation"):
        assert two[part]["loss"] == pytest.approx(one[part]["loss"], abs=1e-5)
        assert two[part]["exact_match"] == one[part]["exact_match"]
    assert (two["steps"], two["best_step"]) == (one["steps"], one["best_step"])


@pytest.mark.parametrize("name", [name for name, (count, _, _) in RUNS.items() if count > 1])
def test_two_processes_leave_the_weights_of_one(models: dict[str, Path], name: str) -> None:
    from safetensors.torch import load_file

    one, two = (
        load_file(models[which] / "merged" / "model.safetensors") for which in (f"{name.partition(',')[0]}, one", name)
    )
    assert one.keys() == two.keys()
    assert max(float((one[key] - two[key]).abs().max()) for key in one) <= 1e-4
    assert sorted(path.name for path in models[name].iterdir()) == sorted(
        path.name for path in models[f"{name.partition(',')[0]}, one"].iterdir()
    )


def read(model: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((model / "metrics.json").read_text(encoding="utf-8"))
    return metrics


@pytest.mark.parametrize(("examples", "multiple"), [(12, 1), (12, 8), (16, 8), (3, 8)])
def test_an_epoch_has_each_example_once_and_then_blanks(examples: int, multiple: int) -> None:
    drawn = list(Drawn(examples, multiple, seed=1))
    assert sorted(drawn[:examples]) == list(range(examples))
    assert drawn[examples:] == [examples] * (-examples % multiple)
    assert drawn == list(Drawn(examples, multiple, seed=1))


def test_each_epoch_has_another_order_and_gets_it_again() -> None:
    sampler = Drawn(50, 1, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def launched(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What two processes printed that failed, started as the docs say."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIGS / "ddp.yml"]
    command += ["--num_processes", "2", "--main_process_port", "0", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    return done


def test_an_error_is_told_once_and_ends_all_processes() -> None:
    done = launched(ROOT / "scripts" / "finetune.py", "--train-file", "rows.jsonl", "--epochs", "none")
    assert done.stderr.count("The settings of the training cannot work") == 1
    assert 'finetune.py", line' not in done.stderr


def test_an_error_in_another_process_than_the_first_is_told_and_ends_all(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    done = launched(script)
    assert "the decision of the first" in done.stdout
    assert done.stderr.count("there is not enough of it in process 1") == 1


FAILING = """
import time
from argparse import Namespace
from rasa_ft_ext.cli.output import guarded
from rasa_ft_ext.errors import TrainingError
from rasa_ft_ext.train.processes import agreed, is_first, one_voice

def run(args):
    with one_voice():
        decided = agreed(lambda: f"the decision of the {'first' if is_first() else 'other'}")
        if not is_first():
            print(decided)
            raise TrainingError("there is not enough of it in process 1")
        agreed(lambda: time.sleep(60))

raise SystemExit(guarded(run, Namespace(), "train"))
"""


def test_with_one_process_there_is_nothing_to_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with processes.one_voice():
        assert processes.agreed(lambda: 7) == 7
    assert processes.is_first()
    with pytest.raises(KeyError), processes.one_voice():
        raise KeyError


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yml")), ids=lambda file: file.stem)
def test_each_configuration_is_one_that_accelerate_reads_and_that_is_found_by_name(file: Path) -> None:
    from accelerate.commands.config import load_config_from_file

    config = load_config_from_file(str(file))
    assert config.mixed_precision == "no"  # or it would go before the setting `precision`
    assert config.fsdp_config.get("fsdp_version") == (2 if file.stem == "fsdp" else None)
    command = [sys.executable, "-m", launch, file.stem]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == file


def test_each_process_has_its_own_gpu_and_with_fsdp_the_model_is_divided_from_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Path
) -> None:
    assert _device_map(settings_for(tiny_base), "cuda") == {"": 0}
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _device_map(settings_for(tiny_base), "cuda") == {"": 3}
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert _device_map(settings_for(tiny_base), "cuda") is None


def test_qlora_is_refused_with_fsdp(monkeypatch: pytest.MonkeyPatch, tiny_base: Path, tiny_rows: Path) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"qlora is not trained with FSDP here\. Take ddp\.yml"):
        prepare((tiny_rows, None), settings_for(tiny_base, method="qlora"))


def test_the_number_of_processes_belongs_to_what_a_model_depends_on(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Path, tiny_rows: Path
) -> None:
    prepared = prepare((tiny_rows, None), settings_for(tiny_base))
    one = prepared.key
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert {name for name, value in prepared.key.items() if value != one[name]} == {"processes"}
