"""Our `prepare_data` beside Rasa's own recipe, on the example assistant and the same scripted LLM, in one run.

    python scripts/benchmark_prepare_data.py [--latency 0.2] [--num-rephrases 3] [--json FILE]

Each side runs in a process of its own against a scripted LLM of its own, from loading the trained model to the last
file, without logs. Rasa's recipe ends with an error at some tests that its test runner passes; those are found first,
one by one, and both sides get the others. Ours is then run on all tests as well.

A label error is a row whose completion is not what the LLM says to the row's very prompt, up to the order of slots.
The scripted LLM looks at the message and at what the assistant said last, so labels that do not fit the rest of the
prompt are not seen.
Needs rasa-pro.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from rasa_ft_ext import commands as language
from rasa_ft_ext.llm.scripted.server import scripted_llm

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "RASA_TELEMETRY_ENABLED": "false",
    "RASA_PRO_BETA_STUB_CUSTOM_ACTION": "true",
    "LOG_LEVEL": "CRITICAL",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.2, help="Seconds that the LLM takes to answer (0.2)")
    parser.add_argument("--num-rephrases", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32, help="Of ours; the recipe of Rasa has none (32)")
    parser.add_argument("--json", type=Path, help="Write the figures into this file as well")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--project", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tests", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        _as_child(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(args, Path(folder))
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train the example, sort out the tests that Rasa's recipe breaks at, and run both sides."""
    project = folder / "project"
    shutil.copytree(ROOT / "assistant_example", project)
    with scripted_llm(ROOT / "assistant_example/answers.yml") as llm:
        call("train", args, project, ROOT / "e2e_tests", llm.base_url)
        broken = call("find-broken", args, project, ROOT / "e2e_tests", llm.base_url)
    shared = folder / "e2e_tests"
    shutil.copytree(ROOT / "e2e_tests", shared)
    without(shared, set(broken["tests"]))
    return {
        "latency_s": args.latency,
        "num_rephrases": args.num_rephrases,
        "concurrency": args.concurrency,
        "tests_that_break_rasa": broken["tests"],
        "rasa": measured("rasa", args, project, shared),
        "ours": measured("ours", args, project, shared),
        "ours_on_all_tests": measured("ours", args, project, ROOT / "e2e_tests"),
    }


def measured(side: str, args: argparse.Namespace, project: Path, tests: Path) -> dict[str, Any]:
    with scripted_llm(ROOT / "assistant_example/answers.yml", latency=args.latency) as llm:
        figures = call(side, args, project, tests, llm.base_url)
        figures["calls"] = llm.stats()["calls"]
    with scripted_llm(ROOT / "assistant_example/answers.yml") as llm:
        figures["label_errors"] = sum(label_is_wrong(row, llm.base_url) for row in figures.pop("data"))
    return figures


def call(side: str, args: argparse.Namespace, project: Path, tests: Path, base_url: str) -> dict[str, Any]:
    """Run one side in a process of its own; the last line that it prints is its result."""
    command = [sys.executable, __file__, "--side", side, "--project", str(project), "--tests", str(tests)]
    command += ["--num-rephrases", str(args.num_rephrases), "--concurrency", str(args.concurrency)]
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT, "SCRIPTED_LLM_URL": base_url}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def without(tests: Path, broken: set[str]) -> None:
    """Take test cases, named `file::name`, out of a copy of the tests."""
    yaml = YAML()
    for path in [*tests.rglob("*.yml")]:
        content = yaml.load(path)
        if "test_cases" not in content:
            continue
        name = path.relative_to(tests).as_posix()
        content["test_cases"] = [case for case in content["test_cases"] if f"{name}::{case['test_case']}" not in broken]
        if content["test_cases"]:
            yaml.dump(content, path)
        else:
            path.unlink()


def label_is_wrong(row: dict[str, str], base_url: str) -> bool:
    """Whether the LLM says something else to the row's prompt than the row's completion."""
    body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": row["prompt"]}]}).encode()
    request = Request(f"{base_url}/chat/completions", body, {"Content-Type": "application/json"})
    try:
        with urlopen(request) as response:
            said = json.load(response)["choices"][0]["message"]["content"]
    except HTTPError:
        return True
    return sorted(map(str, language.read(said, "v2"))) != sorted(map(str, language.read(row["completion"], "v2")))


def show(figures: dict[str, Any]) -> None:
    table = Table(title=f"{figures['num_rephrases']} rephrasings, LLM latency {figures['latency_s']} s")
    table.add_column("")
    sides = ["rasa", "ours", "ours_on_all_tests"]
    for side in sides:
        table.add_column(side.replace("_", " "), justify="right")
    for name in ("tests", "wall_s", "cpu_s", "calls", "rows", "duplicate_rows", "label_errors"):
        table.add_row(name, *(str(figures[side][name]) for side in sides))
    console = Console()
    console.print(table)
    console.print(f"{len(figures['tests_that_break_rasa'])} tests break Rasa's recipe and are left out on the left.")
    console.print(f"Wall time, Rasa's : ours = {figures['rasa']['wall_s'] / figures['ours']['wall_s']:.1f}")


