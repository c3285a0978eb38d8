"""From E2E tests to training data: `prepare_data`, and its stages one by one."""

from __future__ import annotations

from pathlib import Path

from rasa_ft_ext.annotate import recorded
from rasa_ft_ext.annotate import stage as annotating
from rasa_ft_ext.annotate.stage import AnnotateSummary
from rasa_ft_ext.dataset import stage as making
from rasa_ft_ext.dataset.stage import DatasetSummary
from rasa_ft_ext.dataset.student import read_student_prompt
from rasa_ft_ext.estimation import Rephrasing
from rasa_ft_ext.forecast import Forecast
from rasa_ft_ext.llm.estimate import Confirm, Estimate
from rasa_ft_ext.llm.opening import open_calls
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.pipeline import Place, Problems, at, closed_on_error, outside_loop, recorded_llm, run_with
from rasa_ft_ext.preparation import Preparation
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase import stage as rephrasing
from rasa_ft_ext.rephrase.stage import RephraseSummary
from rasa_ft_ext.rephrase.variety import read_variety
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.report.page import refresh_report
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
    concurrency: int | None = None,
    calls: CallOptions | None = None,
    slot_values: SlotValues = "own",
    substitute_slots: int = 0,
    substitute_values: str | Path | None = None,
    noise: str | None = None,
    self_consistency: int = 1,
    student_prompt: str | Path | None = None,
    redact: bool = False,
    review: str | Path | None = None,
    annotations: str | Path | None = None,
    llm_api_base: str | None = None,
    require_coverage: bool = False,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    confirm: Confirm | None = None,
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
        concurrency: How many conversations, and how many calls of an LLM, are under way at most: the `concurrency` of
            `calls` by itself.
        calls: How calls are made, where their answers are kept, what they may cost, and who does the work.
        slot_values: The label of a rephrasing that gives a slot another value: its `own` commands, those of the
            `original` message, or none (`strict`: the rephrasing is dropped).
        substitute_slots: Wordings with another slot value to try, per user message.
        substitute_values: YAML file with the values to take, `slot: [value, ...]`; by default those that the assistant
            allows or other tests use.
        noise: Which noisy copies are added, and of what share of the messages and rephrasings: `asr,typo,casing:0.2`.
        self_consistency: How often the assistant's LLM is asked about each message and rephrasing; the majority counts.
        student_prompt: The template to render the examples' prompts with: `compact`, `minimal` or a file; by default
            that of the assistant.
        redact: Mask e-mail addresses, phone, card and IBAN numbers in the examples, prompt and label alike.
        review: The file with the decisions of `rasa-ft review`; by default `review.yaml` in `out`, if it is there.
        annotations: A folder of recorded annotations to start from; then neither Rasa nor a model is needed.
        llm_api_base: Where the LLM of the recorded annotations is, in place of the recorded address.
        require_coverage: Stop before the first rephrasing if the tests cover less than the recipe asks for.
        sub_agents: The folder of the assistant's sub-agents.
        remote_storage: Where Rasa fetches the model from: `aws`, `gcs`, `azure` or a class.
        force: Run every stage anew and replace what is in `out`.
        confirm: Is shown what the calls will cost at most before the first of them; what it raises ends the run, of
            which nothing is written then.
        progress: Is told how far it is.

    Raises:
        ConfigError: something in the arguments or the files that they name cannot work.
        TestSuiteError: there are no tests, or they do not fit Rasa's schema.
        AssistantError: the assistant cannot be loaded, or not one test passes.
        MissingExtraError: Rasa is not installed, and there are no `annotations`.
        ForeignResultsError: `out` holds results of another run, and `force` is off.
        LLMUnavailableError: an LLM cannot be reached.
        BudgetError: the calls would cost more than the `max_cost` of `calls`.
        CoverageError: the tests cover too little, with `require_coverage`.
        DataError: the data has faults, with `strict`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    preparation = Preparation(
        tests=tests,
        place=place,
        out=out,
        num_rephrases=num_rephrases,
        rephrase_config=rephrase_config,
        train_frac=train_frac,
        output_format=output_format,
        seed=seed,
        near_duplicates=near_duplicates,
        strict=strict,
        calls=place.call_options(calls, concurrency),
        slot_values=slot_values,
        substitute_slots=substitute_slots,
        substitute_values=substitute_values,
        noise=noise,
        self_consistency=self_consistency,
        student_prompt=student_prompt,
        redact=redact,
        review=review,
        annotations=annotations,
        llm_api_base=llm_api_base,
        require_coverage=require_coverage,
        force=force,
        confirm=confirm,
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
    concurrency: int | None = None,
    calls: CallOptions | None = None,
    annotations: str | Path | None = None,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    confirm: Confirm | None = None,
    progress: Progress | None = None,
) -> AnnotateSummary:
    """Run the E2E tests on the assistant and keep the prompt and the commands of every user message.

    The arguments and errors are those of `prepare_data`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)
    if annotations is not None:
        if confirm is not None:
            confirm(Estimate())
        return recorded.copy_annotations(workspace, place.path(annotations))
    options = place.call_options(calls, concurrency)
    _check("annotate", options)

    def run() -> AnnotateSummary:
        suite = place.suite(tests)
        with open_calls(options, workspace.root, progress or Progress()) as paid:
            stubbed = any(file.stub_custom_actions for file in suite.files)
            assistant = place.open_shared(paid, stubbed=stubbed, progress=progress)
            with closed_on_error(assistant):
                Forecast(workspace, paid, confirm).of_tests(suite.files, suite.tests, assistant)
            work = annotating.annotate(
                workspace, assistant, suite.files, suite.tests, concurrency=options.concurrency, progress=progress
            )
            return run_with(assistant, work)

    return outside_loop(run)


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
    concurrency: int | None = None,
    calls: CallOptions | None = None,
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    confirm: Confirm | None = None,
    progress: Progress | None = None,
) -> RephraseSummary:
    """Paraphrase the annotated user messages and keep the paraphrases that the LLM gives the same commands.

    With a `model` the assistant itself is asked; without one, its prompts are rendered from the annotations in `out`
    and sent to the LLM that they name. The other arguments and the errors are those of `prepare_data`.
    """
    place = Place(Path(project), model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)
    options = place.call_options(calls, concurrency)

    def run() -> RephraseSummary:
        problems = Problems("rephrase")
        problems.options(calls=options, num_rephrases=num_rephrases, slot_values=slot_values)
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
        with open_calls(options, workspace.root, progress or Progress()) as paid:
            paid.ledger.stage = "validate"
            batch = options.mode == "batch"
            asked = Rephrasing(card, config, num_rephrases, slot_values, variety, paid.ledger.prices, batch=batch)
            Forecast(workspace, paid, confirm).of_annotations(workspace.folder(ANNOTATIONS), asked)
            assistant = place.open_for(workspace, paid, teacher, progress=progress)
            with closed_on_error(assistant):
                llm = paid.llm(config.llm, "rephrase")
            work = rephrasing.rephrase(
                workspace,
                assistant,
                llm,
                num_rephrases=num_rephrases,
                template=config.template,
                slot_values=slot_values,
                variety=variety,
                concurrency=options.concurrency,
                in_flight=options.in_flight,
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
    redact: bool = False,
    review: str | Path | None = None,
    concurrency: int | None = None,
    calls: CallOptions | None = None,
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
    options = place.call_options(calls, concurrency)

    def run() -> DatasetSummary:
        _check("dataset", options)
        student = read_student_prompt(student_prompt, place.project) if student_prompt else None
        workspace.fingerprint(ANNOTATIONS)
        with open_calls(options, workspace.root, progress or Progress()) as unpaid:
            assistant = place.open_for(workspace, unpaid, progress=progress)
            work = making.dataset(
                workspace,
                assistant,
                student=student,
                redact=redact,
                review=place.path(review) if review is not None else None,
                concurrency=options.concurrency,
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
    refresh_report(workspace.root)
    return summary


def _check(where: str, calls: CallOptions) -> None:
    problems = Problems(where)
    problems.options(calls=calls)
    problems.report()
