"""From rows to a model, through any death, and the same every time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from rasa_ft_ext.cli import main as cli  # noqa: E402
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, TrainingError  # noqa: E402
from rasa_ft_ext.progress import Progress  # noqa: E402
from rasa_ft_ext.train import base, exactness, preparation, reporting, results, stage  # noqa: E402
from rasa_ft_ext.train import trainer as trainer_module  # noqa: E402
from rasa_ft_ext.train.evaluation import Evaluator  # noqa: E402
from rasa_ft_ext.train.folder import ModelFolder  # noqa: E402
from rasa_ft_ext.train.settings import TrainSettings  # noqa: E402
from rasa_ft_ext.workspace import write_jsonl  # noqa: E402
from tests.train.conftest import ROWS  # noqa: E402

Files = tuple[Path, Path | None]
# Answers that are learned in a few steps.
SHORT = [
    {**row, "prompt": row["prompt"].replace("user", user)}
    for user in ("user", "guest")
    for row in ROWS
    if "\n" not in row["completion"]
][:12]
ROOT = Path(__file__).parents[2]


class Heard(Progress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bars: list[tuple[str, int]] = []
        self.steps = 0

    def start(self, what: str, total: int) -> None:
        self.bars.append((what, total))

    def step(self, parts: int = 1) -> None:
        self.steps += parts

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("data")
    write_jsonl(folder / "train.jsonl", SHORT[:11])
    write_jsonl(folder / "val.jsonl", [*SHORT[:3], SHORT[11]])
    return folder / "train.jsonl", folder / "val.jsonl"


def settings(base_model: Path, **given: Any) -> TrainSettings:
    """Three steps in an epoch, four epochs."""
    quick = {"method": "full", "batch_size": 4, "epochs": 4, "learning_rate": 2e-2, "answers_max_tokens": 12}
    return TrainSettings(**{"base_model": str(base_model), "device": "cpu", "report_to": "none", **quick, **given})


def run(
    files: Files,
    out: Path,
    base_model: Path,
    *,
    final: bool = False,
    force: bool = False,
    heard: Heard | None = None,
    **given: Any,
) -> Heard:
    heard = heard or Heard()
    stage.train(files, out=out, settings=settings(base_model, **given), final=final, force=force, progress=heard)
    return heard


def metrics(out: Path) -> Any:
    return json.loads((out / "metrics.json").read_text())


def what_came_out(out: Path) -> dict[str, Any]:
    """All that must be the same if a training is made again."""
    return {
        "weights": (out / "merged" / "model.safetensors").read_bytes(),
        "metrics": metrics(out),
        "answers": (out / "answers.jsonl").read_text(),
    }


@pytest.fixture(scope="module")
def full(files: Files, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    """A full training that nothing has come between, and what it told."""
    out = tmp_path_factory.mktemp("full") / "model"
    return out, run(files, out, tiny_base)


@pytest.fixture(scope="module")
def lora(files: Files, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lora") / "model"
    run(files, out, tiny_base, method="lora", report_to="tensorboard")
    return out


# ---- what comes out


def test_a_full_training_leaves_a_whole_model_and_what_is_known_of_it(full: tuple[Path, Heard]) -> None:
    out, _ = full
    assert {path.name for path in out.iterdir()} == {
        *("merged", "README.md", "metrics.json", "loss.png", "answers.jsonl", "settings.yml"),
        *("training.json", "summary.json", "manifest.json"),
    }


def test_a_lora_training_leaves_its_adapter_and_curves_as_well(lora: Path) -> None:
    assert {"adapter", "merged", "tensorboard"} <= {path.name for path in lora.iterdir()}
    assert not (lora / "checkpoints").exists()
    assert list((lora / "tensorboard").glob("events*"))
    assert (lora / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_merged_model_is_served_without_us_and_answers_as_was_measured(
    method: str, full: tuple[Path, Heard], lora: Path, files: Files
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = full[0] if method == "full" else lora
    model = AutoModelForCausalLM.from_pretrained(out / "merged")
    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    assert files[1] is not None
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    measured = {row["name"]: row for row in map(json.loads, (out / "answers.jsonl").read_text().splitlines())}
    assert len(measured) == len(rows)

    for number, row in enumerate(rows, 1):
        given = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        written = model.generate(**given, max_new_tokens=12)[0, given["input_ids"].shape[1] :]
        found = measured[f"val.jsonl line {number}"]
        assert found["expected"] == row["completion"]
        assert tokenizer.decode(written, skip_special_tokens=True) == found["answered"]


def test_the_figures_fit_together(full: tuple[Path, Heard]) -> None:
    out, _ = full
    found = metrics(out)
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]

    assert [entry["step"] for entry in found["history"] if "eval_loss" in entry] == [3, 6, 9, 12]
    assert [entry["step"] for entry in found["history"] if "loss" in entry] == [*range(1, 13)]
    best = next(entry for entry in found["history"] if entry["step"] == found["best_step"] and "eval_loss" in entry)
    assert best["eval_command_accuracy"] == found["validation"]["exact_match"] == sum(a["right"] for a in answers) / 4
    assert best["eval_loss"] == pytest.approx(found["validation"]["loss"], abs=1e-6)
    assert found["steps"] == 12
    assert found["train"]["examples"] == 11
    assert 0 < found["train"]["exact_match"] < 1, "it should have learned something, and not all"
    assert [a["right"] for a in answers] == sorted(a["right"] for a in answers)
    assert found["parity"]["max_logit_difference"] <= 1e-4
    assert found["parity"]["answers_that_differ"] == 0
    assert found["tokens"]["raw"] > 1.2 * found["tokens"]["unique"]
    assert found["verdict"]["kind"] in ("fine", "underfit", "overfit", "unknown")


def test_the_manifest_names_each_file_and_what_it_was_made_from(full: tuple[Path, Heard]) -> None:
    out, _ = full
    manifest = json.loads((out / "manifest.json").read_text())
    key = json.loads((out / "training.json").read_text())

    assert {"merged/model.safetensors", "metrics.json", "answers.jsonl"} <= set(manifest["files"])
    assert (key["method"], key["final"], key["epochs"]) == ("full", False, 4.0)


def test_what_it_does_is_told(full: tuple[Path, Heard]) -> None:
    _, heard = full
    told = " ".join(heard.notes)

    assert "Prefix sharing: " in told
    assert " : 1); only these are computed." in told
    assert heard.bars[0] == ("Training (steps)", 12)
    evaluations = [note for note in heard.notes if note.startswith("Epoch ")]
    assert len(evaluations) == 4
    assert evaluations[0].startswith("Epoch 1.0, step 3: training loss ")
    assert "validation loss " in evaluations[0]
    assert heard.steps == sum(total for _, total in heard.bars)


def test_the_same_training_gives_the_same_bytes(
    full: tuple[Path, Heard], files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    run(files, tmp_path / "again", tiny_base)

    assert what_came_out(tmp_path / "again") == what_came_out(full[0])


# ---- again


def test_a_training_that_is_done_is_not_run_again(
    lora: Path, files: Files, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_base", lambda *args, **given: pytest.fail("a weight was loaded"))
    before = {path: path.stat().st_mtime_ns for path in lora.rglob("*")}
    given = {"method": "lora", "report_to": "tensorboard"}
    heard = Heard()

    found = stage.train(files, out=lora, settings=settings(tiny_base, **given), progress=heard)

    assert found.steps == 12
    assert found.examples == 11
    assert {path: path.stat().st_mtime_ns for path in lora.rglob("*")} == before


def test_what_does_not_change_the_model_may_change(
    lora: Path, files: Files, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_base", lambda *args, **given: pytest.fail("a weight was loaded"))

    run(files, lora, tiny_base, method="lora", eval_batch_size=3)


@pytest.mark.parametrize(("given", "name"), [({"seed": 1}, "seed"), ({"final": True}, "final")])
def test_a_changed_setting_is_refused_by_name(
    given: Any, name: str, lora: Path, files: Files, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_base", lambda *args, **given: pytest.fail("a weight was loaded"))
    with pytest.raises(ForeignResultsError, match=rf"differs in: {name}\).*--force"):
        run(files, lora, tiny_base, method="lora", **given)


def test_changed_rows_are_refused(lora: Path, files: Files, tiny_base: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", ROWS[:10])
    with pytest.raises(ForeignResultsError, match=r"differs in: data"):
        run((tmp_path / "train.jsonl", files[1]), lora, tiny_base, method="lora")


def test_force_replaces_the_model_that_is_there(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    run(files, out, tiny_base, method="lora", max_steps=1)
    run(files, out, tiny_base, max_steps=2, force=True)

    assert metrics(out)["steps"] == 2
    assert not (out / "adapter").exists()


# ---- deaths


class Death(BaseException):
    """Passes by all that a program does for an error."""


def die(place: Any, name: str, at: int, *args: Any, before: bool = False, **given: Any) -> list[str]:
    """Train until the n-th call of a function, and die before or after it has done its work; what was told."""
    calls: list[int] = []
    original = getattr(place, name)
    heard = Heard()

    def dying(*args: Any, **given: Any) -> Any:
        calls.append(1)
        if len(calls) == at and before:
            raise Death
        found = original(*args, **given)
        if len(calls) == at:
            raise Death
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, dying)
        with pytest.raises(Death):
            run(*args, heard=heard, **given)
    return told_of_going_on(heard)


def told_of_going_on(heard: Heard) -> list[str]:
    return [note for note in heard.notes if note.startswith(("Going on", "The training had come to its end"))]


def test_a_training_goes_on_after_each_death_as_if_nothing_had_happened(
    full: tuple[Path, Heard], files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    where = (files, out, tiny_base)
    end = "The training had come to its end; its results are written now."

    assert die(reporting, "mark_whole", 2, *where, before=True) == []  # while the second checkpoint is written
    assert die(reporting, "mark_whole", 1, *where) == ["Going on from step 3."]
    assert die(trainer_module, "selection", 1, *where) == ["Going on from step 6."]  # in the midst of an evaluation
    assert die(reporting, "mark_whole", 2, *where) == ["Going on from step 6."]  # with the last checkpoint
    assert die(results, "judge", 1, *where) == [end]
    assert die(results, "write_manifest", 1, *where, before=True) == [end]
    assert not (out / "manifest.json").exists()
    (out / ".results-of-a-kill").mkdir()
    assert told_of_going_on(run(*where)) == [end]

    assert what_came_out(out) == what_came_out(full[0])
    assert {path.name for path in out.iterdir()} == {path.name for path in full[0].iterdir()}


def test_an_adapters_training_goes_on_in_another_place(
    lora: Path, files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    """The best checkpoint is found although the folder has been moved, before the training ended or after."""
    given = {"method": "lora", "report_to": "tensorboard"}
    die(reporting, "mark_whole", 3, files, tmp_path / "a", tiny_base, **given)
    (tmp_path / "a").rename(tmp_path / "b")
    die(reporting, "mark_whole", 1, files, tmp_path / "b", tiny_base, **given)
    (tmp_path / "b").rename(tmp_path / "c")
    run(files, tmp_path / "c", tiny_base, **given)

    assert what_came_out(tmp_path / "c") == what_came_out(lora)


def test_the_curve_is_the_same_where_it_is_written_between_checkpoints(
    files: Files, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint after every third step, an entry of the curve after every second; the last epoch is half a one."""
    monkeypatch.setattr(trainer_module, "POINTS_AN_EPOCH", 3)
    given = {"batch_size": 2, "evaluations_per_epoch": 2, "epochs": 1.5}
    run(files, tmp_path / "whole", tiny_base, **given)
    die(reporting, "mark_whole", 1, files, tmp_path / "model", tiny_base, **given)
    die(reporting, "mark_whole", 2, files, tmp_path / "model", tiny_base, **given)
    run(files, tmp_path / "model", tiny_base, **given)

    entries = metrics(tmp_path / "model")["history"]
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2, 3, 4, 6, 8, 9]
    assert what_came_out(tmp_path / "model") == what_came_out(tmp_path / "whole")


