"""What `dataset` reports, and what each test file adds to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from rasa_ft_ext.conversation import Conversation, Record
from rasa_ft_ext.dataset.making import Maker
from rasa_ft_ext.dataset.merging import Merged

_TOLD = 3  # decisions that do not fit


class DatasetSummary(BaseModel):
    """What `dataset` made.

    `recombinations` counts the new conversations, `duplicates` the examples that were the same as one before,
    `simulated` the conversations that the assistant ran again and `diverged` those of them that ended up in another
    state. `left_out` counts the steps whose prompt could not be had. `unreadable` lists completions that the
    assistant's parser does not read back as the same commands: no example is made of these. `contradictions` lists the
    prompts that several examples have with other commands, by their tests. `student_prompt` is the name of the
    template that the prompts were rendered with, None for the assistant's own. `masked` counts the personal values
    that were masked, by their kind, and `masked_labels` lists the labels that nobody could know any more after that, of
    which no example is made. `review` counts the decisions of the review, `review_misfits` names those of them that are
    about nothing that is there, or about other commands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversations: int
    recombinations: int
    examples: int
    duplicates: int
    simulated: int
    diverged: int
    left_out: int
    made_by: dict[str, int]
    commands: dict[str, int]
    unreadable: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    student_prompt: str | None = None
    masked: dict[str, int] = {}
    masked_labels: tuple[str, ...] = ()
    review: dict[str, int] = {}
    review_misfits: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, a sentence each."""
        notes = []
        if self.left_out:
            what = "user steps" if self.student_prompt else "recombined user steps"
            notes.append(
                f"{self.left_out} {what} are left out: their prompts cannot be rendered from the recording. Run with "
                "the assistant itself to have them."
            )
        if self.unreadable:
            notes.append(
                f"{len(self.unreadable)} labels are left out, since the assistant's parser does not read them back as "
                "the same commands; see `unreadable` in summary.json."
            )
        if self.contradictions:
            why = ". The student's prompt may leave out what tells them apart" if self.student_prompt else ""
            notes.append(
                f"{len(self.contradictions)} prompts have examples with different commands, of which a model can "
                f"learn one only{why}; see `contradictions` in summary.json."
            )
        if self.masked_labels:
            notes.append(
                f"{len(self.masked_labels)} labels are left out, since they have a part of what was masked; see "
                "`masked_labels` in summary.json."
            )
        if self.review_misfits:
            more = "; and so on, see `review_misfits` in summary.json" if len(self.review_misfits) > _TOLD else ""
            notes.append(
                f"{len(self.review_misfits)} decisions of the review do not fit and are not applied; they stay in its "
                f"file. {' '.join(self.review_misfits[:_TOLD])}{more}"
            )
        return tuple(notes)


class Counts(Record):
    """What some test files add to the summary; `templates` are those that their prompts were rendered with."""

    conversations: int
    recombinations: int
    simulated: int
    diverged: int
    left_out: int
    unreadable: tuple[str, ...] = ()
    masked: dict[str, int] = Field(default={})
    masked_labels: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def counts_of(conversations: Sequence[Conversation], made: Sequence[Maker]) -> Counts:
    """Those of one test file."""
    annotations = (turn.annotation for entry in conversations for _, turn in entry.annotated)
    return Counts(
        conversations=len(made),
        recombinations=sum(entry.recombinations for entry in made),
        simulated=sum(entry.simulated for entry in made),
        diverged=sum(entry.diverged for entry in made),
        left_out=sum(entry.left_out for entry in made),
        unreadable=tuple(text for entry in made for text in entry.unreadable),
        masked=_sum(entry.masked for entry in made),
        masked_labels=tuple(text for entry in made for text in entry.lost),
        templates=tuple(sorted({annotation.template for annotation in annotations if annotation is not None})),
    )


def together(found: Iterable[Counts]) -> Counts:
    """The sum."""
    entries = list(found)
    return Counts(
        conversations=sum(entry.conversations for entry in entries),
        recombinations=sum(entry.recombinations for entry in entries),
        simulated=sum(entry.simulated for entry in entries),
        diverged=sum(entry.diverged for entry in entries),
        left_out=sum(entry.left_out for entry in entries),
        unreadable=tuple(dict.fromkeys(text for entry in entries for text in entry.unreadable)),
        masked=_sum(entry.masked for entry in entries),
        masked_labels=tuple(dict.fromkeys(text for entry in entries for text in entry.masked_labels)),
        templates=tuple(sorted({template for entry in entries for template in entry.templates})),
    )


def summarise(counts: Counts, merged: Merged, contradictions: tuple[str, ...], student: str | None) -> DatasetSummary:
    """The summary, less what a review adds to it."""
    return DatasetSummary(
        **counts.model_dump(exclude={"templates"}),
        examples=merged.examples,
        duplicates=merged.duplicates,
        made_by=merged.made_by,
        commands=merged.commands,
        contradictions=contradictions,
        student_prompt=student,
    )


def _sum(found: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in found:
        total.update(entry)
    return dict(sorted(total.items()))
