"""Every test gets its own stubs, and tests that cannot run with stubs stand apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext.conversation import TestFile
from rasa_ft_ext.split.stubs import must_part, resolve
from rasa_ft_ext.split.suite import SuiteWriter
from tests.split.builders import annotated, conversation
from tests.split.reading import assert_same, original, seen, write_all

STUB = "{events: [], responses: [{text: %s}]}"


def stubbed(answer: str, *, test: str = "t", prefix: str = "") -> str:
    return f"""\
        stub_custom_actions:
          {prefix}action_x: {STUB % answer}
        test_cases: [{{test_case: {test}, steps: [{{user: x}}]}}]
        """


def test_stubs_of_files_with_one_name_stay_apart(rasa: None, tmp_path: Path) -> None:
    texts = {
        "a/booking.yml": stubbed("a", test="t1"),
        "b/booking.yml": stubbed("b", test="t2"),
        "c/booking.yml": stubbed("a", test="t3"),
        "d/booking__2.yml": stubbed("d", test="t4"),
    }
    source = original(tmp_path / "in", texts)
    writer, folders = write_all(source, tmp_path / "out")

    assert_same(source, writer, folders, ["action_x"])
    assert writer.renamed == {"b/booking.yml::t2": "b/booking__3.yml::t2"}


def test_stubs_of_tests_with_one_name_stay_apart(rasa: None, tmp_path: Path) -> None:
    texts = {
        "a.yml": stubbed("a", test="my test", prefix="my_test::"),
        "b.yml": stubbed("b", test="my test", prefix="my_test::"),
        "c.yml": stubbed("a", test="my test", prefix="my_test::"),
        "d.yml": stubbed("d", test="my test 2"),
    }
    source = original(tmp_path / "in", texts)
    writer, folders = write_all(source, tmp_path / "out")

    assert_same(source, writer, folders, ["action_x"])
    assert writer.renamed == {"b.yml::my test": "b.yml::my test 3"}


def test_a_stub_for_a_test_serves_its_namesakes_in_other_files(rasa: None, tmp_path: Path) -> None:
    source = original(tmp_path / "in", {"a.yml": stubbed("a"), "b.yml": stubbed("b", prefix="t::")})
    writer, folders = write_all(source, tmp_path / "out")
    views = seen(folders[0], ["action_x"])

    # In the original suite, the stub `t::action_x` of b.yml is for every test of that name, a.yml's included.
    assert writer.renamed == {}
    assert {name: view["stubs"]["action_x"]["responses"] for name, view in views.items()} == {
        "a.yml::t": [{"text": "b"}],
        "b.yml::t": [{"text": "b"}],
    }


def test_a_stub_that_stands_in_another_file_is_taken_along(rasa: None, tmp_path: Path) -> None:
    texts = {
        "a.yml": stubbed("for_b", test="other", prefix="t::"),
        "b.yml": "test_cases: [{test_case: t, steps: [{user: x}]}]",
    }
    source = original(tmp_path / "in", texts, {"b.yml": ["action_x"]})
    writer = SuiteWriter(source.files)

    assert writer.write(tmp_path / "out", "train", {"b.yml::t"}) == ["train"]
    assert seen(tmp_path / "out/train", ["action_x"])["b.yml::t"]["stubs"]["action_x"]["responses"] == [
        {"text": "for_b"}
    ]


PLAIN = "test_cases: [{test_case: plain, steps: [{user: x}]}]"


def test_rasa_refuses_an_unstubbed_action_as_soon_as_there_are_stubs(rasa: None) -> None:
    from rasa.core.actions.action import RemoteAction
    from rasa.shared.exceptions import RasaException
    from rasa.utils.endpoints import EndpointConfig

    endpoint = EndpointConfig(url="http://localhost:5055")
    RemoteAction("action_y", endpoint)
    endpoint.kwargs["stub_custom_actions"] = {"a.yml::action_x": object()}
    with pytest.raises(RasaException, match="action_y"):
        RemoteAction("action_y", endpoint)


def test_tests_that_call_the_action_server_stand_apart_from_stubbed_ones(rasa: None, tmp_path: Path) -> None:
    source = original(
        tmp_path / "in", {"a.yml": stubbed("a"), "b.yml": PLAIN}, {"a.yml": ["action_x"], "b.yml": ["action_y"]}
    )
    writer, folders = write_all(source, tmp_path / "out")

    assert [folder.name for folder in folders] == ["train", "train_with_stubs"]
    assert list(seen(tmp_path / "out/train")) == ["b.yml::plain"]
    assert list(seen(tmp_path / "out/train_with_stubs")) == ["a.yml::t"]
    assert_same(source, writer, folders, ["action_x"])


@pytest.mark.parametrize(
    ("stubbed_ran", "plain_ran", "parted"),
    [
        (["action_x"], [], False),
        (["action_x"], ["action_clean_stack", "utter_hello"], False),
        (["action_x"], ["action_y"], True),
        (["action_x"], ["action_x"], True),
        (["action_x", "action_new_in_rasa"], ["action_new_in_rasa"], False),
    ],
)
def test_only_custom_actions_part_tests(stubbed_ran: list[str], plain_ran: list[str], parted: bool) -> None:
    source = TestFile(file="a.yml", stub_custom_actions={"action_x": {"events": [], "responses": []}})
    files = annotated(
        [
            conversation("a.yml::t", actions=stubbed_ran),
            conversation("b.yml::t", actions=plain_ran or ["action_listen"]),
        ],
        [source],
    )
    stubs = resolve([file.source for file in files])

    assert must_part(files, stubs, {"a.yml::t", "b.yml::t"}) is parted
    assert not must_part(files, stubs, {"b.yml::t"})
    assert not must_part(files, stubs, {"a.yml::t"})


def test_an_overridden_default_action_is_a_custom_one() -> None:
    stubs: dict[str, dict[str, list[str]]] = {"action_session_start": {"events": [], "responses": []}}
    files = annotated(
        [conversation("a.yml::t"), conversation("b.yml::t", actions=["action_session_start"])],
        [TestFile(file="a.yml", stub_custom_actions=stubs)],
    )

    assert must_part(files, resolve([file.source for file in files]), {"a.yml::t", "b.yml::t"})


def test_a_test_of_which_nothing_is_known_may_call_the_action_server() -> None:
    files = annotated(
        [conversation("a.yml::t"), conversation("b.yml::t", actions=[])],
        [TestFile(file="a.yml", stub_custom_actions={"action_x": {}})],
    )

    assert must_part(files, resolve([file.source for file in files]), {"a.yml::t", "b.yml::t"})
