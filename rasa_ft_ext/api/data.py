"""From E2E tests to training data: `prepare_data`, its stages one by one, and how long the prompts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext import prompt_stats as stats
from rasa_ft_ext.annotate import recorded
from rasa_ft_ext.annotate import stage as annotating
from rasa_ft_ext.annotate.stage import AnnotateSummary
from rasa_ft_ext.checks import stage as checking
from rasa_ft_ext.checks.findings import CheckReport
from rasa_ft_ext.checks.lengths import Context, context_length
from rasa_ft_ext.coverage import stage as covering
from rasa_ft_ext.coverage.stage import Checked
from rasa_ft_ext.coverage.suggest import Suggest, Suggester
from rasa_ft_ext.coverage_results import Thresholds
from rasa_ft_ext.dataset import stage as making
from rasa_ft_ext.dataset.stage import DatasetSummary
from rasa_ft_ext.dataset.student import read_student_prompt
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.pipeline import Place, Problems, at, outside_loop, recorded_llm, run_with
from rasa_ft_ext.preparation import Preparation
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.prompt_stats import PromptStats
from rasa_ft_ext.rephrase import stage as rephrasing
from rasa_ft_ext.rephrase.stage import RephraseSummary
from rasa_ft_ext.rephrase.variety import read_variety
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.report.page import REPORT, write_report
from rasa_ft_ext.results import PrepareDataSummary
from rasa_ft_ext.split import stage as splitting
from rasa_ft_ext.split.stage import NearDuplicates, OutputFormat
from rasa_ft_ext.split.summary import SplitSummary
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace


def prepare_data(
    tests: str | Path = "e2e_tests",
    *,
    project: str | Path = ".",
    model: str = "models",
    endpoints: str = "endpoints.yml",
    out: str | Path = "output",
    num_rephrases: int = 10,
    rephrase_config: str | Path | None = None,
    train_frac: float = 0.8,
    output_format: OutputFormat = "instruction",
    seed: int = 42,
    near_duplicates: NearDuplicates = "report",
    strict: bool = False,
    concurrency: int = 16,
    slot_values: SlotValues = "own",
    substitute_slots: int = 0,
    substitute_values: str | Path | None = None,
    noise: str | None = None,
    self_consistency: int = 1,
    student_prompt: str | Path | None = None,
    review: str | Path | None = None,
    annotations: str | Path | None = None,
    llm_api_base: str | None = None,
    require_coverage: bool = False,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> PrepareDataSummary:
    """Make fine-tuning data of E2E tests: annotate, rephrase, dataset and split in one go.

    Everything that can be wrong is looked at before the first call of an LLM. A run that was interrupted goes on after
    its last finished stage when it is called again with the same arguments.

    Args:
        tests: File or folder with the E2E tests, or `file::name of a test`. Not looked at with `annotations`.
        project: The assistant's folder; every relative path starts from it.
        model: The trained model; of a folder, the latest model in it.
        endpoints: The endpoints file, which may define model groups.
        out: The folder for the results.
        num_rephrases: Rephrasings to ask for, per user message: 0 to 49.
        rephrase_config: YAML file with the rephrasing's `prompt_template` and `llm`.
        train_frac: The part of the examples to train on, above 0 and at most 1.
        output_format: `instruction` (prompt and completion) or `conversational` (messages).
        seed: Seed of the split, and of substitution and noise.
        concurrency: How many conversations, and how many calls of an LLM, are under way at a time.
        slot_values: The label of a rephrasing that gives a slot another value: its `own` commands, those of the
            `original` message, or none (`strict`: the rephrasing is dropped).
        substitute_slots: Wordings with another slot value to try, per user message.
        substitute_values: YAML file with the values to take, `slot: [value, ...]`; by default those that the assistant
            allows or other tests use.
        noise: Which noisy copies are added, and of what share of the messages and rephrasings: `asr,typo,casing:0.2`.
        self_consistency: How often the assistant's LLM is asked about each message and rephrasing; the majority counts.
        student_prompt: The template to render the examples' prompts with: `compact`, `minimal` or a file; by default
            that of the assistant.
        review: The file with the decisions of `rasa-ft review`; by default `review.yaml` in `out`, if it is there.
        annotations: A folder of recorded annotations to start from; then neither Rasa nor a model is needed.
        llm_api_base: Where the LLM of the recorded annotations is, in place of the recorded address.
        require_coverage: Stop before the first rephrasing if the tests cover less than the recipe asks for.
        sub_agents: The folder of the assistant's sub-agents.
        remote_storage: Where Rasa fetches the model from: `aws`, `gcs`, `azure` or a class.
        force: Run every stage anew and replace what is in `out`.
        progress: Is told how far it is.

    Raises:
        ConfigError: something in the arguments or the files that they name cannot work.
        TestSuiteError: there are no tests, or they do not fit Rasa's schema.
        AssistantError: the assistant cannot be loaded, or not one test passes.
        MissingExtraError: Rasa is not installed, and there are no `annotations`.
        ForeignResultsError: `out` holds results of another run, and `force` is off.
        LLMUnavailableError: an LLM cannot be reached.
        CoverageError: the tests cover too little, with `require_coverage`.
        DataError: the data has faults, with `strict`.
    """
    preparation = Preparation(
        tests=tests,
        place=Place(Path(project), model, endpoints, sub_agents, remote_storage),
        out=out,
        num_rephrases=num_rephrases,
        rephrase_config=rephrase_config,
        train_frac=train_frac,
        output_format=output_format,
        seed=seed,
        near_duplicates=near_duplicates,
        strict=strict,
        concurrency=concurrency,
        slot_values=slot_values,
        substitute_slots=substitute_slots,
        substitute_values=substitute_values,
        noise=noise,
        self_consistency=self_consistency,
        student_prompt=student_prompt,
        review=review,
        annotations=annotations,
        llm_api_base=llm_api_base,
        require_coverage=require_coverage,
        force=force,
        progress=progress or Progress(),
    )
    return outside_loop(preparation.run)


def annotate(
    tests: str | Path = "e2e_tests",
    *,
    project: str | Path = ".",
    model: str = "models",
    endpoints: str = "endpoints.yml",
    out: str | Path = "output",
    concurrency: int = 16,
    annotations: str | Path | None = None,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> AnnotateSummary:
    """Run the E2E tests on the assistant and keep the prompt and the commands of every user message.

    The arguments and errors are those of `prepare_data`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)
    if annotations is not None:
        return recorded.copy_annotations(workspace, place.path(annotations))
    _check("annotate", concurrency=concurrency)

    def run() -> AnnotateSummary:
        suite = place.suite(tests)
        assistant = place.load(stubbed=any(file.stub_custom_actions for file in suite.files))
        work = annotating.annotate(
            workspace, assistant, suite.files, suite.tests, concurrency=concurrency, progress=progress
        )
        return run_with(assistant, work)

    return outside_loop(run)


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
    report = checking.check_data(workspace, context=context)
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


