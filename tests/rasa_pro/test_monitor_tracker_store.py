"""`monitor` on real conversations: an assistant writes them into a SQL tracker store, and Rasa reads the drafts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import api
from rasa_ft_ext.errors import AssistantError, ConfigError, RasaFtError
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.monitoring import Monitoring, read_monitoring
from rasa_ft_ext.workspace import Workspace
from tests.monitor.trackers import trained_workspace
from tests.rasa_pro.projects import Project

ANSWERS = """
answers:
  - {user: A car please, commands: [StartFlow(search_rental_car)]}
  - {user: "Call 0170 1234567", text: I am a parrot}
  - {user: Start it, text: start flow no_such_flow}
  - {user: Nice weather, commands: [ChitChat()]}
  - {user: Do I need a visa?, commands: [SearchAndReply()]}
  - {user: A car or a hotel, commands: ["Clarify(search_hotel, search_rental_car)"]}
  - {user: Break, error: 400}
"""
CONVERSATIONS = {
    "anna": ["A car please", "/SetSlots(trip_destination=Bern)", "Call 0170 1234567", "Nice weather"],
    "bert": ["Do I need a visa?", "A car or a hotel", "Break"],
    "carl": ["Start it"],
}


@dataclasses.dataclass(frozen=True)
class Store:
    """A tracker store that was written to, and the endpoints file that names it."""

    endpoints: Path
    database: Path


@pytest.fixture(scope="module", params=[False, True], ids=["as it runs", "recording prompts"])
def store(
    request: pytest.FixtureRequest, example: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, bool]:
    folder = tmp_path_factory.mktemp("store")
    (folder / "answers.yml").write_text(ANSWERS, encoding="utf-8")
    found = Store(folder / "endpoints.yml", folder / "tracker.db")
    found.endpoints.write_text(f"tracker_store:\n  type: SQL\n  dialect: sqlite\n  db: {found.database}\n")
    with scripted_llm(folder / "answers.yml") as llm:
        project = dataclasses.replace(example, environment={**example.environment, "SCRIPTED_LLM_URL": llm.base_url})
        talk(project, found, recording=request.param)
    return found, request.param


def talk(project: Project, store: Store, *, recording: bool) -> None:
    """Let users talk to the assistant as it runs in production."""
    with project.entered(), project.at_home(), pytest.MonkeyPatch.context() as patch:
        from rasa.core.agent import load_agent
        from rasa.core.channels.channel import CollectingOutputChannel, UserMessage
        from rasa.core.config.configuration import Configuration
        from rasa.dialogue_understanding import utils
        from rasa.utils.endpoints import read_endpoint_config

        patch.setattr(utils, "record_commands_and_prompts", recording)
        endpoints = Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml")).endpoints
        Configuration.initialise_sub_agents(None)
        endpoints.tracker_store = read_endpoint_config(str(store.endpoints), "tracker_store")

        async def run() -> None:
            agent = await load_agent(model_path="models", endpoints=endpoints)
            for sender, messages in CONVERSATIONS.items():
                for text in messages:
                    await agent.handle_message(UserMessage(text, CollectingOutputChannel(), sender_id=sender))

        asyncio.run(run())
        endpoints.tracker_store = None


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return trained_workspace(tmp_path / "output")


def events_of(store: Store) -> dict[str, list[dict[str, object]]]:
    with sqlite3.connect(store.database) as database:
        rows = database.execute("select sender_id, data from events order by id").fetchall()
    found: dict[str, list[dict[str, object]]] = {}
    for sender, data in rows:
        found.setdefault(sender, []).append(json.loads(data))
    return found


def test_what_happened_is_counted(store: tuple[Store, bool], workspace: Workspace) -> None:
    place, recording = store
    api.monitor(workspace.root, endpoints=place.endpoints)
    total = read_monitoring(workspace.root).total

    assert (total.conversations, total.messages, total.asked, total.failed_calls, total.answers) == (3, 8, 7, 1, 6)
    assert (total.unparsed, total.cannot_handle) == (2, 2)
    assert (total.chitchat, total.knowledge, total.clarifications, total.untrained_flows) == (1, 1, 1, 1)
    assert total.flows == {"search_rental_car": 1}
    assert total.recorded == (6 if recording else 0)
    assert (total.llm_ms is not None) == recording
    assert total.turn_ms is not None
    assert total.turn_ms.count == 7


def test_exported_conversations_say_the_same_as_the_store(store: tuple[Store, bool], workspace: Workspace) -> None:
    from rasa.shared.core.trackers import DialogueStateTracker, EventVerbosity

    place, _ = store
    api.monitor(workspace.root, endpoints=place.endpoints)
    read: list[Monitoring] = [read_monitoring(workspace.root)]
    folder = workspace.root.parent / "exported"
    folder.mkdir()
    for sender, events in events_of(place).items():
        tracker = DialogueStateTracker.from_dict(sender, events)
        (folder / f"{sender}.json").write_text(json.dumps(tracker.current_state(EventVerbosity.ALL), indent=1))
    api.monitor(workspace.root, conversations=folder)
    read.append(read_monitoring(workspace.root))

    assert read[0] == read[1]


def test_rasa_reads_the_drafts_and_finds_no_phone_number(store: tuple[Store, bool], workspace: Workspace) -> None:
    from rasa_ft_ext.rasa_pro.suite import read_suite

    place, _ = store
    drafts = workspace.root.parent / "drafts"
    summary = api.monitor(workspace.root, endpoints=place.endpoints, drafts=drafts)
    suite = read_suite(drafts)

    assert len(suite.tests) == summary.drafts == len(list(drafts.iterdir())) > 3
    steps = next(test.raw["steps"] for test in suite.tests if "PHONE_1" in str(test.raw))
    assert [step["user"] for step in steps if "user" in step] == [
        "A car please",
        "/SetSlots(trip_destination=Bern)",
        "Call PHONE_1",
    ]
    assert {"utter": "utter_ask_trip_destination"} in steps
    assert not any("1234567" in path.read_text(encoding="utf-8") for path in drafts.iterdir())


def test_reading_changes_nothing_in_the_store(store: tuple[Store, bool], workspace: Workspace) -> None:
    place, _ = store
    before = place.database.read_bytes()
    api.monitor(workspace.root, endpoints=place.endpoints, since="2026-01-01")
    api.monitor(workspace.root, endpoints=place.endpoints, until="2020-01-01")

    assert read_monitoring(workspace.root).total.messages == 0
    assert place.database.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("tracker_store:\n  type: SQL\n  dialect: sqlite\n  db: no_such.db\n", AssistantError, "no_such.db"),
        ("tracker_store:\n  type: SQL\n  dialect: nosuch\n  db: x\n", AssistantError, "nosuch"),
        ("tracker_store:\n  type: redis\n  url: localhost\n", ConfigError, "redis"),
        ("action_endpoint:\n  url: x\n", ConfigError, "no tracker store"),
        ("tracker_store: [", ConfigError, "cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read_is_named(
    text: str, kind: type[RasaFtError], says: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    endpoints = workspace.root.parent / "endpoints.yml"
    endpoints.write_text(text)
    with pytest.raises(kind, match=says):
        api.monitor(workspace.root, endpoints=endpoints)
    assert not Path("no_such.db").exists()
