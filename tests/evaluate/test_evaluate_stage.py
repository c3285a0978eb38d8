"""The stage `evaluate`, against models over real HTTP: what is measured, what is written, what passes."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rasa_ft_ext.errors import ConfigError, LLMError, LLMUnavailableError, ServeError, WorkspaceError
from rasa_ft_ext.evaluate.request import Conversations, answer_limit
from rasa_ft_ext.evaluate.stage import evaluate
from rasa_ft_ext.evaluation import (
    Evaluation,
    Thresholds,
    read_answers,
    read_evaluation,
    read_outcomes,
)
from rasa_ft_ext.finetuned import TrainFacts, write_manifest
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS
from rasa_ft_ext.workspace import EVALUATION, PROMPT_TEMPLATE, SPLIT, Workspace, write_jsonl
from tests.evaluate.evaluate_builders import (
    Model,
    Player,
    conversations,
    expected,
    jsonl,
    output_folder,
    request,
    serving,
    swapped,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return output_folder(tmp_path_factory.mktemp("made") / "output").root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(made, tmp_path / "output")
    return Workspace(tmp_path / "output")


def run(workspace: Workspace, model: Model, **changes: Any) -> Evaluation:
    with serving(model) as url:
        return asyncio.run(evaluate(workspace, request(url, **changes)))


def right(workspace: Workspace) -> Model:
    return Model(expected(workspace).__getitem__, logprob=lambda word: -0.125)


class Folder(ModelServer):
    """Stands for the model folder's own server."""

    def __init__(self, model: Model) -> None:
        super().__init__(ServeSettings(model="folder", name="student"))
        self._serving = serving(model)
        self.stopped = False

    @property
    def base_url(self) -> str:
        return self._url

    def start(self) -> None:
        self._url = self._serving.__enter__()

    def wait(self) -> None:
        raise AssertionError("nobody waits for it")

    def stop(self) -> None:
        self._serving.__exit__(None, None, None)
        self.stopped = True


def trained(folder: Path, workspace: Workspace, **facts: Any) -> Path:
    """The folder of a training that is not looked into."""
    (folder / "merged").mkdir(parents=True)
    (folder / "merged" / "model.safetensors").write_bytes(b"weights")
    known = {"name": "student", "base_model": "b", "train_rows": 1, "validation_rows": 1, "dtype": "float32"}
    write_manifest(folder, TrainFacts(**{**known, "data_hash": workspace.fingerprint("4_train_test_split"), **facts}))
    return folder


def whole(workspace: Workspace, tmp_path: Path, model: Model, **changes: Any) -> Evaluation:
    """An evaluation with all of its parts; the model folder says what is right."""
    given: dict[str, Any] = {
        "parts": ("commands", "conversations", "parity"),
        "conversations": conversations(workspace),
        "reference": lambda: Folder(right(workspace)),
    }
    if "model_folder" not in changes:
        given["model_folder"] = trained(tmp_path / "model", workspace)
    return run(workspace, model, **{**given, **changes})


def test_a_model_that_is_right_passes(workspace: Workspace, tmp_path: Path) -> None:
    found = whole(workspace, tmp_path, right(workspace))

    assert found.verdict.passed
    assert found.verdict.problems == ()
    assert found.commands["validation"].exact_match.value == 1
    assert found.commands["train"].examples + found.commands["validation"].examples == 15
    assert found.conversations["validation"].rate.value == 1
    assert found.parity is not None
    assert found.parity.largest_difference == 0
    assert found.subject.model_hash
    assert read_evaluation(workspace.root) == found
    assert len(read_answers(workspace.root)) == 15
    assert len(read_outcomes(workspace.root)) == 10
    assert "PASSED" in (workspace.root / EVALUATION / "evaluation.md").read_text()
    assert "may replace the teacher" in (workspace.root / "report.html").read_text()


def test_probes_are_prompts_of_validation_with_what_the_model_said(workspace: Workspace) -> None:
    found = run(workspace, right(workspace))

    assert found.probes
    assert {(probe.prompt, probe.answer) for probe in found.probes} <= expected(workspace).items()


def test_prompts_that_are_answered_otherwise_alone_are_no_probes(workspace: Workspace) -> None:
    answers = expected(workspace)
    asked: list[str] = []
    wavering = prompts_of(workspace, "val")[0]

    def says(prompt: str) -> str:
        asked.append(prompt)
        return "cancel flow" if prompt == wavering and asked.count(prompt) == 2 else answers[prompt]

    found = run(workspace, Model(says))

    assert wavering not in {probe.prompt for probe in found.probes}
    assert len(found.probes) == len(prompts_of(workspace, "val")) - 1
    assert found.notes == ("Asked once more, the model answered 1 of 3 prompts otherwise.",)


