"""A sweep: what is tried, how trials are compared, and that an interruption, a failure or a mistake does no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, TrainingError, WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.train.comparison import holm, mcnemar, needed
from rasa_ft_ext.train.settings import TrainSettings, load_settings
from rasa_ft_ext.train.space import Choices, Range, Space, applied, default_space, load_space, make_space, size
from rasa_ft_ext.train.trials import Trial, conclusion, rank
from rasa_ft_ext.workspace import write_json, write_jsonl
from tests.train.conftest import ROWS

SETTINGS = TrainSettings(base_model="some/model", device="cpu")
SMALL: Space = {"learning_rate": Range(1e-4, 1e-2, log=True), "batch_size": Choices((4, 8))}


# What is tried


def test_what_is_searched_by_default_is_what_the_method_uses() -> None:
    assert default_space(SETTINGS) == {
        "learning_rate": Range(5e-5, 1e-3, log=True),
        "lora_rank": Choices((8, 16, 32)),
        "epochs": Range(2, 6, step=1),
        "batch_size": Choices((8, 16, 32)),
    }
    full = SETTINGS.model_copy(update={"method": "full", "max_steps": 10})
    assert list(default_space(full)) == ["learning_rate", "batch_size"]
    assert default_space(full)["learning_rate"] == Range(2.5e-6, 5e-5, log=True)


def test_what_is_given_as_a_flag_is_not_searched() -> None:
    assert list(default_space(SETTINGS, {"epochs", "lora_rank"})) == ["learning_rate", "batch_size"]
    with pytest.raises(ConfigError, match="Every setting that is searched"):
        default_space(SETTINGS, default_space(SETTINGS))


def test_a_search_file_has_lists_and_ranges(tmp_path: Path) -> None:
    file = tmp_path / "search.yml"
    file.write_text(
        "learning_rate: {min: 5e-5, max: 1e-3, log: true}\nlora_rank: {min: 4, max: 15, step: 4}\n"
        "scheduler: [linear, cosine]\nweight_decay: {min: 0, max: 0.1, step: 0.05}\n"
        "target_modules: [all-linear, [q_proj, v_proj]]\n"
    )
    space = load_space(file, SETTINGS)
    assert space == {
        "learning_rate": Range(5e-5, 1e-3, log=True),
        "lora_rank": Range(4, 12, step=4, whole=True),
        "scheduler": Choices(("linear", "cosine")),
        "weight_decay": Range(0, 0.1, step=0.05),
        "target_modules": Choices(("all-linear", "q_proj,v_proj")),
    }
    assert space["weight_decay"].all() == (0, 0.05, 0.1)
    assert size(space) is None
    assert size({name: space[name] for name in ("lora_rank", "scheduler", "target_modules")}) == 12
    assert applied(SETTINGS, {"target_modules": "q_proj,v_proj"}).target_modules == ("q_proj", "v_proj")


def test_all_that_is_wrong_in_a_search_is_told_at_once() -> None:
    search = {
        "lora_ranks": [8],
        "base_model": ["a/b", "c/d"],
        "epochs": [3],
        "quantization_bits": [4, 8],
        "batch_size": [8, 0, "many"],
        "warmup_ratio": [0.1, 0.1],
        "scheduler": {"min": 1, "max": 2},
        "weight_decay": {"min": 0, "max": 0.1, "log": True},
        "lora_alpha": {"min": 32, "max": 8},
        "lora_rank": {"min": 8, "to": 16},
        "max_grad_norm": {"min": 1, "max": 2, "step": 0, "log": "yes"},
        "learning_rate": 1e-4,
        "gradient_accumulation": [],
        "lora_dropout": [0, 0.1],
        "max_steps": [None],
    }
    with pytest.raises(ConfigError) as caught:
        make_space(search, SETTINGS.model_copy(update={"prefix_sharing": "on"}), {"epochs"})
    problems = caught.value.problems
    for part in (
        "lora_ranks is no setting; did you mean lora_rank?",
        "base_model cannot be searched. These can: learning_rate,",
        "epochs is searched, and given as a flag as well.",
        "quantization_bits would change nothing: the method is lora, which does not quantise.",
        "batch_size has 0; it must be a whole number of 1 or more.",
        "batch_size has 'many'; it must be a whole number of 1 or more.",
        "warmup_ratio has a value twice.",
        "scheduler has no range: give a list of values.",
        "weight_decay has a min of 0, which has no magnitude",
        "lora_alpha has a min of 32, which is not below its max of 8.",
        "lora_rank has to; a range has min, max, and step or log: true.",
        "lora_rank has no max.",
        "max_grad_norm has a log of 'yes'; it must be true or false.",
        "max_grad_norm has a step of 0; it must be a number above 0.",
        "learning_rate must be a list of values, or a range",
        "gradient_accumulation has no values.",
        "lora_dropout cannot be 0.1. prefix_sharing and lora_dropout: it is exact only without dropout",
        "max_steps has an empty value; it must be a whole number of 1 or more.",
    ):
        assert sum(problem.startswith(part) for problem in problems) == 1, part
    assert len(problems) == 18


@pytest.mark.parametrize(("text", "problem"), [("- 1", "a mapping"), ("", "a mapping"), ("a: [", "not YAML")])
def test_a_search_file_that_is_none_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "search.yml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_space(tmp_path / "search.yml", SETTINGS)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(tmp_path / "none.yml", SETTINGS)


def test_the_scale_of_an_adapter_stays_with_another_rank() -> None:
    assert applied(SETTINGS, {"lora_rank": 8}).lora_alpha == 16
    assert applied(SETTINGS, {"lora_rank": 8, "lora_alpha": 32}).lora_alpha == 32
    assert applied(SETTINGS, {"learning_rate": 1e-3}).lora_alpha == 32


# How trials are compared


def test_mcnemars_test_is_that_of_the_tables() -> None:
    scipy = pytest.importorskip("scipy.stats")
    for both, one, other in ((5, 8, 1), (0, 3, 3), (9, 0, 6), (2, 10, 0), (4, 0, 0), (0, 700, 600)):
        pairs = [(True, True)] * both + [(True, False)] * one + [(False, True)] * other
        expected = scipy.binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
        assert mcnemar(*zip(*pairs, strict=True)) == pytest.approx(expected, rel=1e-9)


def test_mcnemars_test_knows_no_luck_and_needs_the_same_examples() -> None:
    assert mcnemar([True, False] * 4, [True, False] * 4) == 1
    assert mcnemar([True] * 6, [False] * 6) == 2 / 2**6
    with pytest.raises(ValueError, match="longer"):
        mcnemar([True], [True, True])


def test_holms_correction_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("comparisons", [1, 3, 11])
def test_so_many_differing_examples_are_needed(comparisons: int) -> None:
    least = needed(comparisons)
    for differing, told_apart in ((least - 1, False), (least, True)):
        p_value = mcnemar([True] * differing, [False] * differing)
        assert (holm([p_value] + [1.0] * (comparisons - 1))[0] < 0.05) is told_apart


def trial(number: int, right: int, *, of: int = 40, loss: float = 1.0, **more: Any) -> Trial:
    answers = tuple(index < right for index in range(of))
    more = {"best_step": 10, "best_epoch": 2.0, **more}
    return Trial(number=number, chosen={"lora_rank": number}, right=answers, loss=loss, **more)


def failed(number: int) -> Trial:
    return Trial(number=number, chosen={"lora_rank": number}, reason="out of memory\nLower batch_size.")


def test_the_best_comes_first_and_equal_ones_are_told() -> None:
    ranked = rank([failed(1), trial(2, 10), trial(3, 36, loss=0.5), trial(4, 36, loss=0.4), trial(5, 33)])
    assert [(entry.number, entry.verdict) for entry in ranked] == [
        (4, "best"),
        (3, "as good"),
        (5, "as good"),
        (2, "worse"),
        (1, "failed"),
    ]
    assert [entry.p_value for entry in ranked] == [None, 1.0, 0.25, 2 / 2**26, None]
    assert [entry.p_corrected for entry in ranked] == [None, 1.0, 0.5, 6 / 2**26, None]
    assert ranked[0].interval is not None
    assert ranked[0].interval[0] < 0.9 < ranked[0].interval[1]


def test_a_difference_that_is_significant_once_is_not_among_many() -> None:
    one = rank([trial(1, 40), trial(2, 34)])
    many = rank([trial(1, 40), *(trial(number, 34) for number in range(2, 12))])
    assert one[1].p_value == many[1].p_value == 2 / 2**6
    assert one[1].verdict == "worse"
    assert {entry.verdict for entry in many[1:]} == {"as good"}


def test_the_conclusion_says_what_it_cannot_know() -> None:
    text = " ".join(conclusion(rank([trial(1, 36), trial(2, 34), trial(3, 3), failed(4)])))
    assert "Best is trial 1: lora_rank 1. It has 36 of 40 validation examples right (77% to 96%" in text
    assert "chosen on these very examples" in text
    assert "Trial 2 cannot be told from it (McNemar's exact test" in text
    assert "2 comparisons" in text
    assert "at least 7 examples" in text
    assert "there are only 4" in " ".join(conclusion(rank([trial(1, 4, of=4), trial(2, 3, of=4)])))
    assert "All others are worse" in " ".join(conclusion(rank([trial(1, 36), trial(2, 3)])))
    assert "no other trial" in " ".join(conclusion(rank([trial(1, 36), failed(2)])))
    assert "Not one trial learned anything" in " ".join(conclusion(rank([trial(1, 0), trial(2, 0)])))


# What is chosen


def choices(file: Path, space: Space, total: int, outcome: Callable[[int], float | None] = lambda n: n / 10) -> Any:
    pytest.importorskip("optuna")
    from rasa_ft_ext.train.study import Study

    study = Study(file, SETTINGS, space)
    found = []
    for number, chosen in study.trials(total):
        found.append(chosen)
        study.tell(number, outcome(number), 1.0)
    return found


def test_choices_depend_on_seed_and_trials_only_however_often_a_sweep_is_interrupted(tmp_path: Path) -> None:
    whole = choices(tmp_path / "whole.db", SMALL, 8)
    for total in (2, 7):
        choices(tmp_path / "parts.db", SMALL, total)
    assert choices(tmp_path / "parts.db", SMALL, 8) == whole
    assert choices(tmp_path / "parts.db", SMALL, 4) == whole  # what is there is not forgotten
    assert len({str(chosen) for chosen in whole}) == 8
    assert all(str(chosen["learning_rate"]) == f"{chosen['learning_rate']:.3g}" for chosen in whole)


def test_a_trial_that_was_under_way_comes_again_in_its_place(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from rasa_ft_ext.train.study import Study

    whole = choices(tmp_path / "whole.db", SMALL, 4)
    study = Study(tmp_path / "cut.db", SETTINGS, SMALL)
    for number, _ in study.trials(4):
        if number == 3:
            break
        study.tell(number, number / 10, 1.0)
    assert choices(tmp_path / "cut.db", SMALL, 4) == whole


def test_the_first_trial_has_the_settings_as_they_are(tmp_path: Path) -> None:
    first = choices(tmp_path / "study.db", default_space(SETTINGS), 1)[0]
    assert first == {"learning_rate": 2e-4, "lora_rank": 16, "epochs": 3, "batch_size": 16}
    elsewhere: Space = {"learning_rate": Choices((1e-3, 3e-3)), "batch_size": Range(8, 64, step=8, whole=True)}
    assert choices(tmp_path / "other.db", elsewhere, 1)[0]["batch_size"] == 16


def test_a_small_space_is_tried_as_a_whole_and_nothing_twice(tmp_path: Path) -> None:
    space: Space = {"lora_rank": Choices((8, 16)), "epochs": Range(1, 2, step=0.5)}
    everything = [{"lora_rank": rank, "epochs": epochs} for rank in (8, 16) for epochs in (1.0, 1.5, 2.0)]
    assert choices(tmp_path / "all.db", space, 6) == everything
    few = choices(tmp_path / "few.db", space, 5, lambda number: None if number == 2 else 0.5)
    more = choices(tmp_path / "few.db", space, 6)
    assert more[:5] == few
    assert sorted(map(str, more)) == sorted(map(str, everything))


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(WorkspaceError, match=r"study\.db holds no study"):
        choices(tmp_path / "study.db", SMALL, 1)


# A sweep as a whole


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Rows to train on and to validate on."""
    folder = tmp_path_factory.mktemp("sweep")
    write_jsonl(folder / "train.jsonl", ROWS[:8])
    write_jsonl(folder / "val.jsonl", ROWS[8:])
    return folder / "train.jsonl", folder / "val.jsonl"


