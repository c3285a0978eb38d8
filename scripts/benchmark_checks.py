"""How long `rasa-ft check-data` takes for big data, and how much memory.

    python scripts/benchmark_checks.py [--rows 5000 50000] [--json FILE]

The rows are those of the example, over and over: in each round, every word of what the users say is another one, but
for the values that the labels set slots to, and numbers. So there are as many different conversations as in real data
of that size. The command is run in a process of its own; `reading_s` is what a process takes that only reads the rows.
Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from rasa_ft_ext import api
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import DATASET, EXAMPLES, MANIFEST, SPLIT, Manifest, Workspace, read_record, write_jsonl

EXAMPLE = Path(__file__).resolve().parent.parent / "assistant_example"
SYLLABLES = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "an", "er", "il")]
READ = "import sys; from rasa_ft_ext.workspace import Workspace; sum(1 for _ in Workspace(sys.argv[1]).examples())"
CHECK = "import sys; from rasa_ft_ext.cli.main import main; main(sys.argv[1:])"
PEAK = "print(open('/proc/self/status').read())"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 50_000], help="How many rows (5000 50000).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = prepared(Path(folder))
        figures = [measure(output, rows) for rows in args.rows]
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def prepared(folder: Path) -> Path:
    """The example's data, as `make demo` makes it."""
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        api.prepare_data(
            project=EXAMPLE, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=5, out=folder
        )
    return folder


def measure(output: Path, rows: int) -> dict[str, Any]:
    """Write so many rows into a copy of the data, and check them."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = grown(output, Path(folder), rows)
        size = (workspace.folder(DATASET) / EXAMPLES).stat().st_size
        findings = Path(folder) / "findings.json"
        reading = _run(READ, folder)
        checking = _run(CHECK, "check-data", folder, "--json", str(findings))
        report = json.loads(findings.read_text(encoding="utf-8"))
    return {
        "rows": rows,
        "data_mib": round(size / 2**20),
        "reading_s": reading[0],
        "reading_mib": reading[1],
        "seconds": checking[0],
        "peak_mib": checking[1],
        "findings": len(report["findings"]),
    }


def grown(output: Path, folder: Path, rows: int) -> Workspace:
    """A copy of the data with so many examples, not split yet."""
    workspace = Workspace(shutil.copytree(output, folder, dirs_exist_ok=True))
    shutil.rmtree(workspace.folder(SPLIT))
    key = read_record(workspace.folder(DATASET) / MANIFEST, Manifest).key
    examples = list(workspace.examples())
    with workspace.writing(DATASET, key) as draft:
        more = islice(_in_other_words(examples), rows)
        write_jsonl(draft / EXAMPLES, [example.model_dump(mode="json") for example in more])
    return workspace


def _in_other_words(examples: list[Example]) -> Iterator[Example]:
    kept = {
        word.casefold()
        for example in examples
        for command in example.commands
        for argument in command.args
        for word in re.findall(r"\w+", argument or "")
    }
    yield from examples
    dice = Random(42)
    while True:
        words: dict[str, str] = {}

        def other(match: re.Match[str], words: dict[str, str] = words) -> str:
            word = match[0].casefold()
            if word in kept or not word.isalpha():
                return match[0]
            return words.setdefault(word, "".join(dice.choices(SYLLABLES, k=max(1, len(word) // 2))))

        def reworded(text: str) -> str:
            return re.sub(r"\w+", other, text)

        for example in examples:
            prompt = re.sub(r"(?m)^(USER: )(.*)$", lambda said: said[1] + reworded(said[2]), example.prompt)
            yield example.model_copy(update={"message": reworded(example.message), "prompt": prompt})


def _run(code: str, *arguments: str) -> tuple[float, int]:
    """Seconds and MiB at most of a Python process (Linux).

    Raises:
        CalledProcessError: it fails.
    """
    start = time.perf_counter()
    command = [sys.executable, "-c", f"{code}; {PEAK}", *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak = re.findall(r"(?m)^VmHWM:\s*(\d+) kB$", told)
    return round(time.perf_counter() - start, 1), int(peak[-1]) // 1024


if __name__ == "__main__":
    sys.exit(main())
