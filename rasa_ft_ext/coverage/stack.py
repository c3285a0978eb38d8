"""Which steps a conversation went through, read from the updates of the dialogue stack among its events.

Rasa's executor writes the stack down each time that it comes to a step, as a JSON Patch (RFC 6902) to what it was
before. So every step shows, also one that says nothing (`set_slots`, or a slot that is known already), and what merely
happens to look like one (the slots that are emptied when a flow is cancelled) does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext.errors import WorkspaceError

_JUMP = "NEXT:"  # before the id of the step that a frame was told to go on with: after a correction, a cancellation
_RESETS = {"session_started", "restart"}


@dataclass(frozen=True)
class Move:
    """A frame of the stack came to the step `after` of a flow; `before` is None where it was put there."""

    flow: str
    before: str | None
    after: str


def moves(events: Iterable[Mapping[str, Any]]) -> Iterator[Move]:
    """All moves of a conversation, in order.

    Raises:
        WorkspaceError: an update does not fit the stack, as the events are not all there.
    """
    frames: list[dict[str, Any]] = []
    for event in events:
        if event.get("event") in _RESETS:
            frames = []
        elif event.get("event") == "stack":
            before = {frame.get("frame_id"): (frame.get("flow_id"), frame.get("step_id")) for frame in frames}
            _apply(frames, str(event.get("update")))
            yield from _moved(before, frames)


def _moved(before: Mapping[Any, tuple[Any, Any]], frames: Iterable[Mapping[str, Any]]) -> Iterator[Move]:
    for frame in frames:
        flow, step = frame.get("flow_id"), frame.get("step_id")
        old_flow, old = before.get(frame.get("frame_id"), (None, None))
        if flow is None or step is None or step.startswith(_JUMP) or (flow, step) == (old_flow, old):
            continue
        came_from = old if flow == old_flow and not str(old).startswith(_JUMP) else None
        yield Move(flow, came_from, step)


def _apply(frames: list[dict[str, Any]], update: str) -> None:
    try:
        for operation in json.loads(update):
            _apply_one(frames, operation)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WorkspaceError(
            f"An update of the dialogue stack does not fit what came before ({update[:200]}). The recorded events are "
            "not whole: run `rasa-ft annotate --force` again."
        ) from error


def _apply_one(document: Any, operation: Mapping[str, Any]) -> None:
    kind, path = operation["op"], _parts(operation["path"])
    if kind == "move":
        value = _take(document, _parts(operation["from"]))
        _put(document, path, value, replace=False)
    elif kind == "remove":
        _take(document, path)
    elif kind in ("add", "replace"):
        _put(document, path, operation["value"], replace=kind == "replace")
    else:
        raise ValueError(f"the operation {kind}")


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _within(document: Any, parts: Iterable[str]) -> Any:
    for part in parts:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _take(document: Any, path: list[str]) -> Any:
    holder = _within(document, path[:-1])
    return holder.pop(int(path[-1]) if isinstance(holder, list) else path[-1])


def _put(document: Any, path: list[str], value: Any, *, replace: bool) -> None:
    if not path:  # the whole stack
        document[:] = value
        return
    holder, last = _within(document, path[:-1]), path[-1]
    if not isinstance(holder, list):
        holder[last] = value
    elif replace:
        holder[int(last)] = value
    else:
        holder.insert(len(holder) if last == "-" else int(last), value)