def test_early_stopping_survives_deaths(
    files: Files, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy gets no better after the second evaluation; the first death is while it waits, the next at the stop."""
    best_is_6 = {3: 0.1, 6: 0.5, 9: 0.2, 12: 0.3, 15: 0.9, 18: 0.9}
    made: list[Any] = []
    evaluate = trainer_module.CommandTrainer.evaluate
    monkeypatch.setattr(
        trainer_module.CommandTrainer, "evaluate", lambda self, **given: (made.append(self), evaluate(self, **given))[1]
    )
    monkeypatch.setattr(trainer_module, "selection", lambda found: best_is_6[made[-1].state.global_step])
    given = {"epochs": 6, "early_stopping_patience": 2}
    run(files, tmp_path / "whole", tiny_base, **given)
    assert (metrics(tmp_path / "whole")["steps"], metrics(tmp_path / "whole")["best_step"]) == (12, 6)

    die(reporting, "mark_whole", 3, files, tmp_path / "model", tiny_base, **given)
    die(reporting, "mark_whole", 1, files, tmp_path / "model", tiny_base, **given)
    run(files, tmp_path / "model", tiny_base, **given)

    assert what_came_out(tmp_path / "model") == what_came_out(tmp_path / "whole")


def test_a_training_with_a_number_of_steps_takes_none_more_after_its_death(
    files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    die(reporting, "mark_whole", 2, files, tmp_path / "model", tiny_base, max_steps=4)
    run(files, tmp_path / "model", tiny_base, max_steps=4)

    assert metrics(tmp_path / "model")["steps"] == 4


def test_kill_minus_nine_in_the_middle_and_again_gives_the_same(
    full: tuple[Path, Heard], files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    flags = "--device cpu --method full --batch-size 4 --epochs 4 --learning-rate 2e-2 --answers-max-tokens 12"
    rows = ["--train-file", str(files[0]), "--val-file", str(files[1])]
    argv = [
        "train",
        *rows,
        "--out-model",
        str(out),
        "--base-model",
        str(tiny_base),
        *flags.split(),
        "--report-to",
        "none",
        "--quiet",
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "rasa_ft_ext.cli.main", *argv],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    marker, deadline = out / "checkpoints" / "checkpoint-3" / "complete", time.monotonic() + 120
    while not marker.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    said = child.communicate()[1]
    assert child.returncode == -signal.SIGKILL, said
    assert not (out / "manifest.json").exists()

    assert cli.main(argv) == 0
    assert what_came_out(out) == what_came_out(full[0])


# ---- on all rows


def test_a_final_training_has_all_rows_and_no_validation(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    heard = Heard()
    found = stage.train(
        files, out=tmp_path / "model", settings=settings(tiny_base, epochs=1), final=True, progress=heard
    )

    assert (found.examples, found.validation_examples, found.steps) == (15, 0, 4)
    assert found.validation_accuracy == "not measured"
    assert found.best_step is None
    made = metrics(tmp_path / "model")
    assert made["validation"] is None
    assert made["train"]["examples"] == 15
    assert not [entry for entry in made["history"] if "eval_loss" in entry]
    assert (tmp_path / "model" / "answers.jsonl").read_text() == ""
    assert made["parity"]["examples"] == 15

    die(results, "judge", 1, files, tmp_path / "again", tiny_base, epochs=1, final=True)
    run(files, tmp_path / "again", tiny_base, epochs=1, final=True)
    assert what_came_out(tmp_path / "again") == what_came_out(tmp_path / "model")


# ---- refusals: before a weight is loaded where that is possible, and nothing is left behind


def refused(files: Files, out: Path, base_model: Path, **given: Any) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, "load_base", lambda *args, **given: pytest.fail("a weight was loaded"))
        with pytest.raises(ConfigError) as error:
            run(files, out, base_model, **given)
    assert not out.exists()
    return str(error.value)


def test_a_training_goes_on_from_an_earlier_adapter(lora: Path, files: Files, tiny_base: Path, tmp_path: Path) -> None:
    earlier = {"method": "lora", "adapter": lora / "adapter", "learning_rate": 1e-9, "epochs": 1}
    run(files, tmp_path / "on", tiny_base, **earlier)
    assert metrics(tmp_path / "on")["validation"]["loss"] == pytest.approx(
        metrics(lora)["validation"]["loss"], abs=1e-4
    )


def test_an_adapter_of_another_base_is_refused(lora: Path, files: Files, tiny_rows: Path, tmp_path: Path) -> None:
    from scripts.make_tiny_base import make_tiny_base

    make_tiny_base(tiny_rows, tmp_path / "other", hidden=64, layers=2, heads=4, vocab=400, seed=1)
    with pytest.raises(TrainingError, match="was trained on"):
        run(files, tmp_path / "out", tmp_path / "other", method="lora", adapter=lora / "adapter")
    assert not (tmp_path / "out").exists()


def test_an_empty_train_set_is_refused(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n")

    said = refused((tmp_path / "train.jsonl", files[1]), tmp_path / "model", tiny_base)
    assert "There are no rows to train on." in said


def test_an_example_that_is_too_long_is_refused_by_name(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    said = refused(files, tmp_path / "model", tiny_base, max_length=20)

    assert "train.jsonl line 1: " in said
    assert "Nothing is cut off. Train with --max-length " in said
    assert "--over-length drop" in said


def test_examples_that_are_too_long_are_dropped_with_a_list(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [*ROWS[:4], {"prompt": "ab " * 200, "completion": "cancel flow"}])
    found = stage.train(
        (tmp_path / "train.jsonl", files[1]),
        out=tmp_path / "model",
        settings=settings(tiny_base, max_length=100, over_length="drop", max_steps=1),
    )

    assert found.examples == 4
    assert [line.partition(":")[0] for line in found.dropped] == ["train.jsonl line 5"]
    assert found.dropped[0].endswith(" tokens")


def test_a_gated_model_without_a_token_is_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import GatedRepoError

    def gated(*args: Any, **given: Any) -> None:
        raise GatedRepoError("401", response=SimpleNamespace(status_code=401, headers={}, request=None))  # type: ignore[arg-type]

    monkeypatch.setattr("huggingface_hub.hf_hub_download", gated)
    said = refused(files, tmp_path / "model", Path("some/gated-model"))

    assert "The base model some/gated-model cannot be loaded" in said
    assert "accept the licence at https://huggingface.co/some/gated-model" in said
    assert "HF_TOKEN" in said


def test_data_of_two_prompt_templates_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    from tests.train.test_data import prepared

    prepared(tmp_path / "output", a="old", c="old")
    with pytest.raises(ConfigError, match="2 prompt templates"):
        stage.train(tmp_path / "output", out=tmp_path / "model", settings=settings(tiny_base))


def test_a_base_whose_chat_template_cannot_be_is_refused(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{% for message in messages %}")

    said = refused(files, tmp_path / "model", tiny_base, chat_template=tmp_path / "t.jinja")
    assert "t.jinja" in said


def test_sharing_that_is_asked_for_needs_batches(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="one example has nothing to share"):
        settings(tiny_base, prefix_sharing="on", batch_size=1)


@pytest.mark.parametrize("when", ["loading", "a step", "an evaluation", "the results"])
def test_out_of_memory_says_what_to_lower(
    when: str, files: Files, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    place, name = {
        "loading": (base, "add_adapter"),
        "a step": (trainer_module, "shared_logits"),
        "an evaluation": (Evaluator, "_generate"),
        "the results": (results.outputs, "save_merged"),
    }[when]
    monkeypatch.setattr(place, name, full)
    with pytest.raises(TrainingError) as error:
        run(files, tmp_path / "model", tiny_base, method="lora", max_steps=1)

    said = str(error.value)
    assert "not enough memory for this training: CUDA out of memory" in said
    assert "1. batch_size: 2 with gradient_accumulation: 2" in said
    assert not (tmp_path / "model" / "manifest.json").exists()


# ---- sharing


def test_sharing_that_is_not_exact_with_a_model_is_off_or_an_error(
    files: Files, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactness, "is_exact", lambda *args: False)
    heard = run(files, tmp_path / "model", tiny_base, max_steps=1)

    assert any("Prefix sharing is off: its numbers are not those of the plain step" in note for note in heard.notes)
    tokens = metrics(tmp_path / "model")["tokens"]
    assert tokens["raw"] == tokens["unique"]
    with pytest.raises(TrainingError, match="Prefixes cannot be shared"):
        run(files, tmp_path / "other", tiny_base, max_steps=1, prefix_sharing="on")


# ---- as others see it


def test_the_command_prints_what_came_of_it_and_nothing_of_the_libraries(
    files: Files, tiny_base: Path, tmp_path: Path
) -> None:
    flags = "--device cpu --method lora --batch-size 4 --max-steps 1 --report-to none"
    rows = ["--train-file", str(files[0]), "--val-file", str(files[1])]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rasa_ft_ext.cli.main", "train", *rows, *flags.split()),
            *("--out-model", str(tmp_path / "model"), "--base-model", str(tiny_base)),
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "Fine-tuned model" in done.stdout
    assert "validation accuracy" in done.stdout
    for line in done.stderr.splitlines():
        assert line.startswith(("Nothing is known of", "Prefix sharing", "Epoch ")), done.stderr


def test_an_interrupted_training_says_that_it_goes_on(
    files: Files, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any, **given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reporting, "mark_whole", interrupted)
    before = signal.getsignal(signal.SIGINT)
    rows = ["--train-file", str(files[0]), "--val-file", str(files[1])]
    try:
        code = cli.main(
            ["train", *rows, "--out-model", str(tmp_path / "m"), "--base-model", str(tiny_base), "--device", "cpu"]
        )
    finally:
        signal.signal(signal.SIGINT, before)

    assert code == 130
    assert "Interrupted. What was finished is kept: the same command goes on from there." in capsys.readouterr().err


def test_what_is_prepared_is_all_that_a_model_depends_on(files: Files, tiny_base: Path) -> None:
    prepared = preparation.prepare(files, settings(tiny_base))

    assert {"data", "base", "final", "version", *TrainSettings.model_fields} - set(prepared.key) == {
        *("report_to", "eval_batch_size", "device")
    }
    assert ModelFolder(Path("nowhere"), prepared.key, force=False).key == json.loads(json.dumps(prepared.key))