def _as_child(args: argparse.Namespace) -> None:
    from rasa.utils.log_utils import configure_structlog

    import rasa_ft_ext.rasa_pro.assistant  # noqa: F401  (imports Rasa, which neither side is to be charged with)

    configure_structlog(logging.CRITICAL)
    os.chdir(args.project)
    sys.path.insert(0, str(args.project))
    print(json.dumps(SIDES[args.side](args)))


def train(args: argparse.Namespace) -> dict[str, Any]:
    import rasa.api
    from rasa.core.config.configuration import Configuration

    Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml"))
    Configuration.initialise_sub_agents(None)
    rasa.api.train(
        domain="domain", config="config.yml", training_files=["data"], output="models", fixed_model_name="example"
    )
    return {}


def run_ours(args: argparse.Namespace) -> dict[str, Any]:
    from rasa_ft_ext import api

    with timed() as figures, tempfile.TemporaryDirectory() as out:
        summary = api.prepare_data(
            str(args.tests), out=out, num_rephrases=args.num_rephrases, concurrency=args.concurrency
        )
        data = rows(Path(out))
    del summary
    return {**figures, **counted(data), "tests": count_tests(args.tests)}


def run_rasa(args: argparse.Namespace) -> dict[str, Any]:
    from rasa.cli.llm_fine_tuning import FileStorageStrategy, StorageContext
    from rasa.llm_fine_tuning.annotation_module import annotate_e2e_tests
    from rasa.llm_fine_tuning.llm_data_preparation_module import convert_to_fine_tuning_data
    from rasa.llm_fine_tuning.paraphrasing_module import create_paraphrased_conversations
    from rasa.llm_fine_tuning.train_test_split_module import split_llm_fine_tuning_data

    with timed() as figures, tempfile.TemporaryDirectory() as out:
        runner, suite = rasa_runner(args.tests)
        storage = StorageContext(FileStorageStrategy(out))
        flows = asyncio.run(runner.agent.processor.get_flows())
        conversations = annotate_e2e_tests(runner, suite, storage)
        llm = {"provider": "self-hosted", "model": "scripted", "api_base": os.environ["SCRIPTED_LLM_URL"]}
        conversations, _ = asyncio.run(
            create_paraphrased_conversations(
                conversations, {"llm": llm}, args.num_rephrases, flows, runner.agent, storage
            )
        )
        examples = asyncio.run(convert_to_fine_tuning_data(conversations, storage, runner.agent))
        split_llm_fine_tuning_data(examples, 0.8, "instruction", storage, suite, str(args.tests))
        data = rows(Path(out))
    return {**figures, **counted(data), "tests": count_tests(args.tests)}


def find_broken(args: argparse.Namespace) -> dict[str, Any]:
    """The tests at which Rasa's annotation ends with an error."""
    from rasa.cli.llm_fine_tuning import FileStorageStrategy, StorageContext
    from rasa.e2e_test.e2e_test_case import TestSuite
    from rasa.llm_fine_tuning.annotation_module import annotate_e2e_tests

    runner, suite = rasa_runner(args.tests)
    broken = []
    for case in suite.test_cases:
        alone = TestSuite([case], suite.fixtures_per_test, suite.metadata, suite.stub_custom_actions)
        with tempfile.TemporaryDirectory() as out:
            try:
                annotate_e2e_tests(runner, alone, StorageContext(FileStorageStrategy(out)))
            except Exception:
                broken.append(f"{Path(case.file).relative_to(args.tests).as_posix()}::{case.name}")
    return {"tests": broken}


def rasa_runner(tests: Path) -> tuple[Any, Any]:
    from rasa.core.config.configuration import Configuration
    from rasa.e2e_test.e2e_test_runner import E2ETestRunner
    from rasa.e2e_test.utils.io import read_test_cases

    endpoints = Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml")).endpoints
    Configuration.initialise_sub_agents(None)
    endpoints.tracker_store = endpoints.lock_store = endpoints.event_broker = None
    return E2ETestRunner(model_path="models", endpoints=endpoints), read_test_cases(str(tests))


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    figures: dict[str, float] = {}
    wall, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    yield figures
    after = resource.getrusage(resource.RUSAGE_SELF)
    figures["wall_s"] = round(time.perf_counter() - wall, 1)
    figures["cpu_s"] = round(after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime, 1)


def rows(out: Path) -> list[dict[str, str]]:
    splits = out / "4_train_test_split/ft_splits"
    return [json.loads(line) for file in sorted(splits.glob("*.jsonl")) for line in file.read_text().splitlines()]


def counted(data: list[dict[str, str]]) -> dict[str, Any]:
    distinct = {(row["prompt"], row["completion"]) for row in data}
    return {"rows": len(data), "duplicate_rows": len(data) - len(distinct), "data": data}


def count_tests(tests: Path) -> int:
    yaml = YAML(typ="safe")
    return sum(len(yaml.load(path).get("test_cases") or []) for path in tests.rglob("*.yml"))


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "train": train,
    "find-broken": find_broken,
    "rasa": run_rasa,
    "ours": run_ours,
}

if __name__ == "__main__":
    main()
