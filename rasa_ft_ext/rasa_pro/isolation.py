"""What Rasa shares between the conversations of one process, kept apart while an assistant is open.

Four things (seen in 3.14 to 3.21) would let one test change another's outcome:

- The frames that ask for validated slots gather in a mutable default argument of
  `create_validate_frames_from_slot_set_events`: every later conversation of the process gets those of the earlier.
- The stubs of custom actions, and which test is running, stand in one dictionary of the action endpoint.
- A sender id is the test's name and a time, so two tests of one name can meet.
- A response with several variations is picked with the process's random numbers, and later prompts show it.

All of them are put right from outside, for as long as `isolated` lasts, and as they were afterwards.
"""

from __future__ import annotations

import copy
import functools
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasa.core.processor
import rasa.dialogue_understanding.processor.command_processor as command_processor
from rasa.e2e_test.constants import KEY_STUB_CUSTOM_ACTIONS
from rasa.e2e_test.e2e_test_runner import E2ETestRunner
from rasa.utils.endpoints import EndpointConfig

from rasa_ft_ext.rasa_pro.run import current

_FRAMES = "create_validate_frames_from_slot_set_events"
_VARIATION = "_random_response_for"


class SettingsOfCurrentRun(dict[str, Any]):
    """The action endpoint's settings; stubs, and what is written while a test runs, are those of that test.

    Stubs are given as copies: Rasa takes the buttons and the response's name out of a stub that it uses.
    """

    def get(self, key: str, default: Any = None) -> Any:
        run = current()
        if run is None:
            return super().get(key, default)
        if key == KEY_STUB_CUSTOM_ACTIONS:
            return copy.deepcopy(run.stubs) or default
        return run.settings.get(key, super().get(key, default))

    def __setitem__(self, key: str, value: Any) -> None:
        run = current()
        if run is None:
            super().__setitem__(key, value)
        else:
            run.settings[key] = value


@contextmanager
def stubs_apart(endpoints: Any, stubbed: bool) -> Iterator[None]:
    """Give every test its own stubs in the settings of the action endpoint, which is made if there is none.

    While the block lasts (Rasa loads the assistant in it), `stubbed` tells Rasa that custom actions are stubbed.
    """
    if endpoints.action is None:
        endpoints.action = EndpointConfig()
    settings = SettingsOfCurrentRun(endpoints.action.kwargs)
    endpoints.action.kwargs = settings
    if stubbed:
        settings[KEY_STUB_CUSTOM_ACTIONS] = {"": None}
    try:
        yield
    finally:
        settings.pop(KEY_STUB_CUSTOM_ACTIONS, None)


@contextmanager
def isolated(runner: E2ETestRunner, on_cleaned: Callable[[list[Any]], None]) -> Iterator[None]:
    """Keep conversations apart; tell `on_cleaned` which commands of a turn the command processor leaves over."""
    undo: list[Callable[[], None]] = []
    _replace(undo, rasa.core.processor, _FRAMES, _with_fresh_frames)
    _replace(undo, command_processor, "clean_up_commands", functools.partial(_reporting, on_cleaned))
    runner.generate_sender_id = _own_sender_id(E2ETestRunner.generate_sender_id)
    undo.append(lambda: delattr(runner, "generate_sender_id"))
    responses = runner.agent.nlg
    if hasattr(responses, _VARIATION):
        setattr(responses, _VARIATION, _same_variation(getattr(responses, _VARIATION)))
        undo.append(lambda: delattr(responses, _VARIATION))
    try:
        yield
    finally:
        for action in reversed(undo):
            action()


def _replace(undo: list[Callable[[], None]], module: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    original = getattr(module, name, None)
    if original is None:
        return
    setattr(module, name, wrap(original))
    undo.append(lambda: setattr(module, name, original))


def _with_fresh_frames(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(tracker: Any, events: Any, validate_frames: Any = None, should_break: bool = False) -> Any:
        frames = [] if validate_frames is None else validate_frames
        return original(tracker, events, frames, should_break)

    return wrapper


def _reporting(on_cleaned: Callable[[list[Any]], None], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        cleaned = original(*args, **kwargs)
        on_cleaned(cleaned)
        return cleaned

    return wrapper


def _same_variation(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let chance be the same whenever a conversation comes to the same response at the same turn."""

    def wrapper(utter_action: str, *args: Any, **kwargs: Any) -> Any:
        run = current()
        if run is None:
            return original(utter_action, *args, **kwargs)
        state = np.random.get_state()
        np.random.seed(zlib.crc32(f"{run.name}/{len(run.turns)}/{utter_action}".encode()))
        try:
            return original(utter_action, *args, **kwargs)
        finally:
            np.random.set_state(state)

    return wrapper


def _own_sender_id(original: Callable[[str], str]) -> Callable[[str], str]:
    def wrapper(test_case_name: str) -> str:
        run = current()
        return run.sender_id if run is not None else original(test_case_name)

    return wrapper
