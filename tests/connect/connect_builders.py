"""What the tests of `connect` start from: an evaluated model, a server that answers as it did, and odd projects."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rasa_ft_ext.connect.settings import ConnectSettings
from rasa_ft_ext.conversation import AssistantCard, Conversation
from rasa_ft_ext.evaluation import EVALUATION_FILE, Evaluation, Probe, Subject, Verdict
from rasa_ft_ext.workspace import DATASET, EVALUATION, PROMPT_TEMPLATE, SPLIT, Workspace, write_record
from tests.builders import annotated_file, annotated_workspace, assistant_card, conversation

MODEL = "student-1"
TEMPLATE = "Commands for {{ user_message }}{% if current_datetime %} at {{ current_datetime }}{% endif %}:\n"
PROBES = {"one": "start flow book_car", "two": "set slot city Basel"}
NOBODY = "http://127.0.0.1:9/v1"

CONFIG = """\
# An assistant.
recipe: default.v1
language: en
pipeline:
  - name: CompactLLMCommandGenerator
    llm:
      model_group: teacher  # asked for every message
    flow_retrieval:
      active: false
policies:
  - name: FlowPolicy
"""
ENDPOINTS = """\
action_endpoint:
  actions_module: actions
model_groups:
  - id: teacher
    models:
      - provider: openai
        model: gpt-5.1-2025-11-13
        reasoning_effort: "none"
        timeout: 15
# the end
"""
INLINE = """\
language: en
pipeline:
- name: SingleStepLLMCommandGenerator
  prompt: prompts/mine.jinja2   # ours
  # The teacher.
  llm:
    # dear
    provider: openai   # of all
    model: gpt-4-0613
    request_timeout: 7
    temperature: 0.0   # always

  user_input:
    max_characters: 420
policies:
- name: FlowPolicy
"""


@dataclass
class Server:
    """Answers prompts by what is written, and remembers what it was asked."""

    base_url: str
    answers: dict[str, str]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextmanager
def serving(answers: Mapping[str, str] = PROBES, *, otherwise: str = "hello") -> Iterator[Server]:
    """A server that speaks OpenAI's API."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization", ""))
            text = server.answers.get(body["messages"][-1]["content"], otherwise)
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
            sent = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}/v1", dict(answers))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def project(folder: Path, config: str | bytes = CONFIG, endpoints: str | bytes | None = ENDPOINTS) -> Path:
    """An assistant's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("config.yml", config), ("endpoints.yml", endpoints)):
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def evaluated(
    root: Path, *, template: str = TEMPLATE, clock: bool = False, passed: bool = True, **card: Any
) -> Workspace:
    """An output folder with data that were made with the template, and an evaluation of the model on them."""
    known: AssistantCard = assistant_card(**card)
    workspace = annotated_workspace(root, annotated_file(_told(conversation(), clock=clock)), card=known)
    with workspace.writing(DATASET, {"of": "tests"}) as folder:
        (folder / PROMPT_TEMPLATE).write_bytes(template.encode())
    with workspace.writing(SPLIT, {"of": "tests"}) as folder:
        (folder / "rows.jsonl").write_text("{}\n")
    problems = () if passed else ("validation: 12 % of the tests pass, 80 % are asked for.",)
    write_evaluation(workspace, template=template, verdict=Verdict(passed=passed, problems=problems))
    return workspace


def write_evaluation(workspace: Workspace, *, template: str = TEMPLATE, **changes: Any) -> None:
    """An evaluation of the data that are there; its subject's fields can be given as well."""
    subject = {
        "model": MODEL,
        "api_base": "http://elsewhere:8000/v1",
        "data_hash": workspace.fingerprint(SPLIT),
        "template_hash": hashlib.sha256(template.encode()).hexdigest(),
        "rasa_version": "3.21.0",
    }
    subject.update({name: changes.pop(name) for name in list(changes) if name in Subject.model_fields})
    probes = tuple(Probe(prompt=prompt, answer=answer) for prompt, answer in PROBES.items())
    found: dict[str, Any] = {"probes": probes, "verdict": Verdict(passed=True), **changes}
    evaluation = Evaluation(version="1", subject=Subject.model_validate(subject), **found)
    write_record(workspace.folder(EVALUATION) / EVALUATION_FILE, evaluation)


def settings(base_url: str, **changes: Any) -> ConnectSettings:
    return ConnectSettings(**{"model": MODEL, "api_base": base_url, **changes})


def rasas_templates() -> list[Path]:
    """The folders of Rasa's project templates that have a command generator; none where Rasa is not installed."""
    found = find_spec("rasa")
    places = found.submodule_search_locations if found else None
    folders = sorted((Path(next(iter(places))) / "cli" / "project_templates").iterdir()) if places else []
    return [folder for folder in folders if (folder / "config.yml").is_file()]


def _told(source: Conversation, *, clock: bool) -> Conversation:
    """The conversation with, or without, a clock in what its prompts were rendered with."""
    turns = []
    for turn in source.turns:
        if turn.annotation is not None:
            variables = {name: value for name, value in turn.annotation.variables.items() if name != "current_datetime"}
            if clock:
                variables["current_datetime"] = {"@@datetime@@": "2024-04-27T18:13:47+00:00"}
            turn = turn.model_copy(update={"annotation": turn.annotation.model_copy(update={"variables": variables})})
        turns.append(turn)
    return source.model_copy(update={"turns": tuple(turns)})
