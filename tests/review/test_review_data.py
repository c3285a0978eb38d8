"""`dataset`, `split` and `prepare-data` with decisions: what is made of them, and what is made anew."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.assistant import Simulation
from rasa_ft_ext.checks.findings import CheckReport
from rasa_ft_ext.checks.stage import CHECKS, check_data
from rasa_ft_ext.dataset.stage import DatasetSummary, dataset
from rasa_ft_ext.dataset.student import StudentPrompt
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, WorkspaceError
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.review.decisions import Decision
from rasa_ft_ext.workspace import DATASET, SPLIT, Workspace, read_record
from tests.builders import TEMPLATE, FakeAssistant, commands, contents, prompt, rephrased, rephrasing
from tests.review.review_builders import BASEL, BERN, BOOKING, CAR, HOTEL, ZURICH, decided, decision, prepared, rows

EXAMPLE = Path(__file__).parents[2] / "assistant_example"


async def made(root: Path, *decisions: Decision, assistant: FakeAssistant | None = None) -> Workspace:
    workspace = prepared(root)
    decided(root, *decisions)
    await dataset(workspace, assistant or FakeAssistant())
    return workspace


async def test_examples_are_made_of_what_was_decided(tmp_path: Path) -> None:
    workspace = await made(
        tmp_path,
        decision(0, "accept", "a bed"),
        decision(1, "reject", "Basel"),
        decision(1, "edit", "to Zurich", text="Zurich!", commands=ZURICH),
        decision(3, "reject"),
    )
    assert rows(workspace) == [
        (0, 0, "book a car", CAR),
        (0, 1, "to Basel", BASEL),
        (1, 0, "I need a car", CAR),
        (1, 1, "Zurich!", ZURICH),
        (2, 0, "a bed", HOTEL),
        (2, 1, "Zurich!", ZURICH),
    ]
    assert prompt("book a car", "Zurich!") in {of.prompt for of in workspace.examples()}, "after what leads elsewhere"


async def test_an_edited_label_is_learned_with_the_recorded_prompt(tmp_path: Path) -> None:
    workspace = await made(tmp_path, decision(1, "edit", commands=ZURICH))
    first = {of.turn: of for of in workspace.examples() if of.variant == 0}
    assert (first[1].prompt, first[1].completion, first[1].made_by) == (
        prompt("book a car", "to Basel"),
        ZURICH,
        "recorded",
    )


async def test_without_the_assistant_later_prompts_show_what_it_did_with_the_recorded_commands(tmp_path: Path) -> None:
    workspace = await made(tmp_path, decision(1, "edit", commands=ZURICH), decision(3, "edit", commands=CAR))
    last = [of for of in workspace.examples() if of.turn == 3]
    assert last[0].made_by == "recorded"
    assert last[0].completion == CAR
    assert all("USER: to Basel" in of.prompt and "Zurich" not in of.prompt for of in last)
    assert {of.prompt.splitlines()[0] for of in last} == {"USER: book a car", "USER: I need a car"}


async def test_the_assistant_runs_what_follows_an_edited_label(tmp_path: Path) -> None:
    def ran(*_: object) -> Simulation:
        return Simulation({3: "in Zurich"})

    assistant = FakeAssistant(ran)
    workspace = await made(tmp_path, decision(1, "edit", commands=ZURICH), assistant=assistant)
    last = [of for of in workspace.examples() if of.turn == 3]
    assert [(of.prompt, of.made_by) for of in last] == [("in Zurich", "simulated")]
    assert {run.labels[1] for run in assistant.simulated} == {commands(ZURICH)}
    assert {run.messages[1] for run in assistant.simulated} == {"to Basel", "to Zurich"}


async def test_where_it_stands_elsewhere_then_the_recorded_course_is_kept(tmp_path: Path) -> None:
    assistant = FakeAssistant(Simulation({3: "elsewhere"}, diverged=3))
    workspace = await made(tmp_path, decision(1, "edit", commands=ZURICH), assistant=assistant)
    last = [of for of in workspace.examples() if of.turn == 3]
    assert last[0].made_by == "recorded"
    assert all("USER: to Basel" in of.prompt for of in last)


async def test_another_order_of_the_same_commands_leads_nowhere_else(tmp_path: Path) -> None:
    assistant = FakeAssistant(Simulation({}))
    workspace = await made(tmp_path, decision(1, "edit", commands=f"{BASEL}\n{CAR}"), assistant=assistant)
    assert assistant.simulated, "another command does"
    again = FakeAssistant(Simulation({}))
    shutil.rmtree(workspace.folder(DATASET))
    decided(tmp_path, decision(1, "edit", commands="SetSlot(city,Basel)"), decision(1, "reject", "to Zurich"))
    await dataset(workspace, again)
    assert again.simulated == []


async def test_the_summary_counts_and_names_what_does_not_fit(tmp_path: Path) -> None:
    gone = decision(1, "accept").model_copy(update={"message": "to Rome"})
    workspace = prepared(tmp_path)
    decided(tmp_path, gone, decision(0, "edit", commands=HOTEL), decision(1, "reject", "Basel"))
    summary = await dataset(workspace, FakeAssistant())
    assert summary.review == {"accepted": 0, "rejected": 1, "edited": 1, "not fitting": 1}
    misfit = f"{BOOKING.id}, message 2 'to Rome': the test has no such message to learn."
    assert summary.review_misfits == (misfit,)
    assert any(misfit in note and "1 decisions of the review do not fit" in note for note in summary.notes)


@pytest.mark.parametrize("can_simulate", [False, True])
async def test_edited_labels_go_with_the_prompt_of_a_student(tmp_path: Path, can_simulate: bool) -> None:
    student = StudentPrompt("short", f"{TEMPLATE}\nshort")
    assistant = FakeAssistant(Simulation({3: "in Zurich\nshort"}) if can_simulate else None)
    workspace = prepared(tmp_path)
    decided(tmp_path, decision(0, "accept", "a bed"), decision(1, "edit", commands=ZURICH), decision(3, "reject"))
    await dataset(workspace, assistant, student=student)
    assert rows(workspace, turn=3) == []
    decided(tmp_path, decision(1, "edit", commands=ZURICH), decision(3, "edit", commands=BERN))
    summary = await dataset(workspace, assistant, student=student)
    assert (summary.left_out, summary.contradictions) == (0, ())
    examples = list(workspace.examples())
    assert all(of.prompt.endswith("\nshort") for of in examples)
    first = {of.turn: of for of in examples if of.variant == 0}
    assert (first[1].prompt, first[1].completion) == (f"{prompt('book a car', 'to Basel')}\nshort", ZURICH)
    last = [of for of in examples if of.turn == 3]
    assert {of.completion for of in last} == {BERN}
    if can_simulate:
        assert {(of.prompt, of.made_by) for of in last} == {("in Zurich\nshort", "simulated")}
        assert {(run.labels[1], run.template) for run in assistant.simulated} == {(commands(ZURICH), student.source)}
    else:
        assert all("USER: to Basel" in of.prompt and "Zurich" not in of.prompt for of in last)
        assert {of.made_by for of in last} == {"rendered"}


def test_the_checks_look_at_the_rephrasings_that_the_review_left(tmp_path: Path) -> None:
    repeats = {0: [rephrasing("Book a car!", CAR), rephrasing("I need wheels", CAR)]}
    prepared(tmp_path, found=[rephrased(BOOKING, repeats)])
    a_dataset(tmp_path)
    assert [of.kind for of in check_data(Workspace(tmp_path)).findings if of.kind == "repetition"] == ["repetition"]
    decided(tmp_path, decision(0, "reject", "Book a car!"))
    assert check_data(Workspace(tmp_path)).diversity[0].rephrasings == 2, "the rows are still those of before"
    a_dataset(tmp_path, decision(0, "reject", "Book a car!"))
    (of_message,) = check_data(Workspace(tmp_path)).diversity
    assert (of_message.rephrasings, of_message.repeating) == (1, ())
    (tmp_path / "review.yaml").rename(tmp_path / "ours.yaml")
    api.split(tmp_path, review="ours.yaml", project=tmp_path, train_frac=1.0)
    found = read_record(tmp_path / SPLIT / CHECKS, CheckReport)
    assert found.diversity == (of_message,), "also with the file that is given"


# Running again


def a_dataset(root: Path, *decisions: Decision, **options: object) -> DatasetSummary:
    decided(root, *decisions)
    return api.dataset(root, **options)  # type: ignore[arg-type]


def test_a_changed_decision_makes_the_examples_anew_and_the_split_with_them(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    first = api.dataset(tmp_path)
    api.split(tmp_path, train_frac=1.0)
    second = a_dataset(tmp_path, decision(1, "reject", "Basel"))
    assert (first.examples, second.examples) == (8, 6)
    with pytest.raises(WorkspaceError, match=r"made from other dataset"):
        workspace.fingerprint("4_train_test_split")
    assert api.split(tmp_path, train_frac=1.0).train_examples == second.examples
    before = contents(tmp_path)
    assert a_dataset(tmp_path, decision(1, "reject", "Basel", note="a note decides nothing")) == second
    assert contents(tmp_path, without=["review.yaml"]) == {
        name: text for name, text in before.items() if name != "review.yaml"
    }
    (tmp_path / "review.yaml").unlink()
    assert api.dataset(tmp_path) == first


def test_results_of_another_run_are_still_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    api.dataset(tmp_path)
    api.split(tmp_path, train_frac=1.0)
    a_dataset(tmp_path, decision(1, "reject", "Basel"))
    with pytest.raises(ForeignResultsError, match=r"differs in: dataset, review, train_frac"):
        api.split(tmp_path, train_frac=0.5)


def test_files_that_were_changed_by_hand_are_not_replaced(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    api.dataset(tmp_path)
    (workspace.folder(DATASET) / "llm_ft_data.jsonl").write_text("")
    with pytest.raises(ForeignResultsError, match="was changed since it was made"):
        a_dataset(tmp_path, decision(1, "reject", "Basel"))


def test_split_stops_at_examples_that_were_made_before_a_decision(tmp_path: Path) -> None:
    prepared(tmp_path)
    api.dataset(tmp_path)
    decided(tmp_path, decision(1, "reject", "Basel"))
    with pytest.raises(WorkspaceError, match=r"review\.yaml have changed since .*Run `rasa-ft dataset` again"):
        api.split(tmp_path)


def test_a_file_elsewhere_is_named_once_and_remembered(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(out)
    decided(tmp_path, decision(1, "reject", "Basel")).rename(tmp_path / "ours.yaml")
    first = api.dataset("out", project=tmp_path, review="ours.yaml")
    assert first.review["rejected"] == 1
    assert api.dataset("out", project=tmp_path) == first
    api.split("out", project=tmp_path, train_frac=1.0)
    (tmp_path / "ours.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no such file\. The examples were made with the decisions in it"):
        api.dataset("out", project=tmp_path)
    with pytest.raises(ConfigError, match=r"no such file\. Give"):
        api.dataset("out", project=tmp_path, review="typo.yaml")


def test_labels_that_do_not_parse_stop_the_run_before_anything_is_written(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    with pytest.raises(ConfigError, match=r"line 2: .*message 2 'to Basel': `go there` is no command"):
        a_dataset(tmp_path, decision(1, "edit", commands="go there"))
    assert not workspace.folder(DATASET).exists()


def test_the_report_shows_decisions_and_says_when_the_examples_are_older(tmp_path: Path) -> None:
    prepared(tmp_path)
    a_dataset(tmp_path, decision(1, "edit", "Basel", commands=ZURICH, note="<b>no</b>"), decision(0, "reject"))
    html = write_report(tmp_path).read_text()
    assert "Decisions of the review: 1 rejected, 1 edited." in html
    assert "✎ edited" in html
    assert "&lt;b&gt;no&lt;/b&gt;" in html
    assert "<b>no" not in html
    assert "review-data" not in html
    assert "connect-src" not in html
    decided(tmp_path, decision(1, "accept", "Basel"))
    assert "have changed since the examples were made" in write_report(tmp_path).read_text()
    (tmp_path / "review.yaml").write_text("decisions: [")
    assert "The decisions of the review cannot be read." in write_report(tmp_path).read_text()


def test_the_report_says_what_became_of_each_rephrasing(tmp_path: Path) -> None:
    prepared(tmp_path)
    a_dataset(tmp_path, decision(0, "edit", "I need a car", text="wheels!"), decision(1, "edit", commands=BERN))
    api.split(tmp_path, train_frac=1.0)
    html = write_report(tmp_path).read_text()
    (found,) = re.findall(r'id="browse-data">(.*?)</script>', html, re.DOTALL)
    cars, towns = (turn["re"] for turn in json.loads(found)["tests"][0]["turns"][:2])
    assert (cars[0]["say"], cars[0]["rows"], cars[0].get("left")) == ("I need a car", 1, None)
    assert [of["left"] for of in towns] == [
        "not the label of the review: SetSlot city: 'Basel' instead of 'Bern'",
        "not the label of the review: SetSlot city: 'Zurich' instead of 'Bern'",
    ]
    assert not any("rows" in of for of in towns)
    assert html.count("left out: not the label of the review") == 2, "also without scripts"


# On the example


@pytest.fixture(scope="module")
def llm() -> Iterator[Running]:
    with scripted_llm(EXAMPLE / "answers.yml") as running:
        yield running


def test_prepare_data_follows_the_decisions_without_paying_again(tmp_path: Path, llm: Running) -> None:
    recorded = tmp_path / "annotations" / "cars"
    recorded.mkdir(parents=True)
    shutil.copy(EXAMPLE / "annotations" / "assistant.json", recorded.parent)
    shutil.copy(EXAMPLE / "annotations" / "cars" / "cancellation.yml.json", recorded)

    def run(out: str = "out", **options: object) -> Workspace:
        api.prepare_data(
            project=tmp_path,
            annotations="annotations",
            llm_api_base=llm.base_url,
            num_rephrases=3,
            out=out,
            **options,  # type: ignore[arg-type]
        )
        return Workspace(tmp_path / "out")

    first = list(run().examples())
    calls = llm.stats()["calls"]
    at = next(of for of in first if of.variant == 1)
    gone = Decision(
        test=at.test, turn=at.turn + 1, message=at.original_message, rephrasing=at.message, decision="reject"
    )
    bad = gone.model_copy(update={"decision": "edit", "commands": "start flow nowhere", "rephrasing": None})
    decided(tmp_path / "out", bad)
    with pytest.raises(ConfigError, match="names the flow nowhere"):
        run()
    with pytest.raises(ConfigError, match="names the flow nowhere"):
        run("fresh", review="out/review.yaml")
    assert llm.stats()["calls"] == calls, "labels are looked at before anything is paid for"
    decided(tmp_path / "out", gone)
    second = list(run().examples())
    assert {of.message for of in first} - {of.message for of in second} == {at.message}
    assert llm.stats()["calls"] == calls
    (tmp_path / "out" / "review.yaml").rename(tmp_path / "ours.yaml")
    assert list(run(review="ours.yaml").examples()) == second
    assert "review: ours.yaml" in (tmp_path / "out" / "params.yaml").read_text()
