"""`prepare-data` as one run: checked as a whole, then annotate, rephrase, dataset, split, and the two files on top."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasa_ft_ext.annotate.recorded import copy_annotations
from rasa_ft_ext.annotate.stage import AnnotateSummary, annotate
from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.conversation import AssistantCard
from rasa_ft_ext.coverage.stage import judge_before_paying
from rasa_ft_ext.dataset.stage import dataset
from rasa_ft_ext.dataset.student import StudentPrompt, check_recordings, check_variables, read_student_prompt
from rasa_ft_ext.estimation import Rephrasing
from rasa_ft_ext.forecast import Forecast
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.estimate import Confirm
from rasa_ft_ext.llm.opening import Calls, open_calls
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.secrets import without_secrets
from rasa_ft_ext.pipeline import (
    Place,
    Problems,
    at,
    batch_checks,
    closed_on_error,
    recorded_assistant,
    recorded_card,
    recorded_llm,
    run_with,
)
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase.config import RephraseConfig
from rasa_ft_ext.rephrase.stage import RephraseSummary, rephrase
from rasa_ft_ext.rephrase.variety import Variety, read_variety
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.report.page import refresh_report
from rasa_ft_ext.results import PrepareDataSummary, check_results, summarise, write_results
from rasa_ft_ext.review.place import check_labels, read_review
from rasa_ft_ext.split.stage import NearDuplicates, OutputFormat, split
from rasa_ft_ext.workspace import Workspace, read_annotations

if TYPE_CHECKING:
    from rasa_ft_ext.rasa_pro.suite import Suite


@dataclass(frozen=True)
class Preparation:
    """All parameters of one run of `prepare-data`; their meaning stands at `rasa_ft_ext.api.prepare_data`."""

    tests: str | Path
    place: Place
    out: str | Path
    num_rephrases: int
    rephrase_config: str | Path | None
    train_frac: float
    output_format: OutputFormat
    seed: int
    near_duplicates: NearDuplicates
    strict: bool
    calls: CallOptions
    slot_values: SlotValues
    substitute_slots: int
    substitute_values: str | Path | None
    noise: str | None
    self_consistency: int
    student_prompt: str | Path | None
    redact: bool
    review: str | Path | None
    annotations: str | Path | None
    llm_api_base: str | None
    require_coverage: bool
    force: bool
    confirm: Confirm | None
    progress: Progress

    def run(self) -> PrepareDataSummary:
        """Run the stages, those that are not done yet."""
        workspace = Workspace(self.place.path(self.out), force=self.force)
        workspace.check()
        check_results(workspace)
        return self._live(workspace) if self.annotations is None else self._recorded(workspace, self.annotations)

    def _live(self, workspace: Workspace) -> PrepareDataSummary:
        problems = self._problems()
        suite = problems.attempt(lambda: self.place.suite(self.tests))
        problems.attempt(lambda: self.place.rephraser(self.rephrase_config, None))
        student = problems.attempt(self._student)
        problems.report()
        assert suite is not None
        with open_calls(self.calls, workspace.root, self.progress) as calls:
            return self._run_tests(workspace, calls, suite, student)

    def _run_tests(
        self, workspace: Workspace, calls: Calls, suite: Suite, student: StudentPrompt | None
    ) -> PrepareDataSummary:
        stubbed = any(file.stub_custom_actions for file in suite.files)
        assistant = self.place.open_shared(calls, stubbed=stubbed, progress=self.progress)
        with closed_on_error(assistant):
            batch_checks(assistant, calls)
            config = self.place.rephraser(self.rephrase_config, assistant.card.llm)
            if student is not None:
                check_variables(student, assistant.card)
            asked = self._asked(calls, assistant.card, config)
            Forecast(workspace, calls, self.confirm).of_tests(suite.files, suite.tests, assistant, asked)

        async def annotated() -> AnnotateSummary:
            return await annotate(
                workspace,
                assistant,
                suite.files,
                suite.tests,
                concurrency=self.calls.concurrency,
                progress=self.progress,
            )

        return self._finish(workspace, calls, assistant, config, student, annotated)

    def _recorded(self, workspace: Workspace, annotations: str | Path) -> PrepareDataSummary:
        folder = self.place.path(annotations)
        problems = self._problems()
        card = problems.attempt(lambda: recorded_card(folder))
        llm = problems.attempt(lambda: recorded_llm(card, self.llm_api_base)) if card else None
        own = at(card.llm, self.llm_api_base) if card and llm else None
        config = problems.attempt(lambda: self.place.rephraser(self.rephrase_config, own))
        student = problems.attempt(self._student)
        if card and student:
            problems.attempt(lambda: _check_prompt(student, card, folder))
        problems.report()
        assert card is not None
        assert config is not None
        with open_calls(self.calls, workspace.root, self.progress) as calls:
            Forecast(workspace, calls, self.confirm).of_annotations(folder, self._asked(calls, card, config))

            async def annotated() -> AnnotateSummary:
                return copy_annotations(workspace, folder)

            return self._finish(workspace, calls, recorded_assistant(card, llm, calls), config, student, annotated)

    def _asked(self, calls: Calls, card: AssistantCard, config: RephraseConfig) -> Rephrasing:
        return Rephrasing(
            card,
            config,
            self.num_rephrases,
            self.slot_values,
            self._variety(),
            calls.ledger.prices,
            batch=self.calls.mode == "batch",
        )

    def _student(self) -> StudentPrompt | None:
        return read_student_prompt(self.student_prompt, self.place.project) if self.student_prompt else None

    def _review(self) -> Path | None:
        return self.place.path(self.review) if self.review is not None else None

    def _variety(self) -> Variety:
        return read_variety(self.place.project, seed=self.seed, **self._of_variety())

    def _of_variety(self) -> dict[str, Any]:
        return {
            "substitute_slots": self.substitute_slots,
            "substitute_values": self.substitute_values,
            "noise": self.noise,
            "self_consistency": self.self_consistency,
        }

    def _problems(self) -> Problems:
        problems = Problems("prepare-data")
        problems.options(
            calls=self.calls,
            num_rephrases=self.num_rephrases,
            train_frac=self.train_frac,
            output_format=self.output_format,
            slot_values=self.slot_values,
        )
        problems.unless(
            self.llm_api_base is None or self.annotations is not None,
            "llm_api_base is for recorded annotations only; a live assistant's LLM stands in its endpoints.yml.",
        )
        problems.attempt(self._variety)
        problems.attempt(lambda: read_review(Workspace(self.place.path(self.out)), self._review()))
        return problems

    def _finish(
        self,
        workspace: Workspace,
        calls: Calls,
        assistant: Assistant,
        config: RephraseConfig,
        student: StudentPrompt | None,
        annotated: Callable[[], Awaitable[AnnotateSummary]],
    ) -> PrepareDataSummary:
        llm = calls.llm(config.llm, "rephrase")

        async def stages() -> PrepareDataSummary:
            of_annotate = await annotated()
            calls.ledger.stage = "validate"
            judge_before_paying(workspace, self.progress, required=self.require_coverage)
            if student is not None:
                check_recordings(student, workspace.annotations())  # before anything is paid for
            check_labels(workspace, self._review())
            of_rephrase = await self._rephrase(workspace, assistant, config, llm)
            of_dataset = await dataset(
                workspace,
                assistant,
                student=student,
                redact=self.redact,
                review=self._review(),
                concurrency=self.calls.concurrency,
                progress=self.progress,
            )
            of_split = split(
                workspace,
                train_frac=self.train_frac,
                seed=self.seed,
                output_format=self.output_format,
                near_duplicates=self.near_duplicates,
                strict=self.strict,
                review=self._review(),
                progress=self.progress,
            )
            return summarise(
                of_annotate,
                of_rephrase,
                of_dataset,
                of_split,
                Path(self.out),
                prices=calls.ledger.prices,
                batch=self.calls.mode == "batch",
            )

        with ExitStack() as held:
            with closed_on_error(assistant):
                held.enter_context(workspace.locked())  # else another run could come in between two stages
            summary = run_with(assistant, stages(), llm)
            write_results(workspace.root, self._parameters(config), summary)
            refresh_report(workspace.root)
        return summary

    async def _rephrase(
        self, workspace: Workspace, assistant: Assistant, config: RephraseConfig, llm: LLM
    ) -> RephraseSummary:
        return await rephrase(
            workspace,
            assistant,
            llm,
            num_rephrases=self.num_rephrases,
            template=config.template,
            slot_values=self.slot_values,
            variety=self._variety(),
            concurrency=self.calls.concurrency,
            in_flight=self.calls.in_flight,
            notes=config.notes if self.num_rephrases else (),
            progress=self.progress,
        )

    def _parameters(self, config: RephraseConfig) -> dict[str, Any]:
        """The parameters as they were given, Rasa's first, under the names that Rasa writes; no secrets."""
        parameters = {
            "num_rephrases": self.num_rephrases,
            "rephrase_config": {"prompt_template": config.template, "llm": dict(config.llm.public)},
            "model": self.place.model,
            "endpoints": self.place.endpoints,
            "sub-agents": self.place.sub_agents,
            "remote-storage": self.place.remote_storage,
            "train_frac": self.train_frac,
            "output_format": self.output_format,
            "out": str(self.out),
            "tests": str(self.tests),
            "project": str(self.place.project),
            "seed": self.seed,
            "near_duplicates": self.near_duplicates,
            "strict": self.strict,
            "concurrency": self.calls.concurrency,
            "slot_values": self.slot_values,
            "student_prompt": str(self.student_prompt) if self.student_prompt else None,
            "annotations": str(self.annotations) if self.annotations is not None else None,
            "llm_api_base": self.llm_api_base,
            "require_coverage": self.require_coverage,
        }
        if self._variety() != Variety(seed=self.seed):
            parameters |= {name: str(v) if isinstance(v, Path) else v for name, v in self._of_variety().items()}
        if self.redact:
            parameters["redact"] = True
        if self.review is not None:
            parameters["review"] = str(self.review)
        if self.calls.mode != "calls":
            parameters["llm_mode"] = self.calls.mode
        if self.calls.price_per_1k is not None:  # the summary's prices depend on it
            given = self.calls.price_per_1k
            parameters["price_per_1k"] = given if isinstance(given, str) else list(given)
        plain: dict[str, Any] = without_secrets(parameters)
        return plain


def _check_prompt(student: StudentPrompt, card: AssistantCard, annotations: Path) -> None:
    """Look at a student's template beside recorded annotations."""
    check_variables(student, card)
    check_recordings(student, read_annotations(annotations))
