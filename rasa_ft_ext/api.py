"""The stages as functions: what the command line does, for those who program.

    from rasa_ft_ext import prepare_data

    summary = prepare_data("e2e_tests", project="my_assistant", num_rephrases=5)
    print(summary.num_train_data_points)

Keywords are the flags of the command line, with the same defaults; relative paths start from `project`. What comes back
is a frozen record of what was made; the results themselves are in `out`, where a finished stage is not run again. The
licence of Rasa is not looked at here: the commands do that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rasa_ft_ext import prompt_stats as stats
from rasa_ft_ext.annotate import recorded
from rasa_ft_ext.annotate import stage as annotating
from rasa_ft_ext.annotate.stage import AnnotateSummary
from rasa_ft_ext.dataset import stage as making
from rasa_ft_ext.dataset.stage import DatasetSummary
from rasa_ft_ext.dataset.student import read_student_prompt
from rasa_ft_ext.errors import ConfigError, MissingExtraError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.pipeline import Place, Problems, at, has_rasa, outside_loop, recorded_llm, run_with
from rasa_ft_ext.preparation import Preparation
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.prompt_stats import PromptStats
from rasa_ft_ext.rephrase import stage as rephrasing
from rasa_ft_ext.rephrase.stage import RephraseSummary
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.results import PrepareDataSummary
from rasa_ft_ext.split import stage as splitting
from rasa_ft_ext.split.stage import OutputFormat
from rasa_ft_ext.split.summary import SplitSummary
from rasa_ft_ext.workspace import ANNOTATIONS, SPLIT, Workspace

if TYPE_CHECKING:
    from rasa_ft_ext.connect.settings import Style
    from rasa_ft_ext.connect.stage import Confirm, ConnectSummary, RollbackSummary
    from rasa_ft_ext.doctor.findings import Diagnosis
    from rasa_ft_ext.evaluation import Evaluation, Part
    from rasa_ft_ext.model_server.base import ModelServer
    from rasa_ft_ext.monitor.stage import MonitorSummary
    from rasa_ft_ext.rasa_pro.tracker_store import TrackerStoreConversations
    from rasa_ft_ext.train.preparation import Rows
    from rasa_ft_ext.train.settings import TrainSettings
    from rasa_ft_ext.train.summary import TrainSummary


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
    concurrency: int = 16,
    slot_values: SlotValues = "own",
    student_prompt: str | Path | None = None,
    annotations: str | Path | None = None,
    llm_api_base: str | None = None,
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
        seed: Seed of the split.
        concurrency: How many conversations, and how many calls of an LLM, are under way at a time.
        slot_values: The label of a rephrasing that gives a slot another value: its `own` commands, those of the
            `original` message, or none (`strict`: the rephrasing is dropped).
        student_prompt: The template to render the examples' prompts with: `compact`, `minimal` or a file; by default
            that of the assistant.
        annotations: A folder of recorded annotations to start from; then neither Rasa nor a model is needed.
        llm_api_base: Where the LLM of the recorded annotations is, in place of the recorded address.
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
        concurrency=concurrency,
        slot_values=slot_values,
        student_prompt=student_prompt,
        annotations=annotations,
        llm_api_base=llm_api_base,
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


def rephrase(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    model: str | None = None,
    endpoints: str = "endpoints.yml",
    num_rephrases: int = 10,
    rephrase_config: str | Path | None = None,
    slot_values: SlotValues = "own",
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
        _check("rephrase", concurrency=concurrency, num_rephrases=num_rephrases, slot_values=slot_values)
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
        work = making.dataset(workspace, assistant, student=student, concurrency=concurrency, progress=progress)
        return run_with(assistant, work)

    return outside_loop(run)


def split(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    train_frac: float = 0.8,
    output_format: OutputFormat = "instruction",
    seed: int = 42,
    force: bool = False,
    progress: Progress | None = None,
) -> SplitSummary:
    """Divide the examples in `out` into training and validation data, by test case.

    The arguments and errors are those of `prepare_data`.
    """
    workspace = Workspace(Path(project) / out, force=force)
    return splitting.split(workspace, train_frac=train_frac, seed=seed, output_format=output_format, progress=progress)


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


def train(
    rows: str | Path | tuple[str | Path, str | Path | None] = "output",
    *,
    settings: TrainSettings,
    out: str | Path = "finetuned_model",
    project: str | Path = ".",
    final: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> TrainSummary:
    """Fine-tune a base model.

    Args:
        rows: The folder of `prepare_data`, or the files to train on and to validate on.
        settings: How it is trained; see `rasa_ft_ext.train.settings`.
        out: Folder that the model is written to.
        project: The folder that relative paths start from.
        final: Train on the validation rows as well.
        force: Start anew and replace a model that is there.
        progress: Is told how far it is.

    Raises:
        RasaFtError: something cannot work; says what to do.
    """
    from rasa_ft_ext.train.libraries import require_libraries

    require_libraries()
    from rasa_ft_ext.train import stage

    if isinstance(rows, tuple):
        first, second = rows
        given: Rows = (Path(project, first), Path(project, second) if second is not None else None)
    else:
        given = Path(project, rows)
    return stage.train(given, out=Path(project, out), settings=settings, final=final, force=force, progress=progress)


def serve(
    model: str | Path,
    *,
    engine: Literal["vllm", "transformers"] = "vllm",
    vllm: str | None = None,
    lora: str | None = None,
    served_model_name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    dtype: str | None = None,
    max_model_len: int | None = None,
    prefix_caching: bool = True,
    api_key_env: str | None = None,
    vllm_args: Sequence[str] = (),
    timeout: float = 600.0,
    project: str | Path = ".",
    progress: Progress | None = None,
) -> ModelServer:
    """Make a server of a model; as a context manager it starts, and runs for as long as the block.

    Args:
        model: The folder of `train`, that of the adapter in it, any model's folder, or a model's name on the hub.
        engine: What serves it.
        vllm: A Python that has vLLM, or its `vllm` command; by default the one on the PATH.
        lora: The folder of an adapter for the model.
        served_model_name: What callers give as `model`; by default the training's name, or the folder's.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        dtype: The type of the weights; by default that of the files.
        max_model_len: Most tokens of prompt and answer together; by default twice what the training's data needs.
        prefix_caching: Whether the common beginning of prompts is computed once.
        api_key_env: The environment variable with the key that callers must show; by default `VLLM_API_KEY`, if set.
        vllm_args: More arguments for vLLM.
        timeout: Seconds from the start to the first answer.
        project: The folder that relative paths start from.
        progress: Is told what a person should know.

    Raises:
        ConfigError: the model cannot be served; starting nothing.
        ServeError: there is no vLLM; or, as it starts, it dies or does not answer in time.
    """
    from rasa_ft_ext.serve import stage
    from rasa_ft_ext.serve.model import find_model

    found = find_model(str(model), lora=lora, project=Path(project))
    settings = stage.settings_of(
        found,
        name=served_model_name,
        host=host,
        port=port,
        dtype=dtype,
        max_model_len=max_model_len,
        prefix_caching=prefix_caching,
        api_key=stage.read_api_key(api_key_env),
        extra=vllm_args,
    )
    for note in (*found.notes, *stage.open_doors(settings)):
        (progress or Progress()).note(note)
    return stage.make_server(settings, engine=engine, vllm=vllm, timeout=timeout)


def evaluate(
    out: str | Path = "output",
    *,
    api_base: str,
    model: str,
    project: str | Path = ".",
    model_folder: str | Path | None = None,
    api_key_env: str | None = None,
    price: tuple[float, float] = (0.0, 0.0),
    only: Sequence[Part] = ("commands", "conversations", "parity"),
    against_teacher: bool = False,
    repeats: int = 1,
    min_validation: float = 0.8,
    min_train: float = 0.95,
    min_accuracy: float | None = None,
    margin: float = 0.05,
    concurrency: int = 16,
    assistant_model: str = "models",
    endpoints: str = "endpoints.yml",
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a served model and say whether it may replace the teacher.

    Args:
        out: The folder of `prepare_data`; receives `5_evaluation` and `report.html`.
        api_base: The server's address, such as `http://127.0.0.1:8000/v1`.
        model: The name that the model is served under.
        project: The assistant's folder; every relative path starts from it.
        model_folder: The folder of `train` that the served model comes from.
        api_key_env: The environment variable that holds the server's key.
        price: What 1,000 tokens cost, of prompts and of answers.
        only: The parts to measure: `commands`, `conversations`, `parity`.
        against_teacher: Run the E2E tests with the assistant's own LLM as well.
        repeats: How often each E2E test is run with each model.
        min_validation: The pass rate that the validation tests must reach.
        min_train: The pass rate that the training tests must reach.
        min_accuracy: The share of validation examples that must get just the expected commands.
        margin: How much lower than the teacher's a pass rate may be to count as not worse.
        concurrency: How many calls and E2E tests are under way at a time.
        assistant_model: The trained assistant; of a folder, the latest model in it.
        endpoints: Its endpoints file.
        sub_agents: The folder of its sub-agents.
        remote_storage: Where Rasa fetches the assistant from.
        force: Replace an evaluation that rasa-ft did not write.
        progress: Is told how far it is.

    Returns:
        All figures, and the verdict.

    Raises:
        ConfigError: something in the arguments cannot work, or the server has no such model.
        WorkspaceError: a stage before has not been run.
        LLMError: the model cannot be reached, or never answers.
        ServeError: the served model is not the one in the model folder.
    """
    from rasa_ft_ext.evaluate import stage
    from rasa_ft_ext.evaluate.reference import reference_for
    from rasa_ft_ext.evaluate.request import Conversations, Request, answer_limit, served_settings
    from rasa_ft_ext.evaluate.served import Served
    from rasa_ft_ext.evaluation import Thresholds

    place = Place(Path(project), assistant_model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)

    def run() -> Evaluation:
        folder = place.path(model_folder) if model_folder is not None else None
        workspace.fingerprint(SPLIT)
        workspace.template()
        max_tokens = answer_limit(workspace, folder)
        settings = served_settings(model, api_base, api_key_env, max_tokens)
        request = Request(
            served=Served(model, api_base, settings.arguments.get("api_key")),
            llm=LiteLLM(settings, concurrency=max(concurrency, 1)),
            parts=tuple(only),
            thresholds=Thresholds(
                min_validation=min_validation, min_train=min_train, min_accuracy=min_accuracy, margin=margin
            ),
            model_folder=folder,
            conversations="Rasa Pro is not installed here (pip install 'rasa-ft-ext[rasa]')",
            reference=reference_for(folder),
            against_teacher=against_teacher,
            repeats=repeats,
            concurrency=concurrency,
            max_tokens=max_tokens,
            price=price,
        )
        request.check()
        if "conversations" not in only or not has_rasa():
            return asyncio.run(stage.evaluate(workspace, request, progress=progress))
        suites = place.sides(workspace)
        stubbed = any(file.stub_custom_actions for suite in suites.values() for file in suite.files)
        assistant = place.load(stubbed=stubbed)
        tests = {side: suite.tests for side, suite in suites.items()}
        request = replace(request, conversations=Conversations(assistant, tests, assistant.card))
        return run_with(assistant, stage.evaluate(workspace, request, progress=progress), request.llm)

    return outside_loop(run)


