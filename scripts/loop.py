"""The whole loop on this machine, without a GPU and without a download: data, training, vLLM, evaluation, swap.

    python scripts/loop.py --vllm .venv-vllm/bin/python [--work loop] [--json FILE]

All of it is real: Rasa Pro runs the example assistant in this process, a tiny model with random weights is trained on
what comes out, vLLM serves it on the CPU, and in the end the assistant itself calls it. Only the teacher is a script
that answers from a file. The steps are those of `scripts/loop.sh`, by the Python API, so that no licence is needed.

The tiny model learns the training tests by heart and knows no language. So it misses the threshold on the validation
tests, the evaluation says so, and `connect` refuses. The script shows that, and then goes on with `force`, as nobody
should with an assistant that people talk to. Exit code 1 if a model this small has not even learned the training tests.
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
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasa_ft_ext.evaluation import Evaluation, Side

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "assistant_example"
MODEL = "travel-student"
BASE: dict[str, Any] = {"hidden": 160, "layers": 3, "heads": 5, "vocab": 2048}
LEARNED = 0.95  # the share of the training tests that must pass before and after the swap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", metavar="PYTHON", help="Python of an environment with vLLM; by default it is found.")
    parser.add_argument("--work", type=Path, default=Path("loop"), help="Folder for all results, made anew (loop).")
    parser.add_argument("--num-rephrases", type=int, default=5, help="Rephrasings to ask for, per user message (5).")
    parser.add_argument("--student-prompt", default="compact", help="compact, minimal or a file (compact).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file.")
    args = parser.parse_args()
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", RASA_TELEMETRY_ENABLED="false", LOG_LEVEL="CRITICAL")
    from rasa_ft_ext.errors import RasaFtError

    quieten_rasa()
    json_file = args.json.resolve() if args.json else None
    try:
        figures = loop(args.work.resolve(), args.vllm, args.num_rephrases, args.student_prompt)
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        return error.returncode
    except RasaFtError as error:
        print(f"The loop failed: {error}", file=sys.stderr)
        return 1
    show(figures)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    learned = min(figures["pass_rates"]["student"]["train"], figures["pass_rates"]["after the swap"]["train"])
    return 0 if learned >= LEARNED else 1


def loop(work: Path, vllm: str | None, num_rephrases: int, student_prompt: str) -> dict[str, Any]:
    """Go round once, and return the figures."""
    from rasa_ft_ext import api
    from rasa_ft_ext.llm.scripted.server import scripted_llm
    from rasa_ft_ext.model_server.vllm import VllmServer
    from rasa_ft_ext.serve.model import find_model
    from rasa_ft_ext.serve.stage import settings_of

    started = time.perf_counter()
    project, output, model = prepare(work)
    vllm = str(Path(vllm).absolute()) if vllm else None
    os.chdir(project)  # the assistant's actions read their files from here
    with scripted_llm(EXAMPLE / "answers.yml") as teacher:
        os.environ["SCRIPTED_LLM_URL"] = teacher.base_url
        say("Training the assistant with the teacher, and preparing the data")
        train_assistant(project)
        data = api.prepare_data(
            ROOT / "e2e_tests",
            project=project,
            out=output,
            num_rephrases=num_rephrases,
            student_prompt=student_prompt,
        )
        say(f"Training a tiny model on {data.num_train_data_points} examples")
        train_model(output, model)
        settings = settings_of(find_model(str(model)), name=MODEL, port=0)
        with VllmServer(settings, vllm=vllm) as server:
            say(f"vLLM {server.vllm.version} serves it at {server.base_url}: evaluating")
            evaluation = api.evaluate(
                output,
                api_base=server.base_url,
                model=MODEL,
                project=project,
                model_folder=model,
                against_teacher=True,
            )
            say(evaluation.verdict.sentence)
            refusal = connect(output, project, server.base_url)
            say("Training the assistant with the swapped configuration, and running its E2E tests again")
            train_assistant(project)
            after = passes(project, output)
            found = api.doctor(output, project=project, model_folder=model)
    return {
        **figures_of(evaluation, after),
        "refused_by_connect": refusal,
        "doctor": [finding.model_dump(mode="json") for finding in found.findings if finding.status != "ok"],
        "seconds": round(time.perf_counter() - started, 1),
    }


def prepare(work: Path) -> tuple[Path, Path, Path]:
    """Make the folder anew, with a copy of the assistant; return where the assistant, the data and the model are.

    Raises:
        RasaFtError: the folder holds something else than an earlier loop.
    """
    from rasa_ft_ext.errors import RasaFtError

    if work.exists() and not (work / "assistant/config.yml").is_file() and (work.is_file() or any(work.iterdir())):
        raise RasaFtError(f"{work} holds something else than an earlier loop. Give another folder with --work.")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(EXAMPLE, work / "assistant", ignore=shutil.ignore_patterns("annotations", "models", "__pycache__"))
    tempfile.tempdir = str(work)
    return work / "assistant", work / "output", work / "model"


def figures_of(evaluation: Evaluation, after: dict[Side, float]) -> dict[str, Any]:
    """What was measured before and after the swap, by side."""
    return {
        "command_accuracy": {side: part.exact_match.value for side, part in evaluation.commands.items()},
        "tests": {side: part.tests for side, part in evaluation.conversations.items()},
        "pass_rates": {
            "teacher": rates(evaluation.teacher),
            "student": rates(evaluation.conversations),
            "after the swap": after,
        },
        "parity": evaluation.parity.model_dump(mode="json") if evaluation.parity else None,
        "seconds_p50": {side: part.seconds_p50 for side, part in evaluation.commands.items()},
        "verdict": evaluation.verdict.model_dump(mode="json"),
    }


def quieten_rasa() -> None:
    """Keep Rasa from writing what it does, which is thousands of lines."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warnings.filterwarnings("ignore", module=r"rasa\.")


