"""Whether the data stay the same where calls fail: the example's data, made under faults, byte by byte.

    python scripts/check_faults.py [--share 0.2] [--kinds 429,timeout] [--llm-mode batch] [--json FILE]

The data is made from the example's recorded annotations; the scripted LLM runs in a process of its own. First no call
fails, then each kind of fault hits that share of them, then all kinds together. Every file of every stage must be the
same, but for `timings.json`. A call may take 1.5 seconds, so a straggler, which is answered after 30, is a timeout that
costs the server more. Exit code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasa_ft_ext import api
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.options import CallOptions, Mode
from rasa_ft_ext.llm.scripted.faults import KINDS, Faults
from rasa_ft_ext.workspace import STAGES, TIMINGS, sha256

EXAMPLE = Path(__file__).resolve().parent.parent / "assistant_example"
NO_FAULTS, ALL = "none", "all kinds"
TIMEOUT = 1.5
POLICY = Policy(attempts=12, readings=12, first_wait=0.05, longest_wait=1.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.2, help="The part of the calls that fails (0.2).")
    parser.add_argument("--kinds", default=",".join(KINDS), help="The kinds of faults, separated by commas (all).")
    parser.add_argument("--seed", type=int, default=0, help="Another seed: other calls fail (0).")
    parser.add_argument("--num-rephrases", type=int, default=5, help="Rephrasings to ask for, per user message (5).")
    parser.add_argument("--llm-mode", choices=["calls", "batch"], default="calls", help="How the LLM is asked (calls).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    kinds = args.kinds.split(",")
    try:
        Faults(share=args.share, kinds=tuple(kinds))
        with tempfile.TemporaryDirectory() as folder:
            check = Check(Path(folder), args.share, args.seed, args.num_rephrases, args.llm_mode)
            figures = [check.run(NO_FAULTS, []), *(check.run(kind, [kind]) for kind in kinds)]
            figures += [check.run(ALL, kinds)] if len(kinds) > 1 else []
    except RasaFtError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)
    return 0 if all(entry["same"] for entry in figures) else 1


class Check:
    """Runs in one folder, at one address: what a run writes depends on nothing that differs between them."""

    def __init__(self, folder: Path, share: float, seed: int, num_rephrases: int, mode: Mode) -> None:
        os.environ.pop(
            "OPENAI_API_KEY", None
        )  # nothing is paid: the assistant's LLM, which is the scripted one, rephrases
        self._folder = folder
        self._share = share
        self._seed = seed
        self._num_rephrases = num_rephrases
        self._options = CallOptions(timeout=TIMEOUT, policy=POLICY, mode=mode)
        self._port = free_port()
        self._faultless: dict[str, str] = {}
        self._seconds = 0.0
        shutil.copytree(EXAMPLE / "annotations", folder / "annotations")

    def run(self, name: str, kinds: list[str]) -> dict[str, Any]:
        """Make the data under these faults, and compare it with that of the first run."""
        options = ["--faults", str(self._share), "--fault-kinds", ",".join(kinds)] if kinds else []
        options += ["--fault-seed", str(self._seed), "--retry-after", "0.05"]
        out = self._folder / "output"
        shutil.rmtree(out, ignore_errors=True)
        with server(self._port, options) as address:
            started = time.perf_counter()
            failed = self._prepare(address)
            seconds = time.perf_counter() - started
            stats = read_json(f"{address.removesuffix('/v1')}/stats")
        written = digests(out)
        if not kinds:
            self._faultless, self._seconds = written, seconds
        differing = sorted(name for name, _ in written.items() ^ self._faultless.items())
        return {
            "kind": name,
            "calls": stats["calls"],
            "faults": stats["faults"],
            "paid_twice": stats["repeated"],
            "seconds": round(seconds, 1),
            "ratio": round(seconds / self._seconds, 1),
            "files": len(written),
            "differing": list(dict.fromkeys(differing)),
            "failed": failed,
            "same": bool(written) and not differing and failed is None,
        }

    def _prepare(self, address: str) -> str | None:
        """Make the data; gives what is told where it fails."""
        try:
            api.prepare_data(
                project=self._folder,
                annotations="annotations",
                llm_api_base=address,
                num_rephrases=self._num_rephrases,
                calls=self._options,
            )
        except RasaFtError as error:
            return str(error)
        return None


@contextmanager
def server(port: int, options: list[str]) -> Iterator[str]:
    """The scripted LLM in a process of its own; gives its address."""
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", "scripted-llm", str(EXAMPLE / "answers.yml")]
    with subprocess.Popen([*command, "--port", str(port), *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def digests(out: Path) -> dict[str, str]:
    """The SHA-256 of every file of every stage, by its path; its manifest is one of them."""
    files = [path for stage in STAGES for path in sorted((out / stage).rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): sha256(path) for path in files if path.name != TIMINGS}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def read_json(address: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address) as response:
        return json.load(response)


def show(figures: list[dict[str, Any]]) -> None:
    print(f"{'kind':16} {'calls':>6} {'faults':>6} {'paid twice':>10} {'seconds':>8} {'ratio':>6}  same bytes")
    for entry in figures:
        verdict = f"yes, {entry['files']} files" if entry["same"] else "NO"
        faults = sum(entry["faults"].values())
        counts = f"{entry['calls']:6} {faults:6} {entry['paid_twice']:10}"
        print(f"{entry['kind']:16} {counts} {entry['seconds']:8} {entry['ratio']:6}  {verdict}")
        for line in [*([entry["failed"]] if entry["failed"] else []), *entry["differing"][:10]]:
            print(f"{'':18}{line}")
    if figures[-1]["kind"] == ALL:
        print(f"{ALL}: " + ", ".join(f"{count} {kind}" for kind, count in figures[-1]["faults"].items()))


if __name__ == "__main__":
    sys.exit(main())
