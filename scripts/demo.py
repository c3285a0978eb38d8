"""Prepare fine-tuning data for the example assistant, from its recorded annotations and with a scripted LLM.

    python scripts/demo.py [--json FILE] [--out FOLDER] [--num-rephrases N] [flags of prepare-data]

Needs no Rasa, no key and no network: the scripted LLM is an HTTP server on this machine that answers from
`assistant_example/answers.yml`. What is run is the command that a user would type; it is shown before it is run.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.scripted.server import scripted_llm

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "assistant_example"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file.")
    parser.add_argument("-o", "--out", default="output", help="Folder that the results are written to.")
    parser.add_argument("--num-rephrases", type=int, default=5, help="Rephrasings to ask for, per user message.")
    args, others = parser.parse_known_args()
    try:
        figures = demo(args.out, args.num_rephrases, others)
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        return error.returncode
    except RasaFtError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    show(figures, args.out)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def demo(out: str, num_rephrases: int, others: Sequence[str] = ()) -> dict[str, Any]:
    """Run the recipe and return its figures, the seconds it took and the calls that the LLM got."""
    arguments = ["prepare-data", "e2e_tests", "--annotations", f"{EXAMPLE}/annotations"]
    arguments += ["--num-rephrases", str(num_rephrases), *others]
    with scripted_llm(ROOT / EXAMPLE / "answers.yml") as llm:
        arguments += ["--llm-api-base", llm.base_url, "--out", out, "--force"]
        print(f"$ rasa-ft {shlex.join(arguments)}\n", flush=True)
        start = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}  # nothing is paid
        command = [sys.executable, "-m", "rasa_ft_ext.cli.main", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        seconds = time.perf_counter() - start
        calls = llm.stats()
    summary = YAML(typ="safe").load(ROOT / out / "result_summary.yaml")
    counts = {name: value for name, value in summary.items() if name.startswith("num_")}
    return {**counts, "seconds": round(seconds, 1), "llm": calls}


def show(figures: dict[str, Any], out: str) -> None:
    print(f"\n{figures['llm']['calls']} calls of the scripted LLM, {figures['seconds']} s in all. To look at:")
    for path, what in (
        ("report.html", "all of it, in a browser"),
        ("4_train_test_split/ft_splits/train.jsonl", "what a model is trained on"),
        ("4_train_test_split/ft_splits/val.jsonl", "what it is measured on"),
        ("2_rephrasings", "the paraphrases, those refused with the reason"),
        ("result_summary.yaml", "the figures"),
        ("params.yaml", "the parameters"),
    ):
        print(f"  {Path(out) / path}: {what}")


if __name__ == "__main__":
    sys.exit(main())
