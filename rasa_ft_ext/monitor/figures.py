"""Count turns: for a day, and for all days together."""

from __future__ import annotations

from array import array
from collections import Counter

from rasa_ft_ext.monitor.distance import drift
from rasa_ft_ext.monitor.training import Trained
from rasa_ft_ext.monitor.turns import Turn
from rasa_ft_ext.monitoring import Figures, Milliseconds

# The command and the pattern of each way that the assistant can go, by the figure that counts them.
WAYS = {
    "cannot_handle": ("cannot handle", "pattern_cannot_handle"),
    "clarifications": ("clarify", "pattern_clarification"),
    "chitchat": ("chitchat", "pattern_chitchat"),
    "knowledge": ("knowledge", "pattern_search"),
    "handoffs": ("human handoff", "pattern_human_handoff"),
}


class Tally:
    """Counts while turns are read; `figures` is what it comes to."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._commands: Counter[str] = Counter()
        self._flows: Counter[str] = Counter()
        self._llm_ms = array("d")
        self._turn_ms = array("d")

    def conversation(self) -> None:
        self._counts["conversations"] += 1

    def turn(self, turn: Turn, *, compared: bool, far: bool, untrained: bool) -> None:
        """Count one turn.

        Args:
            turn: The turn.
            compared: Whether its message was compared with the training data.
            far: Whether it is far from that.
            untrained: Whether it starts a flow that no example starts.
        """
        counts = self._counts
        counts["messages"] += 1
        counts["asked"] += turn.asked
        counts["failed_calls"] += turn.failed
        if turn.asked and turn.turn_ms is not None:
            self._turn_ms.append(turn.turn_ms)
        if not turn.answered:
            return
        counts["answers"] += 1
        counts["unparsed"] += turn.unparsed
        counts["recorded"] += turn.recorded
        counts["compared"] += compared
        counts["far"] += far
        counts["untrained_flows"] += untrained
        for name, (kind, pattern) in WAYS.items():
            counts[name] += turn.went(kind, pattern)
        if turn.llm_ms is not None:
            self._llm_ms.append(turn.llm_ms)
        self._commands.update(turn.commands)
        self._flows.update(turn.flows)

    def figures(self, trained: Trained) -> Figures:
        return Figures(
            **{name: self._counts[name] for name in Figures.model_fields if name in self._counts},
            llm_ms=_milliseconds(self._llm_ms),
            turn_ms=_milliseconds(self._turn_ms),
            commands=dict(sorted(self._commands.items())),
            flows=dict(sorted(self._flows.items())),
            command_drift=_rounded(drift(trained.commands, self._commands)),
            flow_drift=_rounded(drift(trained.flows, self._flows)),
        )


def _milliseconds(times: array[float]) -> Milliseconds | None:
    """Median and 95th percentile: the smallest time that as many are not above."""
    if not times:
        return None
    ordered = sorted(times)
    p50, p95 = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 95))
    return Milliseconds(count=len(ordered), p50=round(p50, 1), p95=round(p95, 1))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