def rephrase(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    model: str | None = None,
    endpoints: str = "endpoints.yml",
    num_rephrases: int = 10,
    rephrase_config: str | Path | None = None,
    slot_values: SlotValues = "own",
    substitute_slots: int = 0,
    substitute_values: str | Path | None = None,
    noise: str | None = None,
    self_consistency: int = 1,
    seed: int = 42,
    llm_api_base: str | None = None,
    concurrency: int = 16,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> RephraseSummary:
    """Paraphrase the annotated user messages and keep the paraphrases that the LLM gives the same commands.

    With a `model` the assistant itself is asked; without one, its prompts are rendered from the annotations in `out`
    and sent to the LLM that they name. The other arguments and the errors are those of `prepare_data`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)

    def run() -> RephraseSummary:
        problems = Problems("rephrase")
        problems.options(concurrency=concurrency, num_rephrases=num_rephrases, slot_values=slot_values)
        variety = problems.attempt(
            lambda: read_variety(
                place.project,
                substitute_slots=substitute_slots,
                substitute_values=substitute_values,
                noise=noise,
                self_consistency=self_consistency,
                seed=seed,
            )
        )
        problems.report()
        assert variety is not None
        workspace.fingerprint(ANNOTATIONS)
        card = workspace.card()
        teacher = recorded_llm(card, llm_api_base) if model is None else None
        config = place.rephraser(rephrase_config, at(card.llm, llm_api_base))
        assistant = place.open_for(workspace, teacher, concurrency)
        llm = LiteLLM(config.llm, concurrency=concurrency)
        work = rephrasing.rephrase(
            workspace,
            assistant,
            llm,
            num_rephrases=num_rephrases,
            template=config.template,
            slot_values=slot_values,
            variety=variety,
            concurrency=concurrency,
            notes=config.notes,
            progress=progress or Progress(),
        )
        return run_with(assistant, work, llm)

    return outside_loop(run)


def dataset(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    model: str | None = None,
    endpoints: str = "endpoints.yml",
    student_prompt: str | Path | None = None,
    review: str | Path | None = None,
    concurrency: int = 16,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Recombine the passing paraphrases into new conversations and make one example of every user message.

    With a `model` the assistant runs those conversations again whose course changes; without one, all prompts are
    rendered from the annotations in `out`. The other arguments and the errors are those of `prepare_data`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)

    def run() -> DatasetSummary:
        _check("dataset", concurrency=concurrency)
        student = read_student_prompt(student_prompt, place.project) if student_prompt else None
        workspace.fingerprint(ANNOTATIONS)
        assistant = place.open_for(workspace, None, concurrency)
        work = making.dataset(
            workspace,
            assistant,
            student=student,
            review=place.path(review) if review is not None else None,
            concurrency=concurrency,
            progress=progress,
        )
        return run_with(assistant, work)

    return outside_loop(run)


def split(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    train_frac: float = 0.8,
    output_format: OutputFormat = "instruction",
    seed: int = 42,
    near_duplicates: NearDuplicates = "report",
    strict: bool = False,
    review: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SplitSummary:
    """Divide the examples in `out` into training and validation data, by test case, and write `report.html`.

    The arguments and errors are those of `prepare_data`.
    """
    workspace = Workspace(Path(project) / out, force=force)
    summary = splitting.split(
        workspace,
        train_frac=train_frac,
        seed=seed,
        output_format=output_format,
        near_duplicates=near_duplicates,
        strict=strict,
        review=Path(project) / review if review is not None else None,
        progress=progress,
    )
    write_report(workspace.root)
    return summary


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


def _check(where: str, *, concurrency: int) -> None:
    problems = Problems(where)
    problems.options(concurrency=concurrency)
    problems.report()
