"""No byte of a key is in anything that a run writes or prints, whether it works or not, with all logs on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rasa_ft_ext.llm.scripted_server import scripted_llm

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "assistant_example"
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


def prepared(folder: Path, host: str, *, query: str = "") -> tuple[int, str]:
    """Run prepare-data on a part of the example with marked keys everywhere; give its exit code and what it printed."""
    annotations = folder / "annotations"
    shutil.copytree(EXAMPLE / "annotations" / PART, annotations / PART)
    for file in (EXAMPLE / "annotations").glob("*.json"):
        shutil.copy(file, annotations)
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
    environment = {**os.environ, "HOSTED_VLLM_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    flags = ["--annotations", "annotations", "--rephrase-config", "rephrase.yml", "--num-rephrases", "1"]
    flags += ["--train-frac", "1", "--llm-api-base", f"http://{host}/v1"]
    done = subprocess.run(
        [sys.executable, "-m", "rasa_ft_ext.cli.main", "prepare-data", "-vv", *flags],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def check(folder: Path, printed: str) -> None:
    places = [f"printed: {line}" for line in printed.splitlines() if MARK in line]
    own = {folder / "endpoints.yml", folder / "rephrase.yml"}
    files = [path for path in folder.rglob("*") if path.is_file() and path not in own]
    places += [str(path) for path in files if MARK.encode() in path.read_bytes()]
    assert not places


def test_a_run_that_works(tmp_path: Path) -> None:
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        code, printed = prepared(tmp_path, llm.base_url.removeprefix("http://").removesuffix("/v1"))
    assert code == 0, printed[-2000:]
    assert "DEBUG" in printed
    assert (tmp_path / "output" / "params.yaml").is_file()
    check(tmp_path, printed)


@pytest.mark.parametrize(("status", "query"), [(401, ""), (400, f"?token={TOKEN}")])
def test_a_run_that_is_refused_with_the_key_in_the_answer(tmp_path: Path, status: int, query: str) -> None:
    with echoing(status) as host:
        code, printed = prepared(tmp_path, host, query=query)
    assert code == 1, printed[-2000:]
    check(tmp_path, printed)
