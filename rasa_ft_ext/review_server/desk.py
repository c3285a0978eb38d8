"""What a reviewer works on: the wordings of an output folder, the file of decisions, and each request to change it.

No HTTP here: requests and answers are plain values.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import RasaFtError, WorkspaceError
from rasa_ft_ext.review.decisions import VERDICTS, Decision, Verdict, read_decisions
from rasa_ft_ext.review.fitting import Place, StoredWordings, Wording, fit, unfit_commands
from rasa_ft_ext.review.labels import labels_of
from rasa_ft_ext.review.writing import decide
from rasa_ft_ext.steps import lines_of
from rasa_ft_ext.workspace import ANNOTATIONS, MANIFEST, REPHRASINGS, Workspace, read_flow_map

FieldName = Literal["commands", "text"]


class Request(Record):
    """What the page asks for: a decision, or none, on a wording; `seen` is the decision that it shows now."""

    test: str
    turn: int = Field(ge=1)
    message: str
    rephrasing: str | None = None
    decision: Verdict | None = None
    commands: str = Field(default="", max_length=10_000)
    text: str | None = Field(default=None, max_length=10_000)
    note: str = Field(default="", max_length=10_000)
    seen: Decision | None = None


class UnfitError(RasaFtError):
    """A decision that cannot be taken; `field` is the one of the form that is wrong."""

    def __init__(self, message: str, field: FieldName | None = None) -> None:
        self.field = field
        super().__init__(message)


class Desk:
    """The wordings of an output folder, which are read where they are asked for, and the file of decisions.

    Args:
        workspace: The output folder; it needs annotations at least.
        path: The file of decisions; it need not exist yet.

    Raises:
        WorkspaceError: there are no annotations.
        ConfigError: the file of decisions cannot be read.
    """

    def __init__(self, workspace: Workspace, path: Path) -> None:
        self.path = path
        if not (workspace.folder(ANNOTATIONS) / MANIFEST).is_file():
            raise WorkspaceError(
                f"There is nothing to review in {workspace.root}. Run `rasa-ft prepare-data` first, or give the output "
                "folder of a run that has."
            )
        self._folders = (workspace.folder(ANNOTATIONS), workspace.folder(REPHRASINGS))
        self._read_from = self._manifests()
        annotated = workspace.annotations()
        has_rephrasings = (workspace.folder(REPHRASINGS) / MANIFEST).is_file()
        rephrased = workspace.rephrasings() if has_rephrasings else []
        flow_map = read_flow_map(workspace.folder(ANNOTATIONS))
        self._labels = labels_of(workspace.card(), annotated, rephrased, flow_map)
        self._wordings = StoredWordings(self._folders[0], self._folders[1] if has_rephrasings else None)
        self.state()

    def state(self) -> dict[str, Any]:
        """All decisions as the page shows them, and those that do not fit.

        Raises:
            ConfigError: the file cannot be read, or labels in it are not in the assistant's language.
            UnfitError: the wordings are those of data that was made anew since.
        """
        self._require_same_data()
        fitted = fit(read_decisions(self.path), self._wordings, self._labels, str(self.path))
        entries = [self._shown(place, decision) for place, decision in fitted.placed.items()]
        for decision, why in fitted.misfits:
            found, _ = self._wordings.find(decision)
            if found is not None and found.place not in fitted.placed:
                entries.append({**self._shown(found.place, decision), "why": why})
        return {"file": str(self.path), "decided": entries, "misfits": list(fitted.told)}

    def counts(self) -> dict[Verdict, int]:
        """How many decisions of each kind the file holds."""
        found = Counter(entry.decision for entry in read_decisions(self.path).entries)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def decide(self, request: Request) -> dict[str, Any] | None:
        """Put a decision into the file; return it as the page shows it, None where it was taken back.

        Raises:
            UnfitError: it is about nothing that is there, or cannot be taken.
            DecidedMeanwhileError: somebody else has decided since the page was loaded.
            ConfigError: the file cannot be read.
            WorkspaceError: it cannot be written.
        """
        self._require_same_data()
        about = Decision(**self._subject(request), decision="reject")
        found, why = self._wordings.find(about)
        if found is None or found.place[1] != request.turn - 1:
            raise UnfitError(f"{about.name}: {why or 'the message stands elsewhere.'} Reload the page.")
        decision = self._decision(request, found) if request.decision else None
        decide(self.path, (request.seen or about).subject, decision, request.seen)
        return self._shown(found.place, decision) if decision else None

    def _require_same_data(self) -> None:
        if self._manifests() != self._read_from:
            raise UnfitError(
                f"The data in {self._folders[0].parent} was made anew, or moved, since this server started. Start "
                "`rasa-ft review` again and open its page."
            )

    def _manifests(self) -> list[bytes | None]:
        """What the stages that the wordings come from say of themselves: another text for other data."""
        found: list[bytes | None] = [None for _ in self._folders]
        for place, folder in enumerate(self._folders):
            with suppress(OSError):
                found[place] = (folder / MANIFEST).read_bytes()
        return found

    def _decision(self, request: Request, found: Wording) -> Decision:
        if request.decision != "edit":
            if request.decision == "accept" and not found.commands:
                raise UnfitError("It has no commands to accept. Edit it, and give some.")
            unfit = unfit_commands(found, self._labels) if request.decision == "accept" else ""
            if unfit:
                raise UnfitError(unfit)
            return self._made(request, request.decision or "accept", found.lines or None)
        label = self._labels.read(request.commands, found.syntax, request.text or found.text)
        if label.problems:
            raise UnfitError(" ".join(label.problems), "commands")
        text = None
        if request.rephrasing is not None and request.text is not None and request.text != request.rephrasing:
            text = request.text
            if not text.strip():
                raise UnfitError("The text is empty. To have no example of it, reject it.", "text")
        lines = "\n".join(lines_of(label.commands, found.syntax))
        if lines == found.lines and text is None:
            return self._made(request, "accept", lines)
        return self._made(request, "edit", lines, text)

    def _made(self, request: Request, verdict: Verdict, commands: str | None, text: str | None = None) -> Decision:
        return Decision(
            **self._subject(request), decision=verdict, commands=commands, text=text, note=request.note.strip() or None
        )

    def _subject(self, request: Request) -> dict[str, Any]:
        return {name: getattr(request, name) for name in ("test", "turn", "message", "rephrasing")}

    def _shown(self, place: Place, decision: Decision) -> dict[str, Any]:
        """Where the decision belongs, and the decision as it stands in the file."""
        return {"test": place[0], "turn": place[1] + 1, "rephrasing": place[2], "entry": decision.model_dump()}
