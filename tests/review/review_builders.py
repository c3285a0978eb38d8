"""A booked car to be reviewed, and decisions on it in few words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import Conversation, RephrasedConversation
from rasa_ft_ext.local_http import LOCALHOST, listening
from rasa_ft_ext.review.decisions import Decision
from rasa_ft_ext.review_server.server import ReviewServer
from rasa_ft_ext.workspace import Workspace
from rasa_ft_ext.yaml import write_yaml
from tests.builders import annotated_file, conversation, rephrased, rephrased_workspace, rephrasing, said

CAR, HOTEL = "StartFlow(book_car)", "StartFlow(book_hotel)"
BASEL, ZURICH, BERN = "SetSlot(city, Basel)", "SetSlot(city, Zurich)", "SetSlot(city, Bern)"

BOOKING = conversation(said("book a car", CAR), said("to Basel", BASEL), said("thanks"), said("again to Basel", BASEL))
REPHRASED = rephrased(
    BOOKING,
    {
        0: [rephrasing("I need a car", CAR), rephrasing("a bed", HOTEL, passed=False)],
        1: [rephrasing("Basel", BASEL), rephrasing("to Zurich", ZURICH, differs=True)],
    },
)
MESSAGES = {turn: entry.message for turn, entry in enumerate(BOOKING.turns)}


def decision(turn: int, verdict: str, rephrasing: str | None = None, **more: Any) -> Decision:
    """A decision about the booking; `turn` is an index, from 0."""
    given = {"test": BOOKING.id, "turn": turn + 1, "message": MESSAGES[turn], "rephrasing": rephrasing}
    return Decision.model_validate({**given, "decision": verdict, **more})


def prepared(
    root: Path,
    conversations: Sequence[Conversation] = (BOOKING,),
    found: Sequence[RephrasedConversation] = (REPHRASED,),
) -> Workspace:
    """An output folder in which `rephrase` is done."""
    return rephrased_workspace(root, [annotated_file(entry) for entry in conversations], *found)


def decided(root: Path, *decisions: Decision) -> Path:
    """Write the decisions of an output folder."""
    path = root / "review.yaml"
    write_yaml(path, {"decisions": [entry.model_dump(mode="json") for entry in decisions]})
    return path


def rows(workspace: Workspace, **only: Any) -> list[tuple[int, int, str, str]]:
    """The examples: variant, turn, message, completion; those alone that have these values."""
    return [
        (example.variant, example.turn, example.message, example.completion)
        for example in workspace.examples()
        if all(getattr(example, name) == value for name, value in only.items())
    ]


def asked(turn: int, verdict: str | None, rephrasing: str | None = None, **more: Any) -> Mapping[str, Any]:
    """What the page sends."""
    about = {"test": BOOKING.id, "turn": turn + 1, "message": MESSAGES[turn], "rephrasing": rephrasing}
    return {**about, "decision": verdict, **more}


@contextmanager
def served(output: Path, review: Path | None = None) -> Iterator[str]:
    """Serve the review in a thread of its own; gives the address."""
    server = ReviewServer(output, review)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        async with listening(server.app(), LOCALHOST, 0, "The review") as address:
            started.set_result((asyncio.get_running_loop(), stop, address))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(until_stopped(),), daemon=True)
    thread.start()
    loop, stop, address = started.result(10)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