@pytest.mark.parametrize(
    ("answer", "facts", "limit"),
    [
        ("cancel flow", None, 64),
        ("cancel flow", 40, 80),
        ("cancel flow", 200, 256),
        ("cancel flow", 300, 301),
        ("set slot city Zug\n" * 5, None, 88),
        ("set slot city Zug\n" * 100, None, 900),
    ],
)
def test_an_answer_gets_twice_the_tokens_of_the_longest(
    answer: str, facts: int | None, limit: int, workspace: Workspace, tmp_path: Path
) -> None:
    write_jsonl(workspace.folder(SPLIT) / TRAIN_ROWS, [{"prompt": "p", "completion": answer.strip()}])
    folder = trained(tmp_path / "model", workspace, longest_answer=facts) if facts is not None else None
    assert answer_limit(workspace, folder) == limit


def test_an_address_with_a_password_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="must not hold a user or a password") as error:
        asyncio.run(evaluate(workspace, request("http://me:passphrase@127.0.0.1:9/v1")))
    assert "passphrase" not in str(error.value)


def test_swapped_labels_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    model = Model(swapped(expected(workspace)), logprob=lambda word: -0.125)

    found = whole(workspace, tmp_path, model, reference="not compared")

    assert found.verdict.red
    assert not found.verdict.passed
    assert found.commands["validation"].exact_match.value == 0
    assert any("pass rate of the validation tests is 0.0 %" in problem for problem in found.verdict.problems)


@pytest.mark.parametrize(
    ("garbage", "why"),
    [("Sure, let me help you!", None), (None, "answer without text"), (400, "cannot")],
)
def test_garbage_counts_as_wrong_and_is_named(workspace: Workspace, garbage: Any, why: str | None) -> None:
    answers = expected(workspace)
    first = next(answer.row for answer in read_all(workspace, right(workspace)) if answer.side == "validation")
    prompt = next(iter(prompts_of(workspace, "val")))

    found = run(workspace, Model(lambda asked: garbage if asked == prompt else answers[asked]))

    wrong = [answer for answer in read_answers(workspace.root) if not answer.right]
    assert [answer.row for answer in wrong] == [first]
    assert found.commands["validation"].unparsable.value == pytest.approx(1 / found.commands["validation"].examples)
    assert (why is None) == (wrong[0].error is None)
    assert why is None or why in str(wrong[0].error)
    assert found.commands["validation"].failed_calls == (why is not None)


def read_all(workspace: Workspace, model: Model) -> list[Any]:
    run(workspace, model)
    return read_answers(workspace.root)


def prompts_of(workspace: Workspace, side: str) -> list[str]:
    return [row["prompt"] for row in jsonl(workspace.root / "4_train_test_split" / "ft_splits" / f"{side}.jsonl")]


def test_a_model_that_never_answers_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(LLMError, match=r"cannot.*So it was with the first 3 requests"):
        run(workspace, Model(lambda prompt: 400))


def test_a_server_that_is_not_there_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(LLMUnavailableError, match="Nobody answers"):
        asyncio.run(evaluate(workspace, request("http://127.0.0.1:9/v1")))


def test_another_name_is_an_error_that_names_the_served_ones(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="It serves: llama, qwen"):
        run(workspace, Model(lambda prompt: "x", names=("llama", "qwen")))


def test_a_refused_key_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(LLMUnavailableError, match="--api-key-env"):
        run(workspace, Model(lambda prompt: "x", key="secret"))


def test_an_error_leaves_the_evaluation_before_as_it_was(workspace: Workspace) -> None:
    before = run(workspace, right(workspace))
    with pytest.raises(LLMError):
        run(workspace, Model(lambda prompt: 400))
    assert read_evaluation(workspace.root) == before


def test_what_was_left_out_on_purpose_is_not_red_but_has_not_passed(workspace: Workspace) -> None:
    found = run(workspace, right(workspace))

    assert not found.verdict.passed
    assert not found.verdict.red
    assert found.verdict.sentence == (
        "NOT PASSED AS A WHOLE: what was measured of student holds, but conversations and parity were left out."
    )


def test_what_could_not_be_measured_is_red(workspace: Workspace, tmp_path: Path) -> None:
    found = whole(workspace, tmp_path, right(workspace), conversations="Rasa Pro is not installed here")

    assert found.verdict.red
    assert found.verdict.problems == ("Conversations were not measured: Rasa Pro is not installed here.",)


