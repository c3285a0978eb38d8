"""The figures as a text file for the textfile collector of Prometheus' node_exporter.

Every metric is a gauge with `period="last_day"`, the last day with messages, and `period="all"`. The file is written
beside itself and renamed, so that the collector never sees half of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.monitoring import WHOLES, Figures, Monitoring

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_COUNTS = {
    "conversations": "Conversations with a message of the user.",
    "messages": "Messages of users.",
    "asked": "Messages that the command generator's LLM was asked about.",
    "answers": "Answers of the command generator's LLM.",
    "failed_calls": "Calls of the command generator's LLM that failed.",
    "unparsed": "Answers that no command could be read from.",
    "cannot_handle": "Answers that the assistant could not handle.",
    "clarifications": "Answers after which the assistant asked what was meant.",
    "chitchat": "Answers that the message is small talk.",
    "knowledge": "Answers that the message is a question of fact.",
    "handoffs": "Answers after which the conversation was handed over.",
    "untrained_flows": "Answers that start a flow which no training example starts.",
    "far": "Messages that are far from every message of the training data.",
}
_PREFIX = "rasa_ft_monitor"

Values = dict[tuple[str, ...], float]


def write_metrics(path: Path, found: Monitoring) -> None:
    """Write the file, whole or not at all.

    Raises:
        WorkspaceError: it cannot be written.
    """
    from prometheus_client import CollectorRegistry, write_to_textfile

    registry = CollectorRegistry()
    periods = {"all": found.total}
    if found.days:
        periods["last_day"] = found.days[-1].figures
        day = datetime.fromisoformat(found.days[-1].date).replace(tzinfo=UTC)
        _gauge(
            registry, "last_day_timestamp_seconds", "When the last day with messages began.", (), {(): day.timestamp()}
        )
    _write(registry, periods)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror or error}.") from error


def _write(registry: CollectorRegistry, periods: dict[str, Figures]) -> None:
    for name, text in _COUNTS.items():
        _by_period(registry, name, text, {period: getattr(figures, name) for period, figures in periods.items()})
    for name, whole in WHOLES.items():
        text = f"{_COUNTS[name][:-1]}, as a share of {whole}."
        _by_period(registry, f"{name}_ratio", text, {period: each.share(name) for period, each in periods.items()})
    for name, of in (("command_drift", "commands"), ("flow_drift", "started flows")):
        text = f"Distance of the distribution of {of} from the training data, from 0 to 1."
        _by_period(registry, f"{name}_ratio", text, {period: getattr(each, name) for period, each in periods.items()})
    for name, text in (("llm_ms", "Time of a call of the LLM"), ("turn_ms", "Time from a message to the last reply")):
        times = {period: taken for period, each in periods.items() if (taken := getattr(each, name)) is not None}
        quantiles: Values = {}
        for period, taken in times.items():
            quantiles |= {(period, "0.5"): taken.p50 / 1000, (period, "0.95"): taken.p95 / 1000}
        _gauge(registry, f"{name[:-3]}_seconds", f"{text}, by quantile.", ("period", "quantile"), quantiles)
    flows: Values = {(period, flow): count for period, each in periods.items() for flow, count in each.flows.items()}
    _gauge(registry, "flow_starts", "Answers that start the flow.", ("period", "flow"), flows)


def _by_period(registry: CollectorRegistry, name: str, text: str, found: dict[str, float | None]) -> None:
    values: Values = {(period,): value for period, value in found.items() if value is not None}
    _gauge(registry, name, text, ("period",), values)


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...], values: Values) -> None:
    from prometheus_client import Gauge

    gauge = Gauge(f"{_PREFIX}_{name}", text, labels, registry=registry)
    for key, value in values.items():
        (gauge.labels(*key) if labels else gauge).set(value)