def connect(
    out: str | Path = "output",
    *,
    model: str,
    api_base: str,
    project: str | Path = ".",
    config: str = "config.yml",
    endpoints: str = "endpoints.yml",
    model_folder: str | Path | None = None,
    api_key_env: str | None = None,
    timeout: float = 30,
    max_tokens: int | None = None,
    style: Style | None = None,
    fallback: bool = False,
    force: bool = False,
    confirm: Confirm | None = None,
) -> ConnectSummary:
    """Let the assistant's command generator use the evaluated model, with the prompt template of the data.

    Args:
        out: The folder with the evaluation and the data.
        model: The name that the model is served under.
        api_base: The base URL of its server.
        project: The assistant's folder; every relative path starts from it.
        config: Its configuration.
        endpoints: Its endpoints file.
        model_folder: The folder of `train`, to compare with what was evaluated.
        api_key_env: The environment variable with the server's key.
        timeout: Seconds that an answer may take.
        max_tokens: Most tokens of an answer; by default as many as in the evaluation.
        style: Where the model is written; None for the way that the assistant has.
        fallback: Let the LLM of before answer wherever the model does not.
        force: Connect also a model that is not proven, and say so in the configuration.
        confirm: Is shown the changes before they are written, and says whether they are.

    Raises:
        ConfigError: something in the arguments cannot work.
        ConnectError: the model is not proven, or the files cannot be changed; they are as they were.
    """
    from rasa_ft_ext.connect import stage
    from rasa_ft_ext.connect.settings import ConnectSettings

    settings = ConnectSettings(
        model=model,
        api_base=api_base,
        api_key_env=api_key_env,
        timeout=timeout,
        max_tokens=max_tokens,
        style=style,
        fallback=fallback,
    )
    return outside_loop(
        lambda: stage.connect(
            Workspace(Path(project) / out),
            settings,
            stage.Place(Path(project), config, endpoints),
            model_folder=Path(project, model_folder) if model_folder is not None else None,
            force=force,
            confirm=confirm,
        )
    )