@pytest.fixture
def settings(tiny_base: Path) -> TrainSettings:
    pytest.importorskip("trl")
    pytest.importorskip("optuna")
    return load_settings(None, None, {"base_model": str(tiny_base), "device": "cpu", "method": "full", "epochs": 2})


class FakeTraining:
    """In place of a training: writes what it would, and fails where it is told to."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.outcome: dict[str, Any] = {}

    def __call__(self, prepared: Any, out: Path, *, progress: Progress) -> None:
        self.trained.append(out.name)
        outcome = self.outcome.get(out.name, 0.5)
        if isinstance(outcome, BaseException):
            (out / "checkpoints").mkdir(parents=True)
            raise outcome
        names = [example.name for example in prepared.validation]
        right = self.outcome.get("right", 1) + len(self.trained) % 2
        history = [{"step": 4, "epoch": 2.0, "eval_loss": outcome}]
        metrics = {"validation": {"loss": outcome}, "best_step": 4, "steps": 4, "history": history}
        write_json(out / "metrics.json", metrics)
        answers = [{"name": name, "right": index < right} for index, name in enumerate(names)]
        write_jsonl(out / "answers.jsonl", answers[::-1])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    from rasa_ft_ext.train import sweep

    training = FakeTraining()
    monkeypatch.setattr(sweep, "measure", training)
    monkeypatch.setattr(sweep, "plot_sweep", lambda ranking, path: path.touch())
    return training


def run(files: tuple[Path, Path | None], out: Path, settings: TrainSettings, **more: Any) -> Any:
    from rasa_ft_ext.train.sweep import sweep

    return sweep(files, out=out, settings=settings, **{"space": SMALL, "trials": 3, **more})


def contents(folder: Path) -> dict[str, bytes]:
    """The files that are a function of the inputs."""
    names = ("sweep.json", "best.yml", "final.yml", "search.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_a_real_sweep_ends_with_a_model_and_the_same_training_again(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path
) -> None:
    from rasa_ft_ext.train.stage import train

    given = {**settings.model_dump(), "report_to": ("tensorboard",)}
    settings = TrainSettings(**{**given, "answers_max_tokens": 8})
    space: Space = {"learning_rate": Choices((1e-5, 3e-3))}
    summary = run(files, tmp_path / "sweep", settings, space=space, trials=3, final=tmp_path / "final")
    best = summary.ranking[0]
    assert summary.trials == 2
    assert best.chosen["learning_rate"] == 3e-3
    assert sorted(path.name for path in (tmp_path / "sweep" / "trials" / "001").iterdir()) == [
        *("answers.jsonl", "manifest.json", "metrics.json", "settings.yml", "timings.json", "training.json"),
    ]
    again = load_settings(tmp_path / "sweep" / "best.yml", None, {})
    trained = train(files, out=tmp_path / "again", settings=again)
    assert trained.best_step == best.best_step
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    measured = json.loads((tmp_path / "again" / "metrics.json").read_text())["validation"]
    assert measured["loss"] == pytest.approx(best.loss, rel=1e-6)

    final = load_settings(tmp_path / "sweep" / "final.yml", None, {})
    assert final.epochs == best.best_epoch
    assert final.report_to == ("tensorboard",)
    assert summary.final_model.examples == len(ROWS)
    assert (tmp_path / "final" / "merged" / "model.safetensors").is_file()
    assert any((tmp_path / "final" / "tensorboard").rglob("events*"))


def test_the_last_training_is_as_long_as_the_best_trial_took() -> None:
    from rasa_ft_ext.train.sweep import final_settings

    best = rank([trial(8, 36, best_epoch=1.5)])[0]
    final = final_settings(SETTINGS.model_copy(update={"epochs": 6.0, "max_steps": 100}), best)
    assert (final.epochs, final.max_steps, final.lora_rank, final.lora_alpha) == (1.5, None, 8, 16)


def test_an_interrupted_sweep_goes_on(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, fake: FakeTraining
) -> None:
    run(files, tmp_path / "whole", settings, trials=4)
    assert fake.trained == ["001", "002", "003", "004"]
    fake.trained.clear()
    fake.outcome["003"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "cut", settings, trials=4)
    del fake.outcome["003"]
    fake.trained.pop()
    run(files, tmp_path / "cut", settings, trials=4)
    assert fake.trained == ["001", "002", "003", "004"]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    seconds = json.loads((tmp_path / "cut" / "timings.json").read_text())
    assert [value is None for value in seconds.values()] == [False, False, True, False]
    run(files, tmp_path / "cut", settings, trials=5)
    assert fake.trained[4:] == ["005"]


def test_a_trial_that_fails_is_noted_and_the_sweep_goes_on(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, fake: FakeTraining
) -> None:
    fake.outcome |= {"001": TrainingError("There is not enough memory.\nLower batch_size."), "002": float("nan")}
    for _ in range(2):  # the second time from the files
        summary = run(files, tmp_path / "sweep", settings)
        assert [entry.number for entry in summary.ranking] == [3, 1, 2]
        assert summary.failed_trials == 2
        assert summary.failures[0] == "trial 1: failed. There is not enough memory."
        assert summary.ranking[0].verdict == "best"
        assert summary.failures[1].startswith("trial 2: failed. The training diverged: the validation loss is nan.")
    assert fake.trained == ["001", "002", "003"]
    assert [path.name for path in (tmp_path / "sweep" / "trials" / "001").iterdir()] == ["failure.json"]


def test_a_sweep_in_which_all_fails_is_an_error_with_the_reasons(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, fake: FakeTraining
) -> None:
    fake.outcome |= dict.fromkeys(["001", "002"], TrainingError("There is not enough memory."))
    with pytest.raises(TrainingError, match=r"Not one of 2 trials[^\0]*trial 1 \(learning_rate[^\0]*not enough memory"):
        run(files, tmp_path / "sweep", settings, trials=2)


def test_a_bug_in_a_trial_is_no_failed_trial(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, fake: FakeTraining
) -> None:
    fake.outcome["001"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run(files, tmp_path / "sweep", settings)
    assert not (tmp_path / "sweep" / "trials" / "001" / "failure.json").exists()


def test_other_results_are_left_alone(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, fake: FakeTraining
) -> None:
    run(files, tmp_path / "sweep", settings)
    other: Space = {"learning_rate": Choices((1e-4, 1e-3))}
    with pytest.raises(ForeignResultsError, match=r"differs in: search\)"):
        run(files, tmp_path / "sweep", settings, space=other)
    with pytest.raises(ForeignResultsError, match=r"differs in: weight_decay\)"):
        run(files, tmp_path / "sweep", settings.model_copy(update={"weight_decay": 0.1}))
    run(files, tmp_path / "sweep", settings, space=other, trials=2, force=True)
    assert fake.trained[3:] == ["001", "002"]

    mine = tmp_path / "mine"
    write_json(mine / "notes.json", {})
    for force in (False, True):
        with pytest.raises(ForeignResultsError, match="no sweep wrote"):
            run(files, mine, settings, force=force)
        assert [path.name for path in mine.iterdir()] == ["notes.json"]
    fake.trained.clear()
    with pytest.raises(ForeignResultsError, match="did not write"):  # before the search
        run(files, tmp_path / "new", settings, final=mine)
    assert fake.trained == []
    assert not (tmp_path / "new").exists()


def test_without_validation_examples_there_is_no_sweep(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"There are no validation examples[^\0]*--train-frac"):
        run((files[0], None), tmp_path / "sweep", settings)
    assert not (tmp_path / "sweep").exists()


def test_several_processes_are_refused(
    files: tuple[Path, Path], settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        run(files, tmp_path / "sweep", settings)


def test_the_command_prints_the_trials_best_first(
    files: tuple[Path, Path],
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fake: FakeTraining,
) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "search.yml").write_text("epochs: [1, 2, 3]\nlora_rank: [8]\n")
    fake.outcome["002"] = TrainingError("There is not enough memory.")
    rows = ["--train-file", str(files[0]), "--val-file", str(files[1])]
    given = ["--project", str(tmp_path), "--base-model", str(tiny_base), "--device", "cpu"]
    assert main(["sweep", *rows, *given, "--search", "search.yml"]) == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    table = [line for line in lines if line[:1] in (["1"], ["2"], ["3"])]
    assert [(line[0], line[1], line[-1]) for line in table] == [
        ("1", "1", "best"),
        ("3", "3", "good"),
        ("2", "2", "failed"),
    ]
    assert "Trial 2 of 3: epochs 2, lora_rank 8: failed. There is not enough memory." in said.err
    assert f"Train with the best settings: rasa-ft train --settings {tmp_path / 'sweep' / 'best.yml'}" in said.out
    assert main(["sweep", *rows, *given, "--search", "search.yml", "--epochs", "2"]) == 1
    assert "epochs is searched, and given as a flag" in capsys.readouterr().err
