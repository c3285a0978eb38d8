"""What Rasa works out anew at every turn though it never changes, remembered while an assistant is open.

Rasa is made for one conversation after the other; a run of the recipe goes through thousands of turns in one process.
None of this changes a result:

- Conditions in flows (`if: slots.x`) are parsed with a parser whose tables are built again for each condition.
- For every event that is read from the tracker store all subclasses of `Event` are looked up.
- A tracker's copy copies what the domain says of every slot, and events that nobody alters, those of the stack and of
  flows. Of a slot, only the value needs copying; of other events and of the stack's frames, which hold next to nothing
  but plain values, only what is not plain.
- A tracker is put together again from its events many times a turn, and each time all patches of its stack are applied.
  The stack that a tracker holds is never altered in place (it hands out copies), so the outcome can be kept.
- Python's garbage collector looks through the loaded assistant again and again; what is loaded is set aside.
"""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pypred.parser
import pypred.predicate
import rasa.shared.utils.common
from rasa.dialogue_understanding.stack.dialogue_stack import DialogueStack
from rasa.dialogue_understanding.stack.frames import DialogueStackFrame
from rasa.shared.core.constants import FLOW_HASHES_SLOT
from rasa.shared.core.events import (
    DialogueStackUpdated,
    Event,
    FlowCancelled,
    FlowCompleted,
    FlowInterrupted,
    FlowResumed,
    FlowStarted,
    SlotSet,
)
from rasa.shared.core.slots import Slot

_UNALTERED = (DialogueStackUpdated, FlowStarted, FlowCompleted, FlowInterrupted, FlowResumed, FlowCancelled)
_PLAIN = {str, int, float, bool, type(None)}
_STACKS = 20_000  # about 2 kB each; a conversation has some 50 a turn
_GC_THRESHOLDS = (50_000, 20, 100)


@contextmanager
def remembering() -> Iterator[None]:
    """Remember, until the block ends."""
    with ExitStack() as stack:
        parser = cache(pypred.parser.get_parser)
        stack.enter_context(_replaced(pypred.predicate, "get_parser", _copies_of(parser)))
        subclasses = _event_subclasses(rasa.shared.utils.common.all_subclasses)
        stack.enter_context(_replaced(rasa.shared.utils.common, "all_subclasses", subclasses))
        for kind in _UNALTERED:
            stack.enter_context(_replaced(kind, "__deepcopy__", lambda self, memo=None: self))
        patched = _kept_outcomes(DialogueStack.update_from_patch)
        stack.enter_context(_replaced(DialogueStack, "update_from_patch", patched))
        for kind in (Event, DialogueStackFrame):
            stack.enter_context(_replaced(kind, "__deepcopy__", _copy_of_values))
        stack.enter_context(_replaced(SlotSet, "__deepcopy__", _copy_of_slot_set))
        stack.enter_context(_replaced(Slot, "__deepcopy__", _copy_of_slot))
        stack.enter_context(_rare_collections())
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = name in vars(owner)
    original = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


def _copies_of(first: Callable[[], Any]) -> Callable[..., Any]:
    """What gives a parser with the tables of the first one and a state of its own."""

    def get_parser(lexer: Any = None, debug: int = 0) -> Any:
        parser = copy.copy(first())
        parser.errors = []
        if lexer:
            lexer.parser = parser
            parser.lexer = lexer
        return parser

    return get_parser


def _event_subclasses(original: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    found: dict[int, list[Any]] = {}

    def all_subclasses(kind: Any) -> list[Any]:
        if kind is not Event:
            return original(kind)
        count = len(Event.__subclasses__())  # a module that is imported later may bring more
        if count not in found:
            found[count] = original(kind)
        return found[count]

    return all_subclasses


def _kept_outcomes(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Applying a patch to a stack, with the latest outcomes kept by the stack's identity and the patch."""
    outcomes: OrderedDict[tuple[int, str], tuple[Any, Any]] = OrderedDict()

    def update_from_patch(self: Any, patch_dump: str) -> Any:
        key = (id(self) if self.frames else 0, patch_dump)
        if key in outcomes:
            outcomes.move_to_end(key)
            return outcomes[key][1]
        outcome = original(self, patch_dump)
        outcomes[key] = (self, outcome)  # the stack is kept as well, so that its id stays its own
        if len(outcomes) > _STACKS:
            outcomes.popitem(last=False)
        return outcome

    return update_from_patch


def _copy_of_values(original: Any, memo: dict[int, Any]) -> Any:
    duplicate = object.__new__(type(original))
    memo[id(original)] = duplicate
    duplicate.__dict__.update(
        {name: value if type(value) in _PLAIN else _copy(value, memo) for name, value in original.__dict__.items()}
    )
    return duplicate


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) is dict and all(type(entry) in _PLAIN for entry in value.values()):
        return dict(value)
    return copy.deepcopy(value, memo)


def _copy_of_slot_set(event: Any, memo: dict[int, Any]) -> Any:
    return event if type(event.value) in _PLAIN or event.key == FLOW_HASHES_SLOT else _copy_of_values(event, memo)


def _copy_of_slot(slot: Any, memo: dict[int, Any]) -> Any:
    duplicate = object.__new__(type(slot))
    duplicate.__dict__.update(slot.__dict__)
    if type(slot._value) not in _PLAIN:
        duplicate._value = copy.deepcopy(slot._value, memo)
    return duplicate


@contextmanager
def _rare_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
