"""How much faster `annotate` is with several workers, and whether it writes the same bytes.

    python scripts/benchmark_workers.py [--rounds 4] [--kinds 1 2 ray] [--json FILE]

The example's assistant is trained and its E2E tests are run, so many times over, in one process, in worker processes
and in as many Ray actors as there are cores. The LLM is the scripted one, in a process of its own. `seconds` is the
time that the tests take, `total_s` that of the whole stage, in which the assistants are loaded as well. Needs Rasa Pro;
Ray is left out where it is not installed. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rasa_ft_ext import api
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.workspace import ANNOTATIONS, TIMINGS

ROOT = Path(__file__).resolve().parent.parent
SERVER = """
import sys, time
from pathlib import Path
from rasa_ft_ext.llm.scripted.server import scripted_llm
with scripted_llm(Path(sys.argv[1]), latency=0.2) as llm:
    print(llm.base_url, flush=True)
    sys.stdin.read()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="How often each test is run (4).")
    parser.add_argument(
        "--kinds", nargs="+", default=["1", "2", "ray"], help="Numbers of processes, and ray for actors (1 2 ray)."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", RASA_TELEMETRY_ENABLED="false", LOG_LEVEL="CRITICAL")
    kinds = [kind for kind in args.kinds if kind != "ray" or find_spec("ray") is not None]
    with tempfile.TemporaryDirectory() as folder, server() as address:
        os.environ["SCRIPTED_LLM_URL"] = address
        project = trained(Path(folder))
        tests = copied_tests(project, args.rounds)
        measured = [measure(project, tests, kind) for kind in kinds]
    written, seconds = measured[0]["written"], measured[0]["seconds"]
    for one in measured:
        one["times_faster"] = round(seconds / one["seconds"], 2)
        one["same_bytes"] = one.pop("written") == written
    print(json.dumps(measured, indent=1))
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def server() -> Iterator[str]:
    """The scripted LLM, in a process of its own."""
    command = [sys.executable, "-c", SERVER, str(ROOT / "assistant_example" / "answers.yml")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def trained(folder: Path) -> Path:
    """A copy of the example, trained with Rasa's library."""
    project = folder / "assistant_example"
    shutil.copytree(ROOT / "assistant_example", project, ignore=shutil.ignore_patterns("annotations", "models"))
    os.chdir(project)
    sys.path.insert(0, str(project))
    import rasa.api
    from rasa.core.config.configuration import Configuration

    from rasa_ft_ext.rasa_pro.process import set_up_logs

    set_up_logs(logging.CRITICAL)
    Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml"))
    Configuration.initialise_sub_agents(None)
    rasa.api.train(domain="domain", config="config.yml", training_files=["data"], output="models")
    return project


def copied_tests(project: Path, rounds: int) -> Path:
    """The example's tests, so many times over, in folders of their own."""
    for number in range(rounds):
        shutil.copytree(ROOT / "e2e_tests", project / "tests" / f"round_{number}")
    return project / "tests"


class Clock(Progress):
    """Notes when the tests begin."""

    began = 0.0

    def start(self, what: str, total: int) -> None:
        if what == "Running E2E tests":
            self.began = time.perf_counter()


def measure(project: Path, tests: Path, kind: str) -> dict[str, Any]:
    """Run `annotate` with so many processes, or on Ray."""
    workers = os.cpu_count() or 1 if kind == "ray" else int(kind)
    options = CallOptions(workers=workers, backend="ray" if kind == "ray" else "processes", use_cache=False)
    out, clock, started = project / f"output_{kind}", Clock(), time.perf_counter()
    summary = api.annotate(tests, project=project, out=out, calls=options, progress=clock)
    ended = time.perf_counter()
    return {
        "workers": workers,
        "backend": options.backend,
        "tests": summary.tests,
        "passed": summary.passed,
        "user_messages": summary.user_messages,
        "seconds": round(ended - clock.began, 2),
        "total_s": round(ended - started, 2),
        "written": contents(out / ANNOTATIONS),
    }


def contents(folder: Path) -> dict[str, bytes]:
    """All that was written, but what a clock says."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != TIMINGS]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


if __name__ == "__main__":
    sys.exit(main())
