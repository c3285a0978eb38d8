"""connect as a whole: which model it refuses, what it writes into which assistant, and what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.connect import stage
from rasa_ft_ext.connect.edits import Edits
from rasa_ft_ext.errors import ConfigError, ConnectError
from rasa_ft_ext.evaluation import EVALUATION_FILE, Thresholds, Verdict
from rasa_ft_ext.finetuned import TrainFacts, write_manifest
from rasa_ft_ext.project import Project, read_project
from rasa_ft_ext.prompts import template_id
from rasa_ft_ext.workspace import EVALUATION, SPLIT, Workspace
from tests.builders import contents
from tests.connect.connect_builders import (
    CONFIG,
    ENDPOINTS,
    INLINE,
    MODEL,
    NOBODY,
    PROBES,
    TEMPLATE,
    Server,
    evaluated,
    project,
    serving,
    settings,
    write_evaluation,
)

RED = ("validation: 12 % of the tests pass, 80 % are asked for.",)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project(tmp_path / "assistant")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return evaluated(tmp_path / "output")


def connect(
    root: Path, workspace: Workspace, base_url: str, *, force: bool = False, folder: Path | None = None, **changes: Any
) -> stage.ConnectSummary:
    return stage.connect(workspace, settings(base_url, **changes), stage.Place(root), model_folder=folder, force=force)


def refusal(root: Path, workspace: Workspace, base_url: str, **how: Any) -> str:
    """What is said when it is refused; nothing is written then."""
    before = contents(root)
    with pytest.raises(ConnectError) as refused:
        connect(root, workspace, base_url, **how)
    assert contents(root) == before
    return str(refused.value)


def config_of(root: Path) -> str:
    return (root / "config.yml").read_text(encoding="utf-8")


def test_a_model_that_was_not_evaluated_is_refused(root: Path, workspace: Workspace, server: Server) -> None:
    (workspace.folder(EVALUATION) / EVALUATION_FILE).unlink()
    assert "Run `rasa-ft evaluate` first" in refusal(root, workspace, server.base_url)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"verdict": Verdict(passed=False, problems=RED)}, f"The evaluation is red: {RED[0]}"),
        ({"verdict": Verdict(passed=False)}, "The evaluation is red."),
        ({"model": "other"}, "that of the model other, not of student-1"),
        ({"data_hash": "x"}, "made on other data"),
        ({"template_hash": "x"}, "with another prompt template"),
        ({"probes": ()}, "holds no prompts"),
    ],
)
def test_a_model_that_is_not_proven_is_refused(
    changes: dict[str, Any], told: str, root: Path, workspace: Workspace, server: Server
) -> None:
    write_evaluation(workspace, **changes)
    assert told in refusal(root, workspace, server.base_url)


def test_a_server_that_answers_otherwise_is_refused(root: Path, workspace: Workspace) -> None:
    with serving({**PROBES, "two": "set slot city Zurich"}) as other:
        text = refusal(root, workspace, other.base_url)
    assert (
        "answers 1 of 2 prompts otherwise, the first with 'set slot city Zurich' in place of 'set slot city Basel'"
        in (text)
    )


def test_a_model_folder_is_compared_with_what_was_evaluated(
    tmp_path: Path, root: Path, workspace: Workspace, server: Server
) -> None:
    folder = tmp_path / "finetuned"
    (folder / "merged").mkdir(parents=True)
    (folder / "merged" / "model.safetensors").write_bytes(b"weights")
    data = workspace.fingerprint(SPLIT)
    facts = TrainFacts(name="m", base_model="b", data_hash=data, train_rows=1, validation_rows=1)
    manifest = write_manifest(folder, facts)
    assert "does not say which model folder" in refusal(root, workspace, server.base_url, folder=folder)
    write_evaluation(workspace, model_hash="another")
    assert "another model than the one in" in refusal(root, workspace, server.base_url, folder=folder)
    assert "holds no finished training" in refusal(root, workspace, server.base_url, folder=tmp_path / "none")
    write_evaluation(workspace, model_hash=manifest.model_hash)
    (folder / "merged" / "model.safetensors").write_bytes(b"swapped")
    assert "model.safetensors" in refusal(root, workspace, server.base_url, folder=folder)
    (folder / "merged" / "model.safetensors").write_bytes(b"weights")
    write_manifest(folder, facts.model_copy(update={"data_hash": "x"}))
    assert "was trained on other data" in refusal(root, workspace, server.base_url, folder=folder)

    write_manifest(folder, facts)
    assert connect(root, workspace, server.base_url, folder=folder).changed


def test_all_that_speaks_against_it_is_told_at_once(root: Path, workspace: Workspace) -> None:
    write_evaluation(workspace, model="other", data_hash="x", verdict=Verdict(passed=False, problems=RED))
    text = refusal(root, workspace, NOBODY)
    for part in (
        RED[0],
        "other, not of",
        "other data",
        "Nobody answers for student-1 at http://127.0.0.1:9/v1",
        "--force",
    ):
        assert part in text


def test_with_force_it_is_done_and_the_file_says_so_until_the_model_is_proven(
    root: Path, workspace: Workspace, server: Server
) -> None:
    write_evaluation(workspace, verdict=Verdict(passed=False, problems=RED))

    summary = connect(root, workspace, server.base_url, force=True)

    comment = f"  # rasa-ft connect --force: The evaluation is red: {RED[0]}\n  - name: Compact"
    assert comment in config_of(root)
    assert summary.notes == (f"Connected all the same: The evaluation is red: {RED[0]}",)
    assert connect(root, workspace, server.base_url, force=True).changed == ()
    write_evaluation(workspace)
    assert connect(root, workspace, server.base_url).changed == ("config.yml",)
    assert "rasa-ft" not in config_of(root).replace("rasa_ft", "")


def test_the_same_twice_is_nothing_to_do(root: Path, workspace: Workspace, server: Server) -> None:
    assert connect(root, workspace, server.base_url).changed
    after = contents(root)
    summary = connect(root, workspace, server.base_url)
    assert (summary.changed, contents(root)) == ((), after)
    assert [step.split(" --")[0] for step in summary.next_steps] == [
        "rasa train",
        "rasa test e2e ../output/4_train_test_split/e2e_tests/validation",
        "rasa-ft doctor ../output",
    ]


def test_answers_get_the_room_that_they_were_evaluated_with(root: Path, workspace: Workspace, server: Server) -> None:
    write_evaluation(workspace, max_tokens=80)
    assert "evaluated with 80 tokens" in refusal(root, workspace, server.base_url, max_tokens=79)
    connect(root, workspace, server.base_url)
    assert [model["max_tokens"] for model in read_project(root).models] == [80]


def test_lower_thresholds_than_usual_are_told(root: Path, workspace: Workspace, server: Server) -> None:
    write_evaluation(workspace, thresholds=Thresholds(min_validation=0.1))
    assert "asked for 10 % of the validation tests and 95 %" in connect(root, workspace, server.base_url).notes[0]


def test_another_address_changes_that_alone(root: Path, workspace: Workspace, server: Server) -> None:
    connect(root, workspace, server.base_url)
    before = (root / "endpoints.yml").read_text()
    with serving() as moved:
        summary = connect(root, workspace, moved.base_url)
        assert summary.changed == ("endpoints.yml",)
        assert (root / "endpoints.yml").read_text() == before.replace(server.base_url, moved.base_url)
    stage.rollback(root)
    assert (root / "endpoints.yml").read_text() == before


def test_without_the_users_yes_nothing_is_written(root: Path, workspace: Workspace, server: Server) -> None:
    shown: list[stage.Proposal] = []
    before = contents(root)

    def confirm(proposal: stage.Proposal) -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # in one, Ctrl-C would not end the question
        shown.append(proposal)
        return False

    summary = stage.connect(workspace, settings(server.base_url), stage.Place(root), confirm=confirm)
    assert summary == stage.ConnectSummary(declined=True)
    assert contents(root) == before
    assert "+      model_group: student  # asked for every message" in shown[0].diff


@pytest.mark.parametrize(
    ("clock", "template", "config", "expected"),
    [
        (False, TEMPLATE, CONFIG, {"include_date_time": False}),
        (True, TEMPLATE, CONFIG, {}),
        (False, "no clock {{ user_message }}", CONFIG, {}),
        (
            True,
            TEMPLATE,
            CONFIG.replace("    llm:", "    include_date_time: false\n    llm:"),
            {"include_date_time": True},
        ),
    ],
)
def test_date_and_time_are_given_where_the_prompts_of_the_data_had_them(
    clock: bool, template: str, config: str, expected: dict[str, bool], tmp_path: Path, server: Server
) -> None:
    root = project(tmp_path / "assistant", config)
    connect(root, evaluated(tmp_path / "output", clock=clock, template=template), server.base_url)
    found = read_project(root).generator.settings
    assert {key: value for key, value in found.items() if key == "include_date_time"} == expected


def test_a_generator_that_has_the_template_keeps_its_file(tmp_path: Path, server: Server) -> None:
    root = project(tmp_path / "assistant", CONFIG.replace("    llm:", "    prompt_template: mine.jinja2\n    llm:"))
    (root / "mine.jinja2").write_bytes(TEMPLATE.replace("\n", "\r\n").encode())
    assert connect(root, evaluated(tmp_path / "output"), server.base_url).changed == ("config.yml", "endpoints.yml")


def test_no_template_of_someone_else_is_overwritten(root: Path, tmp_path: Path, server: Server) -> None:
    (root / "prompts").mkdir()
    taken = root / "prompts" / "rasa_ft_command.jinja2"
    taken.write_text("mine")
    second = root / "prompts" / f"rasa_ft_command_{template_id(TEMPLATE)}.jinja2"

    connect(root, evaluated(tmp_path / "output"), server.base_url)

    assert (taken.read_text(), second.read_text()) == ("mine", TEMPLATE)
    stage.rollback(root)
    second.write_text("mine as well")
    assert "is in the way" in refusal(root, evaluated(tmp_path / "again"), server.base_url)


def test_its_own_template_is_replaced_by_that_of_new_data(root: Path, tmp_path: Path, server: Server) -> None:
    connect(root, evaluated(tmp_path / "first"), server.base_url)
    summary = connect(root, evaluated(tmp_path / "second", template="new {{ user_message }}"), server.base_url)
    assert summary.changed == ("prompts/rasa_ft_command.jinja2",)
    summary = connect(root, evaluated(tmp_path / "third", template="newer {{ user_message }}"), server.base_url)
    assert summary.changed == ("prompts/rasa_ft_command.jinja2",)


GROUPED_SEARCH = "  - name: EnterpriseSearchPolicy\n    llm: {model_group: teacher}\n"
INLINE_SEARCH = "- name: EnterpriseSearchPolicy\n  embeddings: {provider: openai, model: e}\n"


@pytest.mark.parametrize(
    ("config", "style", "grouped"),
    [
        (CONFIG, None, True),
        (INLINE, None, False),
        (CONFIG, "llm", False),
        (INLINE, "model_group", True),
        (INLINE.replace("  llm:", "  llm: # no\n  x:"), None, True),
        (CONFIG + GROUPED_SEARCH, None, True),
        (INLINE + INLINE_SEARCH, None, False),
        (CONFIG.replace("llm:", "x:") + INLINE_SEARCH.replace("- n", "  - n").replace("\n  e", "\n    e"), None, False),
    ],
)
def test_the_model_is_named_as_the_assistant_does(
    config: str, style: str | None, grouped: bool, tmp_path: Path, server: Server
) -> None:
    root = project(tmp_path / "assistant", config)
    connect(root, evaluated(tmp_path / "output", generator=kind_of(root)), server.base_url, style=style)
    found = read_project(root)
    assert (found.generator.model_group is not None) is grouped
    assert [dict(model) for model in found.models] == [settings(server.base_url).llm()]


def kind_of(root: Path) -> str:
    return read_project(root).generator.kind


@pytest.mark.parametrize(
    ("config", "how", "told"),
    [
        (CONFIG + GROUPED_SEARCH, {"style": "llm"}, "these do it with `model_group`: EnterpriseSearchPolicy"),
        (INLINE + INLINE_SEARCH, {"style": "model_group"}, "these do it without `model_group`: EnterpriseSearchPolicy"),
        (INLINE + INLINE_SEARCH, {"fallback": True}, "move the models of EnterpriseSearchPolicy to model groups first"),
        (CONFIG, {"fallback": True, "style": "llm"}, "leave --style llm out"),
        (CONFIG.replace("llm:", "x:"), {"fallback": True}, "names none"),
        (INLINE, {"api_key_env": "MY_KEY"}, "HOSTED_VLLM_API_KEY"),
        (CONFIG + GROUPED_SEARCH + "    embeddings: {provider: openai}\n", {}, "Rasa refuses that"),
    ],
)
def test_what_rasa_would_refuse_is_refused_before(
    config: str, how: dict[str, Any], told: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "a-very-secret-key")
    root = project(tmp_path / "assistant", config)
    workspace = evaluated(tmp_path / "output", generator=kind_of(root))
    assert told in refusal(root, workspace, server.base_url, force=True, **how)


def test_a_group_of_that_name_is_left_alone(root: Path, workspace: Workspace, server: Server) -> None:
    (root / "endpoints.yml").write_text(ENDPOINTS.replace("id: teacher", "id: student"))
    connect(root, workspace, server.base_url)
    assert list(read_project(root).groups) == ["student", "student_2"]


def test_its_own_group_is_left_alone_once_another_component_uses_it(
    root: Path, workspace: Workspace, server: Server
) -> None:
    connect(root, workspace, server.base_url)
    (root / "config.yml").write_text(config_of(root) + GROUPED_SEARCH.replace("teacher", "student"))
    connect(root, workspace, server.base_url, max_tokens=300)
    groups = read_project(root).groups
    assert [groups[name]["models"][0]["max_tokens"] for name in ("student", "student_2")] == [256, 300]


def teachers(found: Project) -> list[Any]:
    return [(model["model"], model.get("order")) for model in found.models]


def test_the_teacher_stays_behind_the_model_whatever_was_connected_before(
    root: Path, workspace: Workspace, server: Server
) -> None:
    both = [(MODEL, 1), ("gpt-5.1-2025-11-13", 2)]
    connect(root, workspace, server.base_url, fallback=True)
    first = (root / "endpoints.yml").read_bytes()
    assert teachers(read_project(root)) == both
    connect(root, workspace, server.base_url)
    assert teachers(read_project(root)) == [(MODEL, None)]
    connect(root, workspace, server.base_url, fallback=True)
    assert teachers(read_project(root)) == both
    assert (root / "endpoints.yml").read_bytes() == first
    connect(root, workspace, server.base_url, style="llm")
    assert read_project(root).generator.model_group is None
    connect(root, workspace, server.base_url, fallback=True)
    assert teachers(read_project(root)) == both
    assert connect(root, workspace, server.base_url, fallback=True).changed == ()


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        ("rasa", "does not send it the licence"),
        ("openai\n        use_chat_completions_endpoint: false", "both or neither"),
    ],
)
def test_a_teacher_that_cannot_stand_behind_a_router_is_refused(
    teacher: str, told: str, root: Path, workspace: Workspace, server: Server
) -> None:
    (root / "endpoints.yml").write_text(ENDPOINTS.replace("provider: openai", f"provider: {teacher}"))
    assert told in refusal(root, workspace, server.base_url, fallback=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  - name: Compact", "  - &g\n    name: Compact"),
        ("    llm:\n", "    llm: &l\n"),
        ("pipeline:\n", "pipeline: &p\n"),
        ("    flow_retrieval:\n", "    <<: {timezone: UTC}\n    flow_retrieval:\n"),
    ],
)
def test_what_cannot_be_edited_safely_is_left_to_the_user(
    old: str, new: str, tmp_path: Path, workspace: Workspace, server: Server
) -> None:
    root = project(tmp_path / "assistant", CONFIG.replace(old, new))
    text = refusal(root, workspace, server.base_url)
    assert "cannot be edited safely" in text
    assert "Write this by hand" in text
    for line in ("model_group: student", "prompt_template: prompts/rasa_ft_command.jinja2", f"model: {MODEL}"):
        assert line in text


def test_an_outcome_that_says_something_else_is_never_written(
    root: Path, workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Edits.result
    for wrong, told in ((b"active: true", "would say something else"), (b"active: [", "would be no YAML")):
        monkeypatch.setattr(Edits, "result", lambda edits, wrong=wrong: result(edits).replace(b"active: false", wrong))
        assert told in refusal(root, workspace, server.base_url)


def test_a_generator_of_another_kind_than_that_of_the_data_is_refused(
    root: Path, tmp_path: Path, server: Server
) -> None:
    workspace = evaluated(tmp_path / "other", generator="SearchReadyLLMCommandGenerator")
    assert "those of a SearchReadyLLMCommandGenerator" in refusal(root, workspace, server.base_url)


def test_the_key_is_named_and_never_written(
    root: Path, workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refusal(root, workspace, server.base_url, api_key_env="MY_KEY")
    assert "MY_KEY" in text
    monkeypatch.setenv("MY_KEY", "a-very-secret-key")

    connect(root, workspace, server.base_url, api_key_env="MY_KEY")

    assert server.keys[-1] == "Bearer a-very-secret-key"
    assert read_project(root).models[0]["api_key"] == "${MY_KEY}"
    assert all(b"a-very-secret-key" not in content for content in contents(root).values())


def test_settings_that_cannot_work_are_all_named(root: Path, workspace: Workspace) -> None:
    wrong = {"model": " ", "api_key_env": "sk-123", "timeout": 0, "max_tokens": 0, "style": "x"}
    with pytest.raises(ConfigError) as refused:
        connect(root, workspace, "localhost:8000", **wrong)
    assert len(refused.value.problems) == 6
    assert "sk-123" not in str(refused.value)
    with pytest.raises(ConfigError, match="holds a password"):
        connect(root, workspace, "http://me:passphrase@localhost:8000/v1")


def test_from_python_it_works_as_well(root: Path, workspace: Workspace, server: Server) -> None:
    summary = api.connect(workspace.root, model=MODEL, api_base=server.base_url, project=root, timeout=2.5)
    assert summary.changed
    assert json.loads(json.dumps(dict(read_project(root).models[0])))["timeout"] == 2.5
    assert api.rollback(project=root).removed == ("prompts/rasa_ft_command.jinja2",)
