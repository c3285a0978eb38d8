"""`monitor` on small trackers: figures, worst messages, drafts, metrics, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from rasa_ft_ext import api
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError, MissingExtraError, RasaFtError, WorkspaceError
from rasa_ft_ext.monitor.stage import MonitorSummary, monitor, options_of
from rasa_ft_ext.monitoring import Monitoring, read_monitoring
from rasa_ft_ext.workspace import MONITORING, Workspace
from tests.builders import contents
from tests.monitor.trackers import (
    CANNOT_HANDLE,
    DAY,
    FAILED,
    NOON,
    Event,
    bot,
    flow,
    recorded,
    starts,
    trained_workspace,
    user,
)

CAR = user("I'd like to book a car in Bern", starts("book_car"))
LOST = user("My suitcase was lost, call 0170 1234567", CANNOT_HANDLE)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return trained_workspace(tmp_path / "output")


def found(workspace: Workspace, *conversations: list[Event], **options: object) -> Monitoring:
    run(workspace, *conversations, **options)
    return read_monitoring(workspace.root)


def run(workspace: Workspace, *conversations: list[Event], **options: object) -> MonitorSummary:
    pairs = [(f"sender {number}", events) for number, events in enumerate(conversations)]
    return monitor(workspace, pairs, options_of(**options))  # type: ignore[arg-type]


def test_every_way_that_a_turn_can_go_is_counted(workspace: Workspace) -> None:
    total = found(
        workspace,
        [
            CAR,
            user("/SetSlots(city=Bern)", {"command": "set slot", "name": "city"}, asked=False),
            user("Make it Chur instead", FAILED),
            user("Make it Sion instead", {"command": "clarify", "options": ["a", "b"]}),
            user("Make it Sion instead", {"command": "chitchat"}),
        ],
        [
            user("Make it Sion instead", {"command": "knowledge"}),
            user("Make it Sion instead", CANNOT_HANDLE),
            user("Make it Sion instead", starts("book_hotel")),
            user("Make it Sion instead", {"command": "set slot", "name": "city"}),
            flow("pattern_human_handoff"),
        ],
    ).total

    assert (total.conversations, total.messages, total.asked, total.failed_calls, total.answers) == (2, 9, 8, 1, 7)
    assert (total.unparsed, total.cannot_handle, total.clarifications) == (1, 1, 1)
    assert (total.chitchat, total.knowledge, total.handoffs, total.untrained_flows) == (1, 1, 1, 1)
    assert (total.compared, total.far) == (7, 0)
    assert total.share("cannot_handle") == pytest.approx(1 / 7)
    assert total.share("failed_calls") == pytest.approx(1 / 8)
    assert total.flows == {"book_car": 1, "book_hotel": 1}


def test_days_are_counted_apart_and_dates_cut_off(workspace: Workspace) -> None:
    conversation = [{**CAR, "timestamp": NOON + number * DAY} for number in range(4)]
    whole = found(workspace, conversation)
    part = found(workspace, conversation, since="2026-05-15T14:00+02:00", until="2026-05-17T12:00")

    assert [day.date for day in whole.days] == ["2026-05-14", "2026-05-15", "2026-05-16", "2026-05-17"]
    assert whole.total.conversations == 1
    assert [(day.date, day.figures.conversations) for day in part.days] == [("2026-05-15", 1), ("2026-05-16", 1)]
    assert part.since == "2026-05-15T12:00:00+00:00"


def test_a_message_unlike_all_of_the_training_data_is_far(workspace: Workspace) -> None:
    odd = user("What will the weather be like tomorrow?", starts("book_car"))
    monitoring = found(workspace, [CAR, odd])

    assert (monitoring.total.compared, monitoring.total.far) == (2, 1)
    assert [entry.message for entry in monitoring.worst] == ["What will the weather be like tomorrow?"]
    assert monitoring.worst[0].similarity is not None
    assert monitoring.far_below is not None
    assert monitoring.worst[0].similarity < monitoring.far_below


def test_flows_without_an_example_are_named_and_new_ones_told_apart(workspace: Workspace) -> None:
    monitoring = found(workspace, [CAR, user("a room", starts("book_hotel")), user("a ship", starts("book_ship"))])

    assert monitoring.never_trained == {"book_hotel": 1, "book_ship": 1}
    assert any(note.endswith("book_ship.") for note in monitoring.notes)
    assert monitoring.total.flow_drift == pytest.approx(2 / 3, abs=1e-4)


def test_times_are_the_median_and_the_95th_percentile(workspace: Workspace) -> None:
    turns = [
        user("a car", starts("book_car"), **recorded("start flow book_car", starts("book_car"), ms=ms))
        for ms in range(1, 101)
    ]
    total = found(workspace, [*turns, CAR, bot("Where to?", ms=300)]).total

    assert total.llm_ms is not None
    assert (total.llm_ms.count, total.llm_ms.p50, total.llm_ms.p95) == (100, 50, 95)
    assert total.turn_ms is not None
    assert total.turn_ms.p50 == 300
    assert total.recorded == 100


def test_the_worst_come_first_and_what_is_alike_once(workspace: Workspace) -> None:
    asked_back = user("Make it Sion instead", {"command": "clarify", "options": []})
    again = user("my suitcase was LOST, call 0170 7654321", CANNOT_HANDLE)
    known = user("Book a car", CANNOT_HANDLE, **recorded("start flow x", starts("x")))
    worst = found(workspace, [asked_back, LOST], [again, known, CAR]).worst

    assert [(entry.message, entry.count) for entry in worst] == [
        ("My suitcase was lost, call PHONE_1", 2),
        ("Book a car", 1),
        ("Make it Sion instead", 1),
    ]
    assert [len(found(workspace, [asked_back, LOST], worst=count).worst) for count in (0, 1)] == [0, 1]


def test_of_the_same_kind_what_comes_more_often_is_worse(workspace: Workspace) -> None:
    rare, often = user("Where is my dog?", CANNOT_HANDLE), user("Who won the match?", CANNOT_HANDLE)
    worst = found(workspace, [rare, often, often]).worst
    assert [entry.message for entry in worst] == [often["text"], rare["text"]]


def test_what_is_masked_in_a_message_is_masked_in_the_answer_to_it(workspace: Workspace, tmp_path: Path) -> None:
    said = user("Call 0170 1234567", CANNOT_HANDLE, **recorded("set slot phone +49 170 1234567"))
    (worst,) = found(workspace, [bot("Call 0170 7654321?"), said], drafts=tmp_path / "drafts").worst
    assert (worst.message, worst.answer) == ("Call PHONE_2", "set slot phone PHONE_2")
    written = b"".join([*contents(workspace.root / MONITORING).values(), *contents(tmp_path / "drafts").values()])
    assert b"PHONE_2" in written
    assert not any(number in written for number in (b"1234567", b"7654321"))


def test_drafts_are_e2e_tests_of_the_conversation_up_to_the_message(workspace: Workspace, tmp_path: Path) -> None:
    before = [
        user("I am anna@example.com", starts("book_car")),
        bot("Hello anna@example.com."),
        bot("Where to?", "utter_ask_city"),
    ]
    summary = run(workspace, [*before, LOST, bot("Sorry?"), CAR], drafts=tmp_path / "drafts" / "may", worst=1)

    (path,) = (tmp_path / "drafts" / "may").iterdir()
    text = path.read_text(encoding="utf-8")
    assert path.name == "001_unparsed.yml"
    assert summary.drafts == 1
    assert "no command could be read" in text
    assert "anna" not in text
    assert YAML(typ="safe").load(text)["test_cases"] == [
        {
            "test_case": "001 unparsed",
            "steps": [
                {"user": "I am EMAIL_1"},
                {"bot": "Hello EMAIL_1."},
                {"utter": "utter_ask_city"},
                {"user": "My suitcase was lost, call PHONE_1"},
            ],
        }
    ]


def test_nothing_that_a_user_writes_breaks_a_draft_or_a_page(workspace: Workspace, tmp_path: Path) -> None:
    message = "# no: [comment]\n- |x| ${HOME} <b>\x07 'quoted' \"twice\"\ntest_cases: {}\u2028end"
    found(workspace, [user(message, CANNOT_HANDLE, **recorded(message))], drafts=tmp_path / "drafts")

    (path,) = (tmp_path / "drafts").iterdir()
    assert YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["test_cases"][0]["steps"] == [
        {"user": message}
    ]
    page = (workspace.folder(MONITORING) / "monitoring.md").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert "\\| x" not in page


def test_drafts_are_never_replaced(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="not empty"):
        run(workspace, [LOST], drafts=tmp_path)
    assert contents(tmp_path) == before


def test_the_metrics_are_read_by_prometheus_own_parser(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "textfile" / "rasa_ft.prom"
    late = user("a car", CANNOT_HANDLE, at=NOON + DAY)
    run(workspace, [CAR, bot("Where to?", ms=300), LOST, late], metrics=path)

    families = {family.name: family for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert all(family.type == "gauge" and family.documentation for family in families.values())
    assert samples["rasa_ft_monitor_messages", "all"] == 3
    assert samples["rasa_ft_monitor_messages", "last_day"] == 1
    assert samples["rasa_ft_monitor_cannot_handle_ratio", "all"] == pytest.approx(2 / 3)
    for quantile in ("0.5", "0.95"):
        assert samples["rasa_ft_monitor_turn_seconds", quantile, "all"] == pytest.approx(0.3)
    assert samples["rasa_ft_monitor_flow_starts", "all", "book_car"] == 1
    assert samples[("rasa_ft_monitor_last_day_timestamp_seconds",)] == NOON + DAY / 2
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_same_conversations_give_the_same_bytes_and_replace_the_old(workspace: Workspace) -> None:
    run(workspace, [CAR, LOST])
    first = contents(workspace.folder(MONITORING))
    run(workspace, [CAR])
    other = contents(workspace.folder(MONITORING))
    run(workspace, [CAR, LOST])

    assert contents(workspace.folder(MONITORING)) == first != other


def test_without_messages_there_are_notes_and_no_shares(workspace: Workspace, tmp_path: Path) -> None:
    summary = run(workspace, metrics=tmp_path / "m.prom")
    assert summary.cannot_handle == "-"
    assert "no message" in summary.notes[0]
    assert "last_day" not in (tmp_path / "m.prom").read_text()


def test_what_cannot_work_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as wrong:
        options_of(since="yesterday", until="2026-13-01", worst=-1, regions=["XX"])
    assert len(wrong.value.problems) == 4
    with pytest.raises(ConfigError, match="before"):
        options_of(since="2026-05-15", until="2026-05-15")


def test_without_training_data_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="rasa-ft dataset"):
        run(Workspace(tmp_path), [CAR])
    with pytest.raises(WorkspaceError, match="rasa-ft monitor"):
        read_monitoring(tmp_path)


def test_the_command_reads_a_file_and_shows_the_figures(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export.json").write_text(json.dumps({"sender_id": "a", "events": [CAR, LOST]}))
    argv = ["monitor", "--project", str(tmp_path), "--conversations", "export.json", "--json", "figures.json"]

    assert main([*argv, "--drafts", "drafts", "--prometheus", "m.prom", "--since", "2026-05-14"]) == 0

    shown = capsys.readouterr().out
    assert "1 (50.0%)" in shown
    assert f"Report: {tmp_path / 'output' / 'report.html'}" in shown
    copied = Monitoring.model_validate_json((tmp_path / "figures.json").read_bytes())
    assert copied == read_monitoring(workspace.root)
    assert (tmp_path / "drafts" / "001_unparsed.yml").is_file()
    assert (tmp_path / "m.prom").is_file()


def test_one_source_is_needed_and_a_tracker_store_needs_rasa(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="either"):
        api.monitor(workspace.root)
    monkeypatch.setattr("rasa_ft_ext.api.assistant.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as missing:
        api.monitor(workspace.root, endpoints="endpoints.yml")
    assert isinstance(missing.value, RasaFtError)
