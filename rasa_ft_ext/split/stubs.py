"""Which stubs stand in for the custom actions of which test, and which tests need a real action server.

Rasa's rules, as its test runner applies them: a stub named `action` serves all tests of its file, a stub named
`test::action` the tests of that name in every file, and wins. As soon as a run has any stub, Rasa asks no action
server any more: a custom action without a stub is an error. A test without stubs therefore cannot run together with
stubbed ones, unless it calls no custom action at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, Conversation, TestFile

_SEPARATOR = "::"

# What Rasa 3.10 to 3.21 does itself. A name that is missing here costs a folder, not a test.
_BUILT_IN = frozenset(
    (
        "action_agent_request_user_input",
        "action_back",
        "action_cancel_flow",
        "action_cancel_interrupted_flows",
        "action_clarify_flows",
        "action_clean_stack",
        "action_continue_interrupted_flow",
        "action_correct_flow_slot",
        "action_deactivate_loop",
        "action_default_ask_affirmation",
        "action_default_ask_rephrase",
        "action_default_capabilities",
        "action_default_fallback",
        "action_extract_slots",
        "action_handoff_metric",
        "action_hangup",
        "action_listen",
        "action_repeat_bot_messages",
        "action_reset_routing",
        "action_restart",
        "action_revert_fallback_events",
        "action_run_slot_rejections",
        "action_send_text",
        "action_send_text_update",
        "action_session_start",
        "action_trigger_chitchat",
        "action_trigger_search",
        "action_two_stage_fallback",
        "action_unlikely_intent",
    )
)


@dataclass(frozen=True)
class Stubs:
    """The stubs of one file's tests: those for all of them, and those for tests of one name (see `key`)."""

    for_file: dict[str, Any] = field(default_factory=dict)
    for_test: dict[str, dict[str, Any]] = field(default_factory=dict)
    own: bool = False

    def of(self, test: str) -> dict[str, Any]:
        """Action by action, what a test of this name gets."""
        return self.for_file | self.for_test.get(key(test), {})

    def serve(self, test: str) -> bool:
        """Whether Rasa runs a test of this name with stubs: any in its file will do."""
        return self.own or bool(self.for_test.get(key(test)))


def key(test: str) -> str:
    """The name of a test as it stands in the name of a stub."""
    return test.replace(" ", "_")


def resolve(files: Sequence[TestFile]) -> dict[str, Stubs]:
    """The stubs of every file, by the file's name: its own, then what other files have for tests of the same name."""
    everywhere: dict[str, dict[str, Any]] = {}
    for source in files:
        for test, stubs in _for_tests(source).items():
            everywhere.setdefault(test, {}).update(stubs)
    found: dict[str, Stubs] = {}
    for source in files:
        own = _for_tests(source)
        found[source.file] = Stubs(
            for_file={name: stub for name, stub in source.stub_custom_actions.items() if _SEPARATOR not in name},
            for_test={test: stubs | own.get(test, {}) for test, stubs in everywhere.items()},
            own=bool(source.stub_custom_actions),
        )
    return found


def _for_tests(source: TestFile) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, stub in source.stub_custom_actions.items():
        test, separator, action = name.rpartition(_SEPARATOR)
        if separator:
            found.setdefault(test, {})[action] = stub
    return found


def must_part(files: Iterable[AnnotatedFile], stubs: dict[str, Stubs], tests: set[str]) -> bool:
    """Whether some of these tests (by id) are stubbed while others may call the action server.

    The files are gone through twice, if there are stubs at all.
    """
    if not any(of_file.own or of_file.for_test for of_file in stubs.values()):
        return False
    done, replaced = set[str](), set[str]()
    stubbed = False
    for conversation, of_file in _chosen(files, stubs, tests):
        if of_file.serve(conversation.name):
            own = of_file.of(conversation.name)
            done |= _actions(conversation) - own.keys()
            replaced |= own.keys()
            stubbed = True
    if not stubbed:
        return False
    # What a stubbed test did without a stub, it did without a custom action; what has a stub is one, whatever its name.
    built_in = (_BUILT_IN | done) - replaced
    return any(
        not conversation.events or _actions(conversation) - built_in
        for conversation, of_file in _chosen(files, stubs, tests)
        if not of_file.serve(conversation.name)
    )


def _chosen(
    files: Iterable[AnnotatedFile], stubs: dict[str, Stubs], tests: set[str]
) -> Iterator[tuple[Conversation, Stubs]]:
    for file in files:
        for conversation in file.conversations:
            if conversation.id in tests:
                yield conversation, stubs[file.source.file]


def _actions(conversation: Conversation) -> set[str]:
    """The actions that a conversation saw, responses apart."""
    names = {str(event.get("name")) for event in conversation.events if event.get("event") == "action"}
    return {name for name in names if name != "None" and not name.startswith("utter_")}