def train_assistant(project: Path) -> None:
    """Train the assistant with Rasa's library, in a process of its own, as `rasa train` would."""
    code = (
        "from pathlib import Path; import rasa.api; from rasa.core.config.configuration import Configuration; "
        "Configuration.initialise_endpoints(endpoints_path=Path('endpoints.yml')); "
        "Configuration.initialise_sub_agents(None); "
        "rasa.api.train(domain='domain', config='config.yml', training_files=['data'], output='models')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, "rasa.api.train")


def train_model(output: Path, model: Path) -> None:
    """Make the base and train it by the command that a user would type."""
    from rasa_ft_ext.workspace import SPLIT
    from scripts.make_tiny_base import make_tiny_base

    base = model.with_name("base")
    make_tiny_base(output / SPLIT / "ft_splits/train.jsonl", base, **BASE)
    arguments = ["train", str(output), "--base-model", str(base), "--settings", str(ROOT / "scripts/loop.yml")]
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", *arguments, "--out-model", str(model)]
    subprocess.run(command, check=True)


def connect(output: Path, project: Path, api_base: str) -> str | None:
    """Swap the assistant to the model, by force where it is refused; return why it was."""
    from rasa_ft_ext import api
    from rasa_ft_ext.errors import ConnectError

    refusal = None
    try:
        api.connect(output, model=MODEL, api_base=api_base, project=project)
    except ConnectError as error:
        refusal = str(error)
        say(f"connect refuses, as it should:\n{refusal}\nGoing on by force.")
        api.connect(output, model=MODEL, api_base=api_base, project=project, force=True)
    return refusal


def passes(project: Path, output: Path) -> dict[Side, float]:
    """The pass rates of the E2E tests with the assistant as it is configured now, by Rasa's own client."""
    from rasa_ft_ext.evaluate.conversations import run_conversations
    from rasa_ft_ext.pipeline import Place, outside_loop, run_with
    from rasa_ft_ext.workspace import Workspace

    place = Place(project, "models")
    suites = place.sides(Workspace(output))
    stubbed = any(file.stub_custom_actions for suite in suites.values() for file in suite.files)
    assistant = place.load(stubbed=stubbed)
    tests = {side: suite.tests for side, suite in suites.items()}
    outcomes = outside_loop(lambda: run_with(assistant, run_conversations(assistant, tests)))
    return {
        side: sum(outcome.passed for outcome in outcomes if outcome.side == side) / len(suites[side].tests)
        for side in suites
    }


def rates(of: Mapping[Side, Any]) -> dict[Side, float]:
    return {side: part.rate.value for side, part in of.items()}


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def show(figures: dict[str, Any]) -> None:
    """Print the table that all this is about."""
    print(f"\n{'':32}{'train':>10}{'validation':>12}")
    lines = {"command accuracy": figures["command_accuracy"], **figures["pass_rates"]}
    for name, values in lines.items():
        title = name if name == "command accuracy" else f"E2E tests passed, {name}"
        print(f"{title:32}{values['train']:>10.1%}{values['validation']:>12.1%}")
    print(f"{'E2E tests':32}{figures['tests']['train']:>10}{figures['tests']['validation']:>12}")
    print(f"\n{figures['seconds']:.0f} s in all.")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
