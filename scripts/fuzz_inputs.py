"""Give the package what an LLM or a file should not hold, by the thousand: no traceback, and no wrong label.

    python scripts/fuzz_inputs.py [--answers 10000] [--files 2000] [--seed 0] [--json FILE]

Answers of an LLM (truncated, huge, nested, in other languages, with fences, control characters and orders of their own)
go through the reader of rephrasings, the reader of commands in all three syntaxes, and the verdict on a rephrasing.
Mutated YAML files go through the reader of each kind of file; E2E tests need Rasa, and are counted as skipped without
it. What comes out is compared with what a second, plainer way of looking says:

- a command stands in one line of the answer, with all that it names; where Rasa is installed, its own parser reads the
  same;
- a rephrasing stands in the answer, below the message that it is given for;
- a rephrasing passes if and only if its commands have the effect that is expected, and its label is written and read
  without loss;
- what was read of a file is what ruamel.yaml has in it; an error names no secret of the file.

The exit code is 1 if anything is wrong; hypothesis then shows the smallest input that it found.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.fuzzed_answers import Commands, Rephrasings, Verdicts
from scripts.fuzzed_files import KINDS, Files, has_rasa

Check = Callable[[Any], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000, help="How many answers of an LLM (10000).")
    parser.add_argument("--files", type=int, default=2_000, help="How many files (2000).")
    parser.add_argument("--seed", type=int, default=0, help="Other inputs (0).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if has_rasa():
        quiet()
    with tempfile.TemporaryDirectory() as folder:
        parts = run(args.answers, args.files, args.seed, Path(folder))
    figures = {
        "rasa_installed": has_rasa(),
        "inputs": sum(part["inputs"] for part in parts.values()),
        "failures": sum(bool(part["failure"]) for part in parts.values()),
        "parts": parts,
    }
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if figures["failures"] else 0


def run(answers: int, files: int, number: int, folder: Path) -> dict[str, dict[str, Any]]:
    """The figures of every part."""
    checks = {"rephrasings": Rephrasings(), "commands": Commands(), "verdicts": Verdicts()}
    parts = {name: fuzz(check.inputs, check, -(-answers // len(checks)), number) for name, check in checks.items()}
    for kind in KINDS:
        if kind == "tests" and not has_rasa():
            parts[kind] = {"inputs": 0, "skipped": -(-files // len(KINDS)), "outcomes": {}, "failure": None}
            print(f"E2E tests: {-(-files // len(KINDS))} skipped, as Rasa is not installed here", file=sys.stderr)
            continue
        check = Files(kind, folder)
        parts[kind] = fuzz(check.inputs, check, -(-files // len(KINDS)), number)
    return parts


def quiet() -> None:
    """Rasa logs every command that it reads."""
    import structlog

    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def fuzz(inputs: Any, check: Check, count: int, number: int) -> dict[str, Any]:
    """Run one check on so many inputs; it says what became of each, or raises."""
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def one(given_input: Any) -> None:
        outcomes[check(given_input)] += 1

    began = time.perf_counter()
    failure = None
    try:
        one()
    except Exception:
        failure = traceback.format_exc()
        print(failure, file=sys.stderr)
    return {
        "inputs": outcomes.total(),
        "seconds": round(time.perf_counter() - began, 1),
        "outcomes": dict(sorted(outcomes.items())),
        "failure": failure,
    }


if __name__ == "__main__":
    sys.exit(main())
