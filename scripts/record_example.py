"""Record the example's annotations from the real assistant: `assistant_example/annotations/`.

    python scripts/record_example.py [--out assistant_example/annotations]

Trains the example in a temporary folder, runs its E2E tests against the scripted LLM, and writes what
`rasa-ft annotate` writes, less the manifest and the timings. Needs rasa-pro. Run it when the assistant, its tests or
its answers have changed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rasa_ft_ext.annotate.stage import AnnotateSummary, annotate
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import ANNOTATIONS, MANIFEST, TIMINGS, Workspace

ROOT = Path(__file__).parent.parent
# The address that is recorded: the port of the server is another one each time.
ADDRESS = "http://127.0.0.1:8123/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "assistant_example" / "annotations")
    args = parser.parse_args()
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", RASA_TELEMETRY_ENABLED="false", LOG_LEVEL="CRITICAL")
    summary = record(args.out.resolve())
    print(f"{summary.passed} of {summary.tests} tests pass, {summary.annotated} annotated user steps: {args.out}")
    for failed in summary.failed:
        print(f"  failed: {failed.id}: {failed.reason}")
    sys.exit(1 if summary.failed else 0)


def record(out: Path) -> AnnotateSummary:
    """Record into `out`, whose former content is replaced."""
    with tempfile.TemporaryDirectory() as folder, scripted_llm(ROOT / "assistant_example" / "answers.yml") as llm:
        project = Path(folder) / "project"
        shutil.copytree(ROOT / "assistant_example", project, ignore=shutil.ignore_patterns("annotations", "models"))
        os.environ["SCRIPTED_LLM_URL"] = llm.base_url
        train(project)
        workspace = Workspace(Path(folder) / "output")
        summary = run(project, workspace)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(workspace.folder(ANNOTATIONS), out, ignore=shutil.ignore_patterns(MANIFEST, TIMINGS))
        card = out / "assistant.json"
        card.write_text(card.read_text(encoding="utf-8").replace(llm.base_url, ADDRESS), encoding="utf-8")
    return summary


def train(project: Path) -> None:
    """Train the assistant in its own folder, with Rasa's library."""
    import rasa.api
    from rasa.core.config.configuration import Configuration

    os.chdir(project)
    sys.path.insert(0, str(project))
    Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml"))
    Configuration.initialise_sub_agents(None)
    rasa.api.train(
        domain="domain", config="config.yml", training_files=["data"], output="models", fixed_model_name="example"
    )


def run(project: Path, workspace: Workspace) -> AnnotateSummary:
    from rasa_ft_ext.rasa_pro.assistant import load
    from rasa_ft_ext.rasa_pro.suite import read_suite

    suite = read_suite(ROOT / "e2e_tests")
    assistant = load(project, stubbed=any(test.stubs for test in suite.tests))
    try:
        return asyncio.run(annotate(workspace, assistant, suite.files, suite.tests))
    finally:
        asyncio.run(assistant.close())


if __name__ == "__main__":
    main()
