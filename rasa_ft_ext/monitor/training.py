"""What the model was trained on: the messages, commands and flows of the examples in an output folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rasa_ft_ext.monitor.distance import Neighbours
from rasa_ft_ext.workspace import DATASET, Workspace


@dataclass(frozen=True)
class Trained:
    """What the examples hold: the messages to compare with, and how often each command and flow is a label.

    `known_flows` are all that the assistant had when it was annotated, trained or not; `hash` is the fingerprint of
    the examples, `far_below` the similarity below which a message counts as far (None: too few to tell).
    """

    messages: Neighbours
    commands: dict[str, int]
    flows: dict[str, int]
    known_flows: frozenset[str]
    hash: str
    far_below: float | None


def trained_on(workspace: Workspace) -> Trained:
    """Read the examples.

    Raises:
        WorkspaceError: there are none, or they were made from annotations that are not there any more.
    """
    fingerprint = workspace.fingerprint(DATASET)
    commands: Counter[str] = Counter()
    flows: Counter[str] = Counter()
    texts: dict[str, None] = {}
    for example in workspace.examples():
        texts.update({example.message: None, example.original_message: None})
        commands.update(command.type for command in example.commands)
        flows.update(str(command.args[0]) for command in example.commands if command.type == "StartFlow")
    messages = Neighbours(texts)
    return Trained(
        messages=messages,
        commands=dict(sorted(commands.items())),
        flows=dict(sorted(flows.items())),
        known_flows=frozenset(workspace.card().flows),
        hash=fingerprint,
        far_below=messages.threshold(),
    )