def test_thresholds_decide(workspace: Workspace, tmp_path: Path) -> None:
    answers = expected(workspace)
    tests = conversations(workspace).tests["train"]
    city = tests[0].id.rpartition(" ")[2]
    model = Model(lambda prompt: "set slot city Rom" if prompt.endswith(city) else answers[prompt])
    share = (len(tests) - 1) / len(tests)

    def problems(min_train: float) -> tuple[str, ...]:
        given: dict[str, Any] = {"reference": "not compared", "thresholds": Thresholds(min_train=min_train)}
        folder = trained(tmp_path / str(min_train), workspace)
        return whole(workspace, tmp_path, model, model_folder=folder, **given).verdict.problems

    assert len(problems(share)) == 1  # parity
    assert f"The pass rate of the train tests is {100 * share:.1f} %" in problems(share + 0.001)[0]


def test_command_accuracy_counts_where_it_is_asked_for(workspace: Workspace) -> None:
    model = Model(swapped(expected(workspace)))
    assert not run(workspace, model).verdict.red
    found = run(workspace, model, thresholds=Thresholds(min_accuracy=0.5))
    assert found.verdict.red
    assert "command accuracy on the validation examples is 0.0 %" in found.verdict.problems[0]


def test_model_and_teacher_are_compared_test_by_test(workspace: Workspace, tmp_path: Path) -> None:
    answers = expected(workspace)
    model = Model(lambda prompt: "set slot city Rom" if prompt.endswith("Basel") else answers[prompt])
    player = Player(fails={"cars.yml::to Bern": "the teacher was wrong"})

    found = whole(
        workspace,
        tmp_path,
        model,
        reference="not compared",
        conversations=conversations(workspace, player),
        against_teacher=True,
        repeats=2,
    )

    turns = {turn.test: turn for turn in found.differing_turns}
    assert list(turns) == ["cars.yml::to Basel"]
    turn = turns["cars.yml::to Basel"]
    assert (turn.message, turn.model_passed, turn.teacher_passed) == ("to Basel", False, True)
    assert turn.model is not None
    assert turn.model.answer == "set slot city Rom"
    assert {side: rate.noise for side, rate in found.conversations.items()} == {"train": 0, "validation": 0}
    assert set(found.comparison) == {"train", "validation"}
    assert len(jsonl(workspace.root / EVALUATION / "teacher_outcomes.jsonl")) == 20


def test_another_model_than_the_folders_is_an_error_and_is_written(workspace: Workspace, tmp_path: Path) -> None:
    model = Model(expected(workspace).__getitem__, logprob=lambda word: -0.130)
    folder = Folder(right(workspace))

    with pytest.raises(ServeError, match=r"is not the model in the model folder:\n.*log probabilities differ by 0.005"):
        whole(workspace, tmp_path, model, reference=lambda: folder)

    assert folder.stopped
    found = read_evaluation(workspace.root)
    assert found.verdict.red
    assert found.commands == {}
    assert len(model.bodies) == len(prompts_of(workspace, "val"))


def test_a_changed_tensor_in_the_folder_is_caught(workspace: Workspace, tmp_path: Path) -> None:
    folder = trained(tmp_path / "model", workspace)
    (folder / "merged" / "model.safetensors").write_bytes(b"Weights")

    with pytest.raises(ServeError, match=r"not as the training left them: merged/model\.safetensors"):
        whole(workspace, tmp_path, right(workspace), model_folder=folder)


def test_without_log_probabilities_parity_is_not_measured(workspace: Workspace, tmp_path: Path) -> None:
    found = whole(workspace, tmp_path, Model(expected(workspace).__getitem__))

    assert found.parity is None
    assert found.verdict.red
    assert "gives no log probabilities" in found.verdict.problems[0]


def test_a_model_of_other_data_does_not_pass(workspace: Workspace, tmp_path: Path) -> None:
    folder = trained(tmp_path / "other", workspace, data_hash="of other data")
    found = whole(workspace, tmp_path, right(workspace), model_folder=folder)
    assert found.verdict.red
    assert "was trained on other data" in found.verdict.problems[0]


def test_a_model_that_has_seen_the_validation_rows_is_named(workspace: Workspace, tmp_path: Path) -> None:
    folder = trained(tmp_path / "final", workspace, validation_rows=0)
    found = whole(workspace, tmp_path, right(workspace), model_folder=folder)
    assert "figures of validation do not say" in found.notes[0]


@pytest.mark.parametrize("recorded", [{}, {"flows": {"book_car": "book a car"}}])
def test_an_assistant_that_has_changed_since_is_named(
    recorded: dict[str, Any], workspace: Workspace, tmp_path: Path
) -> None:
    card = workspace.card().model_copy(update={"fingerprint": "trained again", **recorded})
    assistant = replace(conversations(workspace), card=card)
    found = whole(workspace, tmp_path, right(workspace), conversations=assistant)
    assert [("flows: book_car" in note) for note in found.notes] == [True] * len(recorded)


