"""The part of `report.html` about the data: its figures are those of the files, and all it shows is text."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import ContestedTurn
from rasa_ft_ext.evaluation import Evaluation, Subject, Verdict
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.prompts import one_line
from rasa_ft_ext.report import data
from rasa_ft_ext.report.balance import counted, kinds, lengths
from rasa_ft_ext.report.figures import Annotated, DataFigures, Divided, Made, Rephrased
from rasa_ft_ext.report.funnel import funnel
from rasa_ft_ext.report.page import refresh_report, write_report
from rasa_ft_ext.workspace import DATASET, EVALUATION, MANIFEST, REPHRASINGS, SPLIT, TIMINGS, write_record
from tests.builders import annotated_file, annotated_workspace
from tests.report.report_builders import BOOKING, NASTY, OTHER, REPHRASED, prepared
from tests.split.builders import example, set_slot, start

ROOT = Path(__file__).parents[2]
SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def titles(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def browsable(html: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(text for kind, text in SCRIPT.findall(html) if "json" in kind))
    return found


def page(output: Path) -> str:
    return write_report(output).read_text(encoding="utf-8")


@pytest.fixture
def html(tmp_path: Path) -> str:
    prepared(tmp_path)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_prepare_data_writes_a_report_with_its_figures(tmp_path: Path) -> None:
    recorded = tmp_path / "annotations"
    (recorded / "cars").mkdir(parents=True)
    source = ROOT / "assistant_example" / "annotations"
    for name in ("assistant.json", "cars/corrections.yml.json", "cars/cancellation.yml.json"):
        shutil.copy(source / name, recorded / name)
    with scripted_llm(ROOT / "assistant_example" / "answers.yml") as llm:
        made = api.prepare_data(
            project=tmp_path, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=3, out="out"
        )

    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert titles(html) == [
        "At a glance",
        "What the checks found",
        "From tests to examples",
        "What the examples hold",
        "Conversations",
        "The run",
    ]
    assert f"{made.num_train_data_points} to train on and {made.num_val_data_points} to validate with." in html
    asked = made.num_passing_rephrased_user_messages + made.num_failing_rephrased_user_messages
    assert f"{made.num_passing_rephrased_user_messages} of {asked} " in html
    tests = browsable(html)["tests"]
    assert len(tests) == made.num_annotated_conversations
    wordings = [one for test in tests for turn in test["turns"] for one in (turn, *turn.get("re", ()))]
    failing = [one for test in tests for turn in test["turns"] for one in turn.get("re", ()) if "why" in one]
    assert len(failing) == made.num_failing_rephrased_user_messages
    assert sum(one.get("rows", 0) for one in wordings) == made.num_ft_data_points
    assert write_report(tmp_path / "out").read_text(encoding="utf-8") == html


def test_a_row_says_where_it_stands_and_on_which_side_its_test_is(html: str, tmp_path: Path) -> None:
    found = browsable(html)
    sides = {test["name"]: test["side"] for test in found["tests"]}
    assert sorted(sides.values()) == ["train", "validation"]
    for test in found["tests"]:
        for turn in test["turns"]:
            for one in (turn, *turn.get("re", ())):
                if one.get("rows"):
                    file, _, line = one["first"].partition(" line ")
                    rows = (tmp_path / SPLIT / "ft_splits" / file).read_text(encoding="utf-8").split("\n")
                    row = json.loads(rows[int(line) - 1])
                    assert one_line(one["say"]) in row["prompt"]
                    assert row["completion"] == "\n".join(found["commands"][index]["text"] for index in one["do"])


def test_a_conversation_has_its_turns_replies_commands_and_reasons(html: str) -> None:
    found = browsable(html)
    booking = next(test for test in found["tests"] if test["name"] == BOOKING.name)
    first, second, third = booking["turns"]
    assert first["bot"] == [f"Where? {NASTY}"]
    assert [found["commands"][index]["flow"] for index in first["do"]] == ["book_car"]
    assert [one.get("why") for one in first["re"]] == [None, "no command could be read"]
    assert [found["commands"][index]["text"] for index in second["re"][0]["do"]] == ["SetSlot(city, Zurich)"]
    assert third["why"] == "answered without the LLM"
    assert "do" not in third
    other = next(test for test in found["tests"] if test["name"] == OTHER.name)
    assert other["turns"][0]["bot"] == ["OK.", "utter_ask_more"]


def test_who_made_a_wording_and_what_the_llm_was_not_sure_of_are_shown(tmp_path: Path) -> None:
    turn = REPHRASED.turns[1]
    noise = turn.rephrasings[0].model_copy(update={"origin": "noise"})
    turns = (REPHRASED.turns[0], turn.model_copy(update={"rephrasings": (noise,)}))
    contested = (ContestedTurn(turn=0, reason="said otherwise 2 of 3 times", answers=("a", "b", "b")),)
    prepared(tmp_path, found=(REPHRASED.model_copy(update={"turns": turns, "contested": contested}),))
    found = browsable(page(tmp_path))["tests"][0]["turns"]
    assert found[1]["re"][0]["by"] == "noise"
    assert found[0]["problem"] == "said otherwise 2 of 3 times"


def test_what_others_wrote_is_text_and_the_only_script_that_may_run_is_ours(html: str) -> None:
    scripts = SCRIPT.findall(html)
    assert len(scripts) == html.count("<script") == 3
    (data_kind, data), *ours = scripts
    assert 'type="application/json"' in data_kind
    assert not re.search("[<>&\u2028]", data)
    assert {kind for kind, _ in ours} == {""}
    digests = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for _, source in ours]
    named = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = re.search(r'Content-Security-Policy" content="(.*?)">', html)
    assert policy is not None
    assert policy[1] == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {named}; base-uri 'none'; form-action 'none'"
    )
    assert "innerHTML" not in "".join(source for _, source in ours)
    assert "<img" not in html


def test_links_lead_to_sections_and_no_id_is_there_twice(html: str) -> None:
    ids = re.findall(r' id="(.*?)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="(.*?)"', html)) <= {f"#{name}" for name in ids}
    assert {name for name in re.findall(r'for="(.*?)"', html)} <= set(ids)


def test_what_was_not_run_has_no_section(tmp_path: Path) -> None:
    annotated_workspace(tmp_path, annotated_file(BOOKING))
    assert titles(page(tmp_path)) == ["At a glance", "Conversations", "The run"]


def test_a_stage_that_no_longer_fits_is_told_first(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / REPHRASINGS / "added.txt").write_text("x")
    html = page(tmp_path)
    place = html.index("was made from other rephrasings")
    assert html.index("Look at what stands below first") < place < html.index("<h2>What the examples hold")


def test_a_stage_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / DATASET / "llm_ft_data.jsonl").write_text("no example\n")
    subject = Subject(model="m", api_base="http://x/v1", data_hash="d", template_hash="t", rasa_version="3.21.0")
    write_record(
        tmp_path / EVALUATION / "evaluation.json",
        Evaluation(version="1", subject=subject, verdict=Verdict(passed=True)),
    )
    html = page(tmp_path)
    assert titles(html) == [
        *("At a glance", "What the checks found", "Verdict", "Parity", "What was evaluated"),
        *("From tests to examples", "Data"),
    ]
    assert "llm_ft_data.jsonl cannot be read" in html
    assert "run the command that did so again" in html
    ids = re.findall(r' id="(.*?)"', html)
    assert len(ids) == len(set(ids))


def test_the_command_writes_the_page_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(tmp_path / "out", OTHER, found=())
    path = tmp_path / "out" / "report.html"
    before = path.read_bytes()
    path.unlink()
    assert main(["report", "out", "--project", str(tmp_path)]) == 0
    assert path.read_bytes() == before
    assert str(path) in capsys.readouterr().out
    assert api.report("out", project=tmp_path) == path


def test_a_page_is_made_again_only_if_what_it_is_made_from_has_changed(tmp_path: Path) -> None:
    workspace = prepared(tmp_path / "out", OTHER, found=())
    path = write_report(workspace.root)

    def is_made_again() -> bool:
        os.utime(path, ns=(0, 0))
        refresh_report(workspace.root)
        return path.stat().st_mtime_ns != 0

    assert not is_made_again()
    timings = workspace.folder(REPHRASINGS) / TIMINGS
    timings.write_text('{"rephrasing_seconds": 2.0, "tokens": {}}')
    assert not is_made_again()
    timings.write_text('{"rephrasing_seconds": 2.0, "tokens": {"checking": {"calls": 3}}}')
    assert is_made_again()
    timings.write_text("{")
    assert is_made_again()
    assert is_made_again()
    timings.unlink()
    assert is_made_again()
    assert not is_made_again()
    (workspace.root / "coverage").mkdir()
    (workspace.root / "coverage" / "coverage.json").write_text("{}")
    assert is_made_again()
    (workspace.root / "review.yaml").write_text("decisions: []")
    assert is_made_again()
    manifest = workspace.folder(SPLIT) / MANIFEST
    manifest.write_text(manifest.read_text() + " ")
    assert is_made_again()
    assert not is_made_again()
    path.write_text("cut off")
    assert is_made_again()


def test_where_there_is_nothing_to_show_the_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path / "out", OTHER, found=())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    told = {
        "nothing": "There is no folder",
        "file": "There is no folder",
        "empty": "Run `rasa-ft prepare-data` first",
        f"out/{SPLIT}": "Give the one above it.",
    }
    for folder, text in told.items():
        assert main(["report", folder, "--project", str(tmp_path)]) == 1
        assert text in capsys.readouterr().err
    assert not list((tmp_path / "empty").iterdir())


def test_the_funnel_counts_what_came_through_and_why_the_rest_did_not() -> None:
    steps = funnel(
        DataFigures(
            annotated=Annotated(
                tests=4, passed=3, user_messages=10, annotated=8, to_rephrase=8, not_annotated={"a": 1, "b": 1}
            ),
            rephrased=Rephrased(rephrasings=20, passing=15, failing=5, failed_calls=0, reasons={"other": 2, "call": 3}),
            made=Made(recombinations=6, examples=18, duplicates=4, left_out=2),
            divided=Divided(train_examples=12, val_examples=6, train_tests=2, val_tests=1),
        )
    )
    assert [(step.name, step.kept, step.total, step.reasons) for step in steps] == [
        ("E2E tests", 3, 4, (("failed", 1),)),
        ("User messages", 8, 10, (("a", 1), ("b", 1))),
        ("Rephrasings", 15, 20, (("call", 3), ("other", 2))),
        ("Examples", 18, 24, (("the same as another example", 4), ("the prompt cannot be rendered", 2))),
        ("Training", 12, 18, (("to validate with, of 1 test", 6),)),
    ]
    assert steps[2].text == "15 of 20 (75.0 %) give the same commands"
    assert funnel(DataFigures(rephrased=Rephrased(rephrasings=0, passing=0, failing=0, failed_calls=0)))[0].share == 0


def test_charts_count_examples_and_name_what_no_example_has() -> None:
    sides = {
        "train": [
            example("a", "p", start("f"), set_slot("city"), set_slot("city", "y")),
            example("a", "q", set_slot("city")),
        ],
        "validation": [example("b", "r", start("g"))],
    }
    commands, flows, slots = kinds({side: counted(of) for side, of in sides.items()}, ["f", "g", "never"])
    shown = {name: [(bar.count, bar.share) for bar in bars] for name, bars in commands.rows}
    assert shown == {"SetSlot": [(2, 1.0), (0, 0.0)], "StartFlow": [(1, 0.5), (1, 1.0)]}
    assert [(name, [bar.count for bar in bars]) for name, bars in flows.rows] == [
        ("f", [1, 0]),
        ("g", [0, 1]),
        ("never", [0, 0]),
    ]
    assert [name for name, _ in slots.rows] == ["city"]


def test_lengths_are_a_histogram_of_round_bins() -> None:
    sides = {
        "train": [example("a", "x" * length) for length in (100, 101, 250, 500)],
        "validation": [example("b", "x" * 120)],
    }
    found = lengths({side: counted(of) for side, of in sides.items()})
    assert found is not None
    assert found.rows == (("train", 175, 500, 500), ("validation", 120, 120, 120))
    assert found.marks == (100, 310, 520)
    train = [bar for bar in found.bars if bar.side == "train"]
    assert [bar.text.partition(" have ")[2] for bar in train] == [
        "100 to 119 characters",
        "240 to 259 characters",
        "500 to 519 characters",
    ]
    assert [bar.height for bar in train] == [50.0, 25.0, 25.0]
    room = 1000 / 21  # of a bin; the second one holds validation's bar, on the right
    assert [round(bar.x / room, 2) for bar in found.bars] == [0.07, 7.07, 20.07, 1.5]
    assert lengths({"train": counted([])}) is None


def test_a_page_of_big_data_shows_the_first_conversations_and_says_where_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_WORDINGS", 1)
    prepared(tmp_path)
    html = page(tmp_path)

    assert [test["name"] for test in browsable(html)["tests"]] == [BOOKING.name]
    assert "The first 1 of 2 conversations; the others are in 2_rephrasings" in html
    monkeypatch.setattr(data, "_WORDINGS", 1000)
    assert len(browsable(page(tmp_path))["tests"]) == 2
    assert "The first" not in page(tmp_path)
