"""Small trackers as Rasa 3.21 writes them, and an output folder with training data to compare them with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AssistantCard, Example
from rasa_ft_ext.workspace import DATASET, EXAMPLES, Workspace, write_jsonl
from tests.builders import annotated_workspace, commands

Event = dict[str, Any]

PLACES = ("Basel", "Bern", "Zurich", "Geneva", "Lausanne", "Lugano", "Chur", "Sion")
TRAINED = [
    *((f"I'd like to book a car in {place}", f"StartFlow(book_car)\nSetSlot(city, {place})") for place in PLACES),
    *((f"Please rent me a car in {place}", f"StartFlow(book_car)\nSetSlot(city, {place})") for place in PLACES),
    *((f"Make it {place} instead", f"SetSlot(city, {place})") for place in PLACES),
]
NOON = datetime(2026, 5, 14, 12, tzinfo=UTC).timestamp()
DAY = 24 * 60 * 60
CANNOT_HANDLE = {"command": "cannot handle", "reason": "cannot_handle_default"}
FAILED = {"command": "error", "error_type": "rasa_internal_error_default", "info": {}}


def starts(flow: str) -> Event:
    return {"command": "start flow", "flow": flow}


def user(text: str, *stored: Event, at: float = NOON, asked: bool = True, **data: Any) -> Event:
    """A message and the commands that Rasa stored; `asked` by the command generator's LLM."""
    parse_data: Event = {"text": text, "intent": {"name": None}, "entities": [], "commands": list(stored), **data}
    if asked:
        parse_data["flows_in_prompt"] = ["book_car", "book_hotel"]
    return {"event": "user", "text": text, "timestamp": at, "parse_data": parse_data, "input_channel": "rest"}


def recorded(answer: str, *read: Event, ms: float = 200.0) -> Event:
    """What is stored beside the commands where prompts are recorded; `read` were read from the answer."""
    response = {"choices": [answer], "latency_ms": ms, "usage": {}}
    prompt = {"component_name": "Generator", "user_prompt": "...", "llm_response_metadata": response}
    return {"prompts": [prompt], "predicted_commands": {"Generator": list(read)}}


def bot(text: str, response: str | None = None, ms: float | None = None) -> Event:
    metadata: Event = {"utter_action": response} if response else {}
    if ms is not None:
        metadata["execution_times"] = {"command_processor": ms - 10, "prediction_loop": 10.0, "rasa_processing_ms": ms}
    return {"event": "bot", "text": text, "data": {}, "metadata": metadata, "timestamp": NOON}


def flow(name: str) -> Event:
    return {"event": "flow_started", "flow_id": name, "timestamp": NOON}


def trained_workspace(root: Path) -> Workspace:
    """An output folder with examples: `book_car` is trained, `book_hotel` is there and is not."""
    card = AssistantCard(
        rasa_version="3.21.0",
        model="model.tar.gz",
        generator="CompactLLMCommandGenerator",
        syntax="v1",
        llm={},
        flows={"book_car": "Book a car", "book_hotel": "Book a hotel"},
    )
    workspace = annotated_workspace(root, card=card)
    examples = [
        Example(
            test="cars.yml::test",
            turn=0,
            step=0,
            variant=0,
            message=message,
            original_message=message,
            prompt="...",
            completion=says,
            commands=commands(says),
            syntax="v1",
            made_by="recorded",
        )
        for message, says in TRAINED
    ]
    with workspace.writing(DATASET, {}) as folder:
        write_jsonl(folder / EXAMPLES, [example.model_dump(mode="json") for example in examples])
    return workspace
