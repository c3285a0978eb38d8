"""Train a tiny model on the example assistant's data, on the CPU: the real training, end to end, without a download.

    python scripts/train_demo.py [--data output] [--out finetuned_demo] [--json FILE]

A tokenizer and a small Llama with random weights are made from the training data (see `make_tiny_base.py`); then the
command runs that a user would type, with the settings in `train_demo.yml`. What comes out has learned the example, and
nothing else: it knows no language, so that it answers badly where a message has words that the data has not. A real
base model is what generalises; take a recipe (`rasa-ft train --recipe`) on a machine with a GPU.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.workspace import SPLIT

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "scripts/train_demo.yml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("output"), help="What `make demo` wrote (output).")
    parser.add_argument("-o", "--out", type=Path, default=Path("finetuned_demo"), help="Folder of the trained model.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file.")
    args = parser.parse_args()
    try:
        figures = train_demo(args.data, args.out)
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        return error.returncode
    except RasaFtError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    print()
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):32} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def train_demo(data: Path, out: Path) -> dict[str, Any]:
    """Make the base, train it, and return the figures."""
    from scripts.make_tiny_base import make_tiny_base

    base = out.with_name(f"{out.name}_base")
    print(f"Making a tiny base model in {base} from the training data...", flush=True)
    made = make_tiny_base(data / SPLIT / "ft_splits/train.jsonl", base, **BASE)
    arguments = ["train", str(data), "--base-model", str(base), "--settings", str(SETTINGS)]
    arguments += ["--out-model", str(out), "--force"]
    print(f"$ rasa-ft {shlex.join(arguments)}\n", flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rasa_ft_ext.cli.main", *arguments], check=True)
    seconds = time.perf_counter() - start
    metrics = json.loads((out / "metrics.json").read_bytes())
    return {
        "parameters": made["parameters"],
        "examples": metrics["train"]["examples"],
        "validation_examples": metrics["validation"]["examples"],
        "seconds": round(seconds, 1),
        "tokens": metrics["tokens"]["raw"],
        "computed_tokens": metrics["tokens"]["unique"],
        "train_accuracy": round(metrics["train"]["exact_match"], 4),
        "validation_accuracy": round(metrics["validation"]["exact_match"], 4),
        "validation_loss": round(metrics["validation"]["loss"], 4),
        "largest_logit_difference": metrics["parity"]["max_logit_difference"],
        "answers_that_differ": metrics["parity"]["answers_that_differ"],
        "verdict": metrics["verdict"]["kind"],
        "plot": str(out / "loss.png"),
    }


# 32 numbers a head: vLLM on a CPU takes multiples of 32 only.
BASE: dict[str, Any] = {"hidden": 160, "layers": 3, "heads": 5, "vocab": 2048}

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
