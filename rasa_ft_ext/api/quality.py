"""Is the data worth learning from: coverage, the checks, the page with all of it, and how long the prompts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext import prompt_stats as stats
from rasa_ft_ext.checks import stage as checking
from rasa_ft_ext.checks.findings import CheckReport
from rasa_ft_ext.checks.lengths import Context, context_length
from rasa_ft_ext.coverage import stage as covering
from rasa_ft_ext.coverage.stage import Checked
from rasa_ft_ext.coverage.suggest import Suggest, Suggester
from rasa_ft_ext.coverage_results import Thresholds
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.pipeline import Place, at, outside_loop
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.prompt_stats import PromptStats
from rasa_ft_ext.report.page import REPORT, write_report
from rasa_ft_ext.split import stage as splitting
from rasa_ft_ext.split.stage import NearDuplicates
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace


def check_coverage(
    output: str | Path = "output",
    *,
    project: str | Path = ".",
    thresholds: Thresholds | None = None,
    suggest: Suggest | None = None,
    rephrase_config: str | Path | None = None,
    endpoints: str = "endpoints.yml",
    llm_api_base: str | None = None,
) -> Checked:
    """Say whether the E2E tests of a finished run cover the assistant well enough to learn from.

    Args:
        output: The output folder with the annotations, or the folder of a coverage report of `rasa test e2e`.
        project: The folder that relative paths start from.
        thresholds: What must be reached; None: what the recipe asks for (`coverage_results.GATE`).
        suggest: Write E2E tests for what is missing: `drafts`, or `llm` for messages worded by an LLM.
        rephrase_config: A file with that LLM, as `rephrase` has it; by default as there.
        endpoints: The endpoints file with the model groups that it may name.
        llm_api_base: Where the LLM of recorded annotations is, in place of the recorded address.

    Raises:
        ConfigError: a threshold means nothing, or something cannot be told by what is there.
        WorkspaceError: there is nothing to judge, or it cannot be read.
    """
    folder = Path(project) / output
    recorded_with = None
    if suggest == "llm" and (folder / ANNOTATIONS).is_dir():
        recorded_with = at(Workspace(folder).card().llm, llm_api_base)
    suggester = suggester_for(
        suggest,
        project=project,
        rephrase_config=rephrase_config,
        endpoints=endpoints,
        assistant_llm=recorded_with,
    )
    return outside_loop(lambda: covering.check_coverage(folder, thresholds, suggester))


def suggester_for(
    suggest: Suggest | None,
    *,
    project: str | Path = ".",
    rephrase_config: str | Path | None = None,
    endpoints: str = "endpoints.yml",
    assistant_llm: Mapping[str, Any] | None = None,
) -> Suggester | None:
    """What drafts tests as `check_coverage` is told to; None where it is to draft none.

    Raises:
        ConfigError: the LLM's configuration cannot work, or `suggest` is something else.
    """
    if suggest is None or suggest == "drafts":
        return Suggester() if suggest else None
    if suggest != "llm":
        raise ConfigError("check-coverage", [f"suggest is {suggest!r}; it must be drafts or llm."])
    config = Place(Path(project), None, endpoints).rephraser(rephrase_config, assistant_llm)
    return Suggester(LiteLLM(config.llm), notes=config.notes)


def check_data(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    near_duplicates: NearDuplicates = "report",
    tokenizer: str | None = None,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Say what is wrong with the rows of training data in `out`, and keep it there for the report.

    The rows themselves are changed by `near_duplicates` only.

    Args:
        out: The folder with the examples, and with the split if there is one.
        project: The folder that relative paths start from.
        near_duplicates: With `drop` or `group`, split again first, with the other options that the split was made with.
        tokenizer: A base model's folder or tokenizer, or its name on the hub; by default `cl100k_base`.
        max_length: The tokens that a row may have; by default what the base model's `config.json` says. Without this
            and `tokenizer`, no tokens are counted.
        progress: Is told how far it is.

    Raises:
        ConfigError: the tokenizer cannot be loaded, or `max_length` is not known.
        WorkspaceError: there is no dataset, or its stages do not belong together.
    """
    context = _context(tokenizer, max_length, Path(project))
    workspace = Workspace(Path(project) / out)
    if near_duplicates != "report":
        splitting.split_again(workspace, near_duplicates, progress=progress)
        write_report(workspace.root)
    report = checking.check_data(workspace, context=context, progress=progress)
    try:
        checking.keep(workspace, report)
        if (workspace.root / REPORT).is_file():
            write_report(workspace.root)
    except WorkspaceError as error:
        (progress or Progress()).note(f"The findings are not kept for `rasa-ft report`: {error}")
    return report


def _context(tokenizer: str | None, max_length: int | None, project: Path) -> Context | None:
    """What the rows must fit into; None where it was not asked for."""
    if tokenizer is None and max_length is None:
        return None
    if max_length is not None and max_length < 1:
        raise ConfigError("check-data", [f"max_length is {max_length}; it must be 1 or more."])
    tokens = max_length or context_length(project / (tokenizer or ""))
    found = stats.load_tokenizer(tokenizer, project)
    return Context(found.name, found.encode, tokens)


def report(out: str | Path = "output", *, project: str | Path = ".") -> Path:
    """Write `report.html` anew from what is in `out`: the data, the checks, an evaluation, what users say.

    Args:
        out: The folder with the results of the other functions, or of a coverage report of `rasa test e2e`.
        project: The folder that relative paths start from.

    Returns:
        Where the page is.

    Raises:
        WorkspaceError: there is nothing to show, or the folder cannot be written.
    """
    return write_report(Path(project) / out)


def prompt_stats(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    templates: Sequence[str] = (),
    tokenizer: str | None = None,
) -> PromptStats:
    """Measure the prompts of the recorded messages: their tokens, and what a prefix cache can use of them again.

    Args:
        out: The folder with the annotations.
        project: The folder that relative paths start from.
        templates: What to measure: `data`, `assistant`, `compact`, `minimal`, a generator of Rasa's, or a file. By
            default all but files.
        tokenizer: A Hugging Face tokenizer's folder, or its name on the hub; by default `cl100k_base`.

    Raises:
        RasaFtError: something cannot work; says what to do.
    """
    return stats.prompt_stats(
        Workspace(Path(project) / out), templates=templates, tokenizer=tokenizer, project=Path(project)
    )