def test_a_model_is_not_compared_with_itself(workspace: Workspace, tmp_path: Path) -> None:
    card = workspace.card()
    other = card.model_copy(update={"llm": {"provider": "openai", "model": "gpt"}, "fingerprint": "other"})

    itself = card.model_copy(update={"llm": {"model": "student", "api_base": "http://127.0.0.1:9/v1/"}})
    asked = replace(conversations(workspace), card=itself)
    given = request("http://127.0.0.1:9/v1", parts=("conversations",), conversations=asked, against_teacher=True)
    with pytest.raises(ConfigError, match="there is no teacher"):
        asyncio.run(evaluate(workspace, given))
    found = whole(
        workspace,
        tmp_path / "other",
        right(workspace),
        conversations=replace(conversations(workspace), card=other),
        against_teacher=True,
    )
    assert "The teacher of the comparison is openai/gpt" in found.notes[0]


def test_without_any_test_or_example_nothing_is_proven(workspace: Workspace, tmp_path: Path) -> None:
    no_tests = Conversations(Player(), {"train": [], "validation": []})
    found = whole(workspace, tmp_path / "tests", right(workspace), conversations=no_tests)
    assert "The pass rate of the validation tests cannot be told" in found.verdict.problems[0]

    model = right(workspace)
    for name in (TRAIN_ROWS, VALIDATION_ROWS):
        (workspace.folder(SPLIT) / name).write_text("")
    found = run(
        workspace,
        model,
        parts=("commands", "parity"),
        model_folder=trained(tmp_path / "rows", workspace),
        reference=lambda: Folder(model),
        thresholds=Thresholds(min_accuracy=0.5),
    )
    assert found.verdict.problems == (
        "The command accuracy on the validation examples cannot be told: there are no tests or examples of it.",
        "Conversations were not measured: left out on purpose.",
        "Parity was not measured: there are no examples to ask.",
    )


def test_tokens_are_counted_and_paid(workspace: Workspace) -> None:
    figures = run(workspace, right(workspace), price=(1.0, 10.0)).commands["train"]
    assert figures.prompt_tokens > 0
    assert figures.price == pytest.approx((figures.prompt_tokens + 10 * figures.completion_tokens) / 1000)
    assert 0 < figures.seconds_p50 <= figures.seconds_p95


def test_the_model_is_asked_for_its_likeliest_answer(workspace: Workspace) -> None:
    model = right(workspace)
    run(workspace, model)
    assert {body["temperature"] for body in model.bodies} == {0.0}


def test_options_that_cannot_work_are_all_named(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as error:
        run(
            workspace,
            right(workspace),
            thresholds=Thresholds(min_train=95),
            repeats=0,
            against_teacher=True,
            price=(-1.0, 0.0),
        )
    assert len(error.value.problems) == 4


def test_the_prompt_template_must_be_known(workspace: Workspace) -> None:
    (workspace.folder("3_llm_finetune_data") / PROMPT_TEMPLATE).unlink()
    with pytest.raises(WorkspaceError):
        run(workspace, right(workspace))


def test_junit_has_each_test_and_each_threshold(workspace: Workspace, tmp_path: Path) -> None:
    answers = expected(workspace)
    model = Model(lambda prompt: "set slot city \x00<Rom>" if prompt.endswith("Basel") else answers[prompt])
    whole(workspace, tmp_path, model, reference="not compared", repeats=2)

    root = ElementTree.parse(workspace.root / EVALUATION / "junit.xml").getroot()

    assert root.tag == "testsuites"
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"verdict", "e2e_tests.train", "e2e_tests.validation"}
    for suite in suites.values():
        cases = list(suite)
        assert suite.get("tests") == str(len(cases))
        assert suite.get("failures") == str(sum(case.find("failure") is not None for case in cases))
        assert all(case.get("classname") and case.get("name") and float(case.get("time", "x")) >= 0 for case in cases)
    assert root.get("tests") == str(sum(len(suite) for suite in root))
    failed = [case for case in suites["e2e_tests.train"].iter("testcase") if case.find("failure") is not None]
    failed += [case for case in suites["e2e_tests.validation"].iter("testcase") if case.find("failure") is not None]
    assert [case.get("name") for case in failed] == ["to Basel"]
    failure = failed[0].find("failure")
    assert failure is not None
    assert "failed in 2 of 2 runs" in failure.get("message", "")
    verdict = {case.get("name"): case for case in suites["verdict"]}
    assert verdict["parity measured"].find("failure") is not None
    assert "The pass rate of the train tests is at least 95 %" in verdict