def rollback(*, project: str | Path = ".", force: bool = False) -> RollbackSummary:
    """Restore the assistant's files as they were before the latest `connect`, byte for byte.

    Args:
        project: The assistant's folder.
        force: Restore them also where one was changed by hand since.

    Raises:
        ConnectError: there is nothing to restore, or it cannot be.
    """
    from rasa_ft_ext.connect import stage

    return stage.rollback(Path(project), force=force)


def doctor(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    config: str | Path = "config.yml",
    endpoints: str | Path = "endpoints.yml",
    assistant_model: str | Path = "models",
    model_folder: str | Path = "finetuned_model",
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at an assistant that is connected to a fine-tuned model, and say what has moved away since the training.

    Nothing is changed, and no assistant is loaded: Rasa need not be installed.

    Args:
        out: The folder of `prepare_data`.
        project: The assistant's folder; every relative path starts from it.
        config: Its configuration.
        endpoints: Its endpoints file.
        assistant_model: Its trained model; of a folder, the latest in it.
        model_folder: The folder of `train`.
        progress: Is told how far it is.

    Raises:
        ConfigError: there is no such project.
    """
    from rasa_ft_ext.doctor import stage
    from rasa_ft_ext.doctor.case import Places

    places = Places(
        project=Path(project),
        output=Path(project, out),
        config=Path(config),
        endpoints=Path(endpoints),
        assistant_model=Path(project, assistant_model),
        model_folder=Path(project, model_folder),
    )
    return outside_loop(lambda: stage.doctor(places, progress=progress))


def monitor(
    out: str | Path = "output",
    *,
    endpoints: str | Path | None = None,
    conversations: str | Path | None = None,
    project: str | Path = ".",
    since: str | None = None,
    until: str | None = None,
    worst: int = 20,
    drafts: str | Path | None = None,
    prometheus: str | Path | None = None,
    json: str | Path | None = None,
    phone_regions: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> MonitorSummary:
    """Compare what users say now with what the model was trained on.

    Args:
        out: The folder of `prepare_data`; the figures go into it as well.
        endpoints: The endpoints file that names the assistant's tracker store, a SQL database; or
        conversations: a file or folder with exported conversations.
        project: The folder that relative paths start from.
        since: Leave out what was said before: a date such as `2026-05-14`, in UTC.
        until: Leave out what was said on that date and later.
        worst: How many of the worst messages are shown.
        drafts: A new folder for E2E test drafts of them.
        prometheus: A file for node_exporter's textfile collector.
        json: A file that the figures are written to as well.
        phone_regions: Countries whose phone numbers are masked without a country code.
        force: Replace figures that this package did not write.
        progress: Is told how far it is.

    Raises:
        ConfigError: an argument cannot work, or the conversations cannot be read.
        AssistantError: the tracker store cannot be reached.
        MissingExtraError: Rasa is not installed, and `endpoints` is given.
        WorkspaceError: there is no training data to compare with, or the results cannot be written.
    """
    from rasa_ft_ext.monitor import stage
    from rasa_ft_ext.monitor.conversations import ConversationFiles

    def place(path: str | Path | None) -> Path | None:
        return None if path is None else Path(project, path)

    if (endpoints is None) == (conversations is None):
        raise ConfigError("monitor", ["Give either endpoints or conversations."])
    options = stage.options_of(
        since=since,
        until=until,
        worst=worst,
        drafts=place(drafts),
        metrics=place(prometheus),
        json=place(json),
        regions=phone_regions,
    )
    if conversations is not None:
        source: stage.Conversations = ConversationFiles(Path(project, conversations))
    else:
        source = _tracker_store(Path(project, str(endpoints)), options.since, options.until)
    return stage.monitor(Workspace(Path(project, out), force=force), source, options, progress)


def _tracker_store(endpoints: Path, since: float | None, until: float | None) -> TrackerStoreConversations:
    if find_spec("rasa") is None:
        raise MissingExtraError("Rasa Pro, which reads its tracker store,", "rasa")
    from rasa_ft_ext.rasa_pro.tracker_store import TrackerStoreConversations

    return TrackerStoreConversations(endpoints, since, until)


def _check(where: str, *, concurrency: int = 1, num_rephrases: int = 0, slot_values: SlotValues = "own") -> None:
    problems = Problems(where)
    problems.options(concurrency=concurrency, num_rephrases=num_rephrases, slot_values=slot_values)
    problems.report()
