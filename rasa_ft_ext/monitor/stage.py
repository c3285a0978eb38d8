"""`monitor`: what users say now, against what the model was trained on.

    summary = monitor(Workspace("output"), ConversationFiles(Path("tracker.json")), options_of(since="2026-05-14"))

Conversations are read one after the other and counted; only the messages that went wrong are kept, one of each kind.
Where conversations come from is none of this module's business: they are pairs of a sender id and Rasa's events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.files import write_json_file
from rasa_ft_ext.monitor.drafts import check_folder, draft_name, write_drafts
from rasa_ft_ext.monitor.figures import Tally
from rasa_ft_ext.monitor.markdown import page
from rasa_ft_ext.monitor.prometheus import write_metrics
from rasa_ft_ext.monitor.training import Trained, trained_on
from rasa_ft_ext.monitor.turns import Turn, turns_of
from rasa_ft_ext.monitor.worst import Group, WorstTurns, reasons_for, redacted
from rasa_ft_ext.monitoring import MONITORING_FILE, Day, Monitoring, Worst
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.redaction import REGIONS, Redactor, unknown_regions
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.workspace import MONITORING, Workspace, write_record

WORST = 20
PAGE = "monitoring.md"

Conversations = Iterable[tuple[str, Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True)
class Options:
    """What is asked for.

    `since` and `until` are points in time (seconds since 1970): messages from the one on and before the other count.
    `worst` is how many messages are shown, and written to the folder `drafts` as E2E tests, if it is given. `metrics`
    is the text file for Prometheus, `json` another place for the figures, `regions` the countries whose phone numbers
    are masked without a country code.
    """

    since: float | None = None
    until: float | None = None
    worst: int = WORST
    drafts: Path | None = None
    metrics: Path | None = None
    json: Path | None = None
    regions: tuple[str, ...] = REGIONS


class MonitorSummary(Record):
    """The outcome in a few lines: counts, and shares of the answers (of the calls, of the compared messages)."""

    days: int
    conversations: int
    messages: int
    answers: int
    failed_calls: str
    unparsed: str
    cannot_handle: str
    clarifications: str
    untrained_flows: str
    far: str
    drafts: int
    notes: tuple[str, ...] = ()


def options_of(
    *,
    since: str | None = None,
    until: str | None = None,
    worst: int = WORST,
    drafts: Path | None = None,
    metrics: Path | None = None,
    json: Path | None = None,
    regions: Sequence[str] | None = None,
) -> Options:
    """Read dates such as `2026-05-14`, or times such as `2026-05-14T18:00`, in UTC where they name no other zone.

    Raises:
        ConfigError: all that cannot work, before conversations are read.
    """
    problems: list[str] = []
    first, end = _moment("since", since, problems), _moment("until", until, problems)
    if first is not None and end is not None and first >= end:
        problems.append("since is not before until: no message can count.")
    if worst < 0:
        problems.append(f"worst is {worst}: give 0 or more.")
    places = tuple(REGIONS if regions is None else regions)
    if unknown := unknown_regions(places):
        problems.append(f"no country with phone numbers: {', '.join(unknown)}. Give codes such as DE or CN.")
    if problems:
        raise ConfigError("monitor", problems)
    return Options(first, end, worst, drafts, metrics, json, places)


def monitor(
    workspace: Workspace, conversations: Conversations, options: Options, progress: Progress | None = None
) -> MonitorSummary:
    """Read conversations, count, and write the figures, the report, the metrics and the drafts.

    Raises:
        ConfigError: the folder for drafts is not empty, or the conversations cannot be read.
        WorkspaceError: there is no training data to compare with, or the results cannot be written.
    """
    if options.drafts is not None:
        check_folder(options.drafts)
    workspace.check((MONITORING,))
    reading = _Reading(trained_on(workspace), options)
    reading.read(conversations, progress or Progress())
    notes = [*reading.notes(), *getattr(conversations, "notes", ())]
    worst = reading.worst.chosen(options.worst)
    drafts = [_draft(group, number, options) for number, group in enumerate(worst, 1)]
    found = reading.found([entry for entry, _ in drafts], notes)
    key = {"dataset": reading.trained.hash, "since": options.since, "until": options.until}
    with workspace.writing(MONITORING, key) as folder:
        write_record(folder / MONITORING_FILE, found)
        (folder / PAGE).write_text(page(found), encoding="utf-8", newline="\n")
    if options.drafts is not None and drafts:
        write_drafts(options.drafts, drafts)
    if options.metrics is not None:
        write_metrics(options.metrics, found)
    if options.json is not None:
        write_json_file(options.json, found)
    write_report(workspace.root)
    return _summary(found, len(drafts) if options.drafts is not None else 0)


class _Reading:
    """What is known after some of the conversations."""

    def __init__(self, trained: Trained, options: Options) -> None:
        self.trained = trained
        self.worst = WorstTurns()
        self._options = options
        self._total = Tally()
        self._days: dict[str, Tally] = {}
        self._never: Counter[str] = Counter()

    def read(self, conversations: Conversations, progress: Progress) -> None:
        if isinstance(conversations, Sized):
            progress.start("Reading conversations", len(conversations))
        for _, events in conversations:
            dates = {date for turn in turns_of(events) if (date := self._read_turn(turn))}
            for date in dates:
                self._days[date].conversation()
            if dates:
                self._total.conversation()
            progress.step()

    def _read_turn(self, turn: Turn) -> str | None:
        """Count a turn; return its date, None where it is out of the time that was asked for."""
        since, until = self._options.since, self._options.until
        if (since is not None and turn.timestamp < since) or (until is not None and turn.timestamp >= until):
            return None
        date = datetime.fromtimestamp(turn.timestamp, UTC).date().isoformat()
        far_below = self.trained.far_below
        compared = far_below is not None and turn.answered and turn.typed
        nearest = self.trained.messages.nearest(turn.text) if compared else None
        far = nearest is not None and far_below is not None and nearest.similarity < far_below
        never = [flow for flow in turn.flows if flow not in self.trained.flows] if turn.answered else []
        self._never.update(never)
        for tally in (self._total, self._days.setdefault(date, Tally())):
            tally.turn(turn, compared=compared, far=far, untrained=bool(never))
        if reasons := reasons_for(turn, far=far, untrained=bool(never)):
            self.worst.add(turn, date, reasons, nearest)
        return date

    def notes(self) -> list[str]:
        """What a person should know of the figures."""
        total = self._total.figures(self.trained)
        notes = []
        if not total.messages:
            notes.append("There is no message of a user in this time.")
        elif not total.asked:
            notes.append("The command generator's LLM was asked about none of these messages.")
        if total.answers and not total.recorded:
            notes.append(
                "The LLM's own words are not recorded: answers that cannot be read are known only by what Rasa did "
                "then. Set RASA_RECORD_COMMANDS_AND_PROMPTS=true where Rasa runs to have them, and the time of a call."
            )
        new = sorted(set(self._never) - self.trained.known_flows)
        if new:
            notes.append(f"Flows that the assistant did not have when the data was made: {', '.join(new)}.")
        return notes

    def found(self, worst: Sequence[Worst], notes: Sequence[str]) -> Monitoring:
        options = self._options
        return Monitoring(
            version=__version__,
            dataset_hash=self.trained.hash,
            since=_written(options.since),
            until=_written(options.until),
            far_below=self.trained.far_below,
            total=self._total.figures(self.trained),
            days=tuple(Day(date=date, figures=self._days[date].figures(self.trained)) for date in sorted(self._days)),
            trained_commands=self.trained.commands,
            trained_flows=self.trained.flows,
            never_trained=dict(sorted(self._never.items())),
            worst=tuple(worst),
            notes=tuple(notes),
        )


def _draft(group: Group, number: int, options: Options) -> tuple[Worst, list[dict[str, str]]]:
    """What is shown of a message, and the steps of its E2E test."""
    steps, answer = redacted(group.turn, options.regions)
    nearest = group.nearest if group.nearest and group.nearest.text is not None else None
    worst = Worst(
        message=steps[-1]["user"],
        reasons=group.reasons,
        count=group.count,
        date=group.date,
        answer=answer,
        similarity=round(nearest.similarity, 4) if nearest else None,
        nearest=Redactor(options.regions).text(nearest.text) if nearest and nearest.text else None,
        draft=f"{draft_name(number, group.reasons[0])}.yml" if options.drafts is not None else None,
    )
    return worst, steps


def _summary(found: Monitoring, drafts: int) -> MonitorSummary:
    total = found.total

    def of(name: str) -> str:
        share = total.share(name)
        return "-" if share is None else f"{getattr(total, name):,} ({share:.1%})"

    return MonitorSummary(
        days=len(found.days),
        conversations=total.conversations,
        messages=total.messages,
        answers=total.answers,
        drafts=drafts,
        notes=found.notes,
        failed_calls=of("failed_calls"),
        unparsed=of("unparsed"),
        cannot_handle=of("cannot_handle"),
        clarifications=of("clarifications"),
        untrained_flows=of("untrained_flows"),
        far=of("far"),
    )


def _moment(name: str, text: str | None, problems: list[str]) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems.append(f"{name} is {text!r}, which is no date such as 2026-05-14.")
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _written(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
