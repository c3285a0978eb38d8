"""No byte of a key is in anything that a run writes or prints, whether it works or not, with all logs on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rasa_ft_ext.llm.scripted.server import scripted_llm
from tests.forked import forked, stderr, stdout

pytestmark = pytest.mark.once

EXAMPLE = Path(__file__).parents[1] / "assistant_example"
PART = "small_talk"

MARK = "MARKED"  # in each of them
KEY, HEADER, PASSWORD, TOKEN = (f"sk-{MARK}-{kind}-0123456789" for kind in ("key", "header", "password", "token"))


class Echo(BaseHTTPRequestHandler):
    """Refuses every request, with all that was sent in its answer, as some gateways do."""

    status = 401

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        told = f"not allowed: {self.path} Incorrect API key provided: {KEY}. {dict(self.headers)}".replace('"', "'")
        body = f'{{"error": {{"message": "{told}", "type": "invalid", "code": "{KEY}"}}}}'.encode()
        self.send_response(self.status, f"Refused {KEY}")
        self.send_header("content-type", "application/json")
        self.send_header("x-sent-back", KEY)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def echoing(status: int) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Refusing", (Echo,), {"status": status}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def project(folder: Path, host: str, *, query: str = "") -> list[str]:
    """Put a part of the example there, with marked keys everywhere; give the arguments of a run."""
    annotations = folder / "annotations"
    shutil.copytree(EXAMPLE / "annotations" / PART, annotations / PART)
    for name in ("assistant.json", "flows.json"):
        shutil.copy(EXAMPLE / "annotations" / name, annotations)
    (folder / "endpoints.yml").write_text(
        f"model_groups: [{{id: other, models: [{{model: m, api_key: {KEY}, api_base: http://u:{PASSWORD}@x/v1}}]}}]\n"
    )
    (folder / "rephrase.yml").write_text(
        "llm:\n"
        "  provider: self-hosted\n"
        "  model: rephraser\n"
        f"  api_base: http://{host}/v1{query}\n"
        f"  api_key: {KEY}\n"
        f"  extra_headers: {{X-Gateway: {HEADER}, Authorization-2: Bearer {HEADER}}}\n"
    )
    flags = ["--annotations", "annotations", "--rephrase-config", "rephrase.yml", "--num-rephrases", "1"]
    return ["prepare-data", "-vv", *flags, "--train-frac", "1", "--llm-api-base", f"http://{host}/v1"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, int]:
    """The exit codes of three runs: one that works, two that are refused with the key in the answer."""
    place = tmp_path_factory.mktemp("runs")
    with scripted_llm(EXAMPLE / "answers.yml") as llm, echoing(401) as refused, echoing(400) as wrong:
        works = llm.base_url.removeprefix("http://").removesuffix("/v1")
        runs = {"works": (works, ""), "refused": (refused, ""), "wrong": (wrong, f"?token={TOKEN}")}
        commands = {place / name: project(place / name, host, query=query) for name, (host, query) in runs.items()}
        with forked(commands, HOSTED_VLLM_API_KEY=KEY, HOME=str(place)) as running:
            return dict(running.wait() for _ in commands)


@pytest.mark.parametrize(("name", "code"), [("works", 0), ("refused", 1), ("wrong", 1)])
def test_no_key_is_printed_or_written(ended: dict[Path, int], name: str, code: int) -> None:
    folder = next(folder for folder in ended if folder.name == name)
    printed = stdout(folder) + stderr(folder)
    assert ended[folder] == code, printed[-2000:]
    assert "DEBUG" in printed
    assert (folder / "output" / "params.yaml").is_file() == (code == 0)
    assert not [line for line in printed.splitlines() if MARK in line]
    own = {folder / "endpoints.yml", folder / "rephrase.yml"}
    files = [path for path in folder.rglob("*") if path.is_file() and path not in own]
    assert not [path for path in files if MARK.encode() in path.read_bytes()]
