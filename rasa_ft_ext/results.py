"""What `prepare-data` leaves at the top of the output folder: `params.yaml` and `result_summary.yaml`.

Both are functions of the inputs: two runs of the same leave the same bytes. They begin with the keys that Rasa's own
command writes, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rasa_ft_ext.annotate.stage import AnnotateSummary
from rasa_ft_ext.conversation import FailedTest, Record
from rasa_ft_ext.dataset.stage import DatasetSummary
from rasa_ft_ext.errors import ForeignResultsError
from rasa_ft_ext.files import write_whole
from rasa_ft_ext.llm.cost import IN_BATCHES
from rasa_ft_ext.llm.prices import Prices, dollars
from rasa_ft_ext.llm.usage import LLMUsage
from rasa_ft_ext.rephrase.stage import RephraseSummary
from rasa_ft_ext.split.summary import SplitSummary
from rasa_ft_ext.workspace import MANIFEST, STAGES, Workspace
from rasa_ft_ext.yaml import to_yaml

PARAMETERS = "params.yaml"
RESULT_SUMMARY = "result_summary.yaml"


class PricedUsage(LLMUsage):
    """What the answers of one model took that were used in one stage, with their price in dollars, None if unknown."""

    price: float | None

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens:,} tokens in, {self.completion_tokens:,} out"
        return f"{self.stage}, {self.model}: {self.calls:,} answers, {tokens}, price: {dollars(self.price)}"


class PrepareDataSummary(Record):
    """What `prepare-data` made; the first nine numbers have the names that Rasa gives them.

    `llm_usage` is what the answers took that the data came from, whenever they were paid for.
    `failed_tests` gave no data, each with its reason. `notes` is what a person should know of the run. The rest is what
    each stage reported. `out` is the folder as it was given.
    """

    num_input_e2e_tests: int
    num_annotated_conversations: int
    num_user_messages_across_conversations: int
    num_user_messages_to_rephrase_across_conversations: int
    num_passing_rephrased_user_messages: int
    num_failing_rephrased_user_messages: int
    num_ft_data_points: int
    num_train_data_points: int
    num_val_data_points: int
    llm_usage: tuple[PricedUsage, ...]
    not_annotated: dict[str, int]
    failed_tests: tuple[FailedTest, ...]
    notes: tuple[str, ...]
    annotate: AnnotateSummary
    rephrase: RephraseSummary
    dataset: DatasetSummary
    split: SplitSummary
    out: Path


def summarise(
    annotate: AnnotateSummary,
    rephrase: RephraseSummary,
    dataset: DatasetSummary,
    split: SplitSummary,
    out: Path,
    *,
    prices: Prices,
    batch: bool = False,
) -> PrepareDataSummary:
    """Put the reports of the four stages together.

    Args:
        annotate: The report of `annotate`.
        rephrase: The report of `rephrase`.
        dataset: The report of `dataset`.
        split: The report of `split`.
        out: The folder as it was given.
        prices: What tokens cost.
        batch: Whether the calls that can be made in batches were.
    """
    return PrepareDataSummary(
        num_input_e2e_tests=annotate.tests,
        num_annotated_conversations=annotate.passed,
        num_user_messages_across_conversations=annotate.annotated,
        num_user_messages_to_rephrase_across_conversations=annotate.to_rephrase,
        num_passing_rephrased_user_messages=rephrase.passing,
        num_failing_rephrased_user_messages=rephrase.failing,
        num_ft_data_points=dataset.examples,
        num_train_data_points=split.train_examples,
        num_val_data_points=split.val_examples,
        llm_usage=tuple(_priced(entry, prices, batch) for entry in (*annotate.llm_usage, *rephrase.llm_usage)),
        not_annotated=annotate.not_annotated,
        failed_tests=annotate.failed,
        notes=(*rephrase.notes, *dataset.notes, *split.notes),
        annotate=annotate,
        rephrase=rephrase,
        dataset=dataset,
        split=split,
        out=out,
    )


def _priced(usage: LLMUsage, prices: Prices, batch: bool) -> PricedUsage:
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    cost = prices.cost(usage.model, *tokens, batch=batch and usage.stage in IN_BATCHES)
    return PricedUsage(**usage.model_dump(), price=None if cost is None else round(cost, 6))


def check_results(workspace: Workspace) -> None:
    """Refuse to replace files of these names that no run of this package left.

    Raises:
        ForeignResultsError: there is one, and `force` is off.
    """
    if workspace.force or any((workspace.folder(stage) / MANIFEST).is_file() for stage in STAGES):
        return
    for name in (PARAMETERS, RESULT_SUMMARY):
        if (workspace.root / name).exists():
            raise ForeignResultsError(
                f"{workspace.root / name} is there, but no stage's results are: rasa-ft did not write it. Give another "
                "folder with --out, or --force to replace it."
            )


def write_results(root: Path, parameters: Mapping[str, Any], summary: PrepareDataSummary) -> None:
    """Write both files, each whole or not at all.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    told: Any = {
        "annotate": {"failed", "llm_usage"},
        "rephrase": {"notes", "llm_usage"},
        "split": {"notes"},
        "out": True,
    }
    write_whole(root / PARAMETERS, to_yaml({"parameters": parameters}))
    write_whole(root / RESULT_SUMMARY, to_yaml(summary.model_dump(mode="json", exclude=told)))
