"""Kill runs of `rasa-ft prepare-data` at random moments, go on with them, and compare what comes out.

    python scripts/check_kills.py [--kills 30] [--in-a-row 10] [--seed 1] [--json FILE]

Each of the first runs is killed once (SIGKILL) and resumed to its end; one more run is killed many times in a row. The
example's recorded annotations are used, so neither Rasa nor a key is needed; the LLM is the scripted one, in a process
of its own. Every file must have the bytes of a run that was not killed (less `timings.json`, and the file of the kept
answers, which says when they came), and no answer may be paid for twice but those that were under way at a kill: begun
at the server, and not yet kept. The command ends with 1 if that is not so. Needs a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "assistant_example"
CACHE = "llm_cache.sqlite"
COSTS = "llm_costs.jsonl"


@dataclass
class Trial:
    """One output folder: when its runs were killed, what was under way then and paid twice, which files differ."""

    kills: list[float] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    under_way: int = 0
    paid_twice: int = 0
    calls: int = 0
    differing: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="Runs that are killed once (30).")
    parser.add_argument("--in-a-row", type=int, default=10, help="How often one more run is killed (10).")
    parser.add_argument("--seed", type=int, default=1, help="Another seed: other moments (1).")
    parser.add_argument("--latency", type=float, default=0.05, help="Seconds that an answer takes (0.05).")
    parser.add_argument("--concurrency", type=int, default=16, help="Calls at a time (16).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scripted(args.latency) as base_url:
        checker = Checker(Path(folder), base_url, args.concurrency)
        figures = check(checker, args.kills, args.in_a_row, Random(args.seed))
    print(json.dumps({name: value for name, value in figures.items() if name != "trials"}, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if figures["passed"] else 1


def check(checker: Checker, kills: int, in_a_row: int, dice: Random) -> dict[str, Any]:
    """Run all trials, telling of each; return the figures."""
    seconds = checker.reference()
    print(f"A run that is not killed takes {seconds:.1f} s and makes {checker.stats()['answered']} calls.\n")
    print("kill at   stage        under way   paid twice   files")
    trials = []
    for wanted in [1] * kills + [in_a_row] * bool(in_a_row):
        trial = checker.trial(wanted, seconds, dice)
        trials.append(trial)
        when = f"{trial.kills[0]:6.2f} s" if wanted == 1 else f"{len(trial.kills)} times"
        same = ", ".join(trial.differing) or "identical"
        stages = ", ".join(dict.fromkeys(trial.stages))
        print(f"{when:<9} {stages:<12} {trial.under_way:9} {trial.paid_twice:12}   {same}", flush=True)
    under_way, paid_twice = sum(trial.under_way for trial in trials), sum(trial.paid_twice for trial in trials)
    identical = sum(not trial.differing for trial in trials)
    return {
        "kills": sum(len(trial.kills) for trial in trials),
        "runs": len(trials),
        "identical": identical,
        "calls": sum(trial.calls for trial in trials),
        "under_way_at_the_kills": under_way,
        "paid_twice": paid_twice,
        "passed": identical == len(trials) and all(trial.paid_twice <= trial.under_way for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }


class Checker:
    """Runs the command in a folder, and knows what should come out."""

    def __init__(self, folder: Path, base_url: str, concurrency: int) -> None:
        self._out = folder / "output"
        self._stats = base_url.removesuffix("/v1") + "/stats"
        self._command = [
            *(sys.executable, "-m", "rasa_ft_ext.cli.main", "prepare-data", "e2e_tests", "--quiet", "--yes"),
            *("--project", str(ROOT), "--annotations", str(EXAMPLE / "annotations"), "--num-rephrases", "5"),
            *("--llm-api-base", base_url, "--out", str(self._out), "--concurrency", str(concurrency)),
        ]
        self._expected: dict[str, bytes] = {}

    def reference(self) -> float:
        """Make what should come out; return the seconds that it took."""
        started = time.perf_counter()
        self._begin_anew()
        self._finish()
        self._expected = self._contents()
        return time.perf_counter() - started

    def trial(self, kills: int, seconds: float, dice: Random) -> Trial:
        """Kill a run so many times, each time at a random moment of what it takes as a whole, and go on to its end."""
        trial = Trial()
        self._begin_anew()
        while len(trial.kills) < kills:
            when = dice.uniform(0.3, seconds)
            before = self._kept()
            begun = self._begun()
            process = self._start()
            try:
                process.wait(when)
                if trial.kills:
                    break  # what was left took less than that
                seconds = when  # it was quicker than the kill: once more, and earlier
                self._begin_anew()
                continue
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGSTOP)  # so that nothing moves while it is looked at
            trial.kills.append(round(when, 2))
            trial.stages.append(self._stage())
            trial.under_way += (self._begun() - begun) - (self._kept() - before)
            process.kill()
            process.wait()
        self._finish()
        stats = self.stats()
        trial.paid_twice, trial.calls = stats["repeated"], stats["answered"]
        found = self._contents()
        names = {*found, *self._expected}
        trial.differing = sorted(name for name in names if found.get(name) != self._expected.get(name))
        return trial

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self._stats) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _begin_anew(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)
        urllib.request.urlopen(urllib.request.Request(f"{self._stats}/reset", method="POST")).close()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        with (self._out.parent / "log").open("wb") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def _finish(self) -> None:
        if self._start().wait():
            sys.exit(f"The command failed:\n{(self._out.parent / 'log').read_text()}")

    def _begun(self) -> int:
        """The calls that the server has seen, less those that it has no answer to."""
        stats = self.stats()
        return int(stats["calls"]) - int(stats["refused"])

    def _kept(self) -> int:
        """The answers in the cache."""
        if not (self._out / CACHE).is_file():
            return 0
        with closing(sqlite3.connect(self._out / CACHE)) as database:
            try:
                return int(database.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
            except sqlite3.OperationalError:  # killed before there was a table
                return 0

    def _stage(self) -> str:
        drafts = [match[1] for path in self._out.glob(".?_*-*") if (match := re.match(r"\.\d_([^-]+)-", path.name))]
        return drafts[0].split("_")[-1] if drafts else "between"

    def _contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self._out).as_posix(): path.read_bytes()
            for path in self._out.rglob("*")
            if path.is_file() and path.name not in ("timings.json", COSTS) and not path.name.startswith(CACHE)
        }


@contextmanager
def scripted(latency: float) -> Iterator[str]:
    """Run the scripted LLM of the example in a process of its own; gives its base URL."""
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", "scripted-llm", str(EXAMPLE / "answers.yml")]
    process = subprocess.Popen([*command, "--latency", str(latency)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
