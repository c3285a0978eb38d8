"""A set-up for the doctor to look at: the example's files, data made of a few of its annotations, a model's folder, an
evaluation, a trained archive, and a server on 127.0.0.1. All of it fits together; a test then breaks one thing.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from rasa_ft_ext import api
from rasa_ft_ext.doctor.chat_template import prompt_tokens
from rasa_ft_ext.doctor.findings import Diagnosis, Finding
from rasa_ft_ext.doctor.flows import read_flows
from rasa_ft_ext.evaluation import EVALUATION_FILE, Evaluation, Probe, Subject, Verdict
from rasa_ft_ext.finetuned import MERGED, TrainFacts, TrainManifest, read_manifest, write_manifest
from rasa_ft_ext.workspace import ASSISTANT_CARD, EVALUATION, SPLIT, Workspace, write_record

NAME, KEY, RASA = "travel-7b", "a-key", "3.21.0"
ROOM = 16_384
CHAT_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}<|assistant|>"
ENDPOINTS = """\
model_groups:
  - id: teacher
    models:
      - provider: self-hosted
        model: travel-7b
        api_base: {base_url}
        api_key: ${{TRAVEL_KEY}}
        temperature: 0.0
        max_tokens: 64
        timeout: 30
"""


@dataclass
class FakeServer:
    """A model server: `answers` says what it answers to a prompt, `tokens` what it makes of one, if it tells."""

    base_url: str
    answers: Callable[[str], str]
    tokens: Callable[[str], list[int]] | None
    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": NAME, "max_model_len": ROOM}])
    key: str = KEY
    count: Callable[[str], int] | None = None
    asked: int = 0

    def reply(self, path: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/v1") and key != self.key:
            return 401, {"error": {"message": "wrong key"}}
        if path == "/v1/models":
            return 200, {"object": "list", "data": self.models}
        prompt = body["messages"][0]["content"] if "messages" in body else ""
        if path == "/tokenize" and self.tokens:
            return 200, {"tokens": self.tokens(prompt)}
        if path != "/v1/chat/completions":
            return 404, {"detail": "Not Found"}
        self.asked += 1
        message = {"role": "assistant", "content": self.answers(prompt)}
        usage = {"prompt_tokens": self.count(prompt) if self.count else 0, "completion_tokens": 1, "total_tokens": 1}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, {"id": "1", "object": "chat.completion", "model": NAME, "choices": [choice], "usage": usage}


@contextmanager
def serving(answers: Callable[[str], str], tokens: Callable[[str], list[int]]) -> Iterator[FakeServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            status, content = server.reply(self.path, self.headers.get("Authorization", "")[7:], body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = FakeServer(f"http://127.0.0.1:{listener.server_port}/v1", answers, tokens)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


@dataclass
class Patient:
    """The project's folder, in which everything has the name that the doctor looks for first."""

    project: Path
    server: FakeServer

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.project / "output")

    def diagnose(self, **more: Any) -> Diagnosis:
        return api.doctor(project=self.project, **more)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = (self.project / file).read_text(encoding="utf-8")
        assert old in text
        (self.project / file).write_text(text.replace(old, new), encoding="utf-8")

    def alter_facts(self, **changes: Any) -> None:
        path = self.project / "finetuned_model" / "manifest.json"
        manifest = read_manifest(path.parent)
        facts = TrainFacts.model_validate({**manifest.facts.model_dump(), **changes})
        write_record(path, TrainManifest(version=manifest.version, facts=facts, files=manifest.files))

    def evaluate(
        self, *, passed: bool = True, left_out: bool = False, probes: tuple[Probe, ...] = (), **changes: Any
    ) -> None:
        """Leave an evaluation of just this set-up, but for the changes to its subject."""
        known = {
            "model": NAME,
            "api_base": self.server.base_url,
            "model_hash": read_manifest(self.project / "finetuned_model").model_hash,
            "data_hash": self.workspace.fingerprint(SPLIT),
            "template_hash": sha256(self.workspace.template()),
            "rasa_version": RASA,
        }
        problems = () if passed else ("Too few tests pass: 12 %.",)
        verdict = Verdict(passed=passed, problems=problems, left_out=problems if left_out else ())
        subject = Subject.model_validate({**known, **changes})
        evaluation = Evaluation(version="1", subject=subject, verdict=verdict, probes=probes)
        write_record(self.workspace.folder(EVALUATION) / EVALUATION_FILE, evaluation)

    def train_assistant(self, *, rasa: str = RASA, name: str = "model.tar.gz") -> None:
        train_assistant(self.project, rasa=rasa, name=name)


def train_assistant(project: Path, *, rasa: str = RASA, name: str = "model.tar.gz") -> None:
    """Leave an archive as `rasa train` does, of the files as they are now."""
    config = YAML(typ="safe").load((project / "config.yml").read_text(encoding="utf-8"))
    generator = config["pipeline"][0]
    written = {key: value for key, value in generator.items() if key != "name"}
    resource = f"train_{generator['name']}0"
    node = {"uses": f"rasa.some.module.{generator['name']}", "config": written, "resource": {"name": resource}}
    metadata = {
        "rasa_open_source_version": rasa,
        "predict_schema": {"nodes": {"other": {"resource": None}, "run": node}},
    }
    flows = {name: {"description": flow.description} for name, flow in read_flows(project / "data").items()}
    files = {
        "metadata.json": json.dumps(metadata),
        f"components/{resource}/command_prompt.jinja2": (project / "prompts/command.jinja2").read_text(),
        "components/flows_provider/flows.yml": json.dumps({"flows": {**flows, "pattern_chitchat": {"steps": []}}}),
    }
    (project / "models").mkdir(exist_ok=True)
    with tarfile.open(project / "models" / name, "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"./{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def make_model(folder: Path, *, template: str = CHAT_TEMPLATE) -> None:
    """A model's folder with a tokenizer for anything, and no weights to speak of."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, **{chr(code): code for code in range(33, 127)}}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|end|>"}}))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "model.safetensors").write_bytes(b"weights")


def finish_training(project: Path) -> None:
    """Leave the manifest of a training on the data that is there."""
    workspace = Workspace(project / "output")
    prompts = [prompt_tokens(project / "finetuned_model" / MERGED, row.prompt) for row in workspace.examples()]
    template = sha256(workspace.template())
    facts = TrainFacts(
        name="travel",
        base_model="base",
        data_hash=workspace.fingerprint(SPLIT),
        train_rows=1,
        validation_rows=1,
        templates={template[:12]: template},
        rasa_version=RASA,
        syntax="v2",
        longest_prompt=max(map(len, prompts)),
        longest_answer=40,
    )
    write_manifest(project / "finetuned_model", facts)


def alter_card(patient: Patient, **changes: Any) -> None:
    path = patient.project / "output" / "1_command_annotations" / ASSISTANT_CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def findings(diagnosis: Diagnosis, check: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.check == check]


def unlike_ok(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The check and the status of all that is not in order."""
    return [(finding.check, finding.status) for finding in diagnosis.findings if finding.status != "ok"]
