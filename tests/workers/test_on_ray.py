"""Workers on a Ray cluster of two machines, both of which are this one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("ray")

from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.assistant.recorded import Recorded, RecordedAssistant
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import AssistantCard, Conversation
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.workers.assistant import WorkersAssistant, open_workers
from tests.workers.workers_builders import CARD, CannotOpen, Echo, questions, some_conversations

_STORE = 80 * 2**20


class Somewhere(RecordedAssistant):
    """Says on which machine of the cluster it is, and may go away."""

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        import os

        import ray

        if message == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super().ask(conversation, turn, message, sample=sample)
        return Answer(answer.prompt, f"{ray.get_runtime_context().get_node_id()} {answer.text}", answer.commands)


@dataclass(frozen=True)
class OpensSomewhere:
    card: AssistantCard

    def open(self, llm: Any) -> Somewhere:
        return Somewhere(self.card, llm)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two machines with one CPU each."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": _STORE, "node_ip_address": "127.0.0.2"}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            cluster.add_node(**{**node, "node_ip_address": "127.0.0.3"})
            cluster.wait_for_nodes(30)
            assert cluster.address.startswith("127.0.0.2:")
            environment.setenv("RAY_ADDRESS", cluster.address)
            yield
        finally:
            cluster.shutdown()


def test_two_machines_answer_as_one_process_does(cluster: None) -> None:
    import ray

    llm, jobs = Echo(), list(questions(some_conversations(6)))

    async def asked(assistant: WorkersAssistant | RecordedAssistant) -> list[Answer]:
        answers = await in_order(jobs, lambda job: assistant.ask(*job), limit=8)
        await assistant.close()
        return answers

    expected = asyncio.run(asked(RecordedAssistant(CARD, Echo())))
    handler = signal.getsignal(signal.SIGTERM)
    assistant = open_workers(OpensSomewhere(CARD), 2, inner=lambda: RecordedAssistant(CARD, llm), backend="ray")
    assert signal.getsignal(signal.SIGTERM) is handler
    found = [(answer.text.split(" ", 1), answer.prompt) for answer in asyncio.run(asked(assistant))]

    assert [(text, prompt) for (_, text), prompt in found] == [(answer.text, answer.prompt) for answer in expected]
    assert len({place for (place, _), _ in found}) == 2
    assert len(llm.prompts) == len(jobs)
    assert not ray.is_initialized()


def test_work_that_ends_actors_is_given_up_and_others_take_their_place(cluster: None) -> None:
    first, second, *_ = questions(some_conversations(2))

    async def run(assistant: WorkersAssistant) -> Answer:
        with pytest.raises(AssistantError, match="2 others at the same work"):
            await assistant.ask(first[0], first[1], "die")
        answer = await assistant.ask(*second)
        await assistant.close()
        return answer

    assistant = open_workers(OpensSomewhere(CARD), 1, inner=lambda: RecordedAssistant(CARD, Echo()), backend="ray")
    assert asyncio.run(asyncio.wait_for(run(assistant), 60)).prompt


def test_an_actor_that_cannot_open_its_assistant_says_why(cluster: None) -> None:
    with pytest.raises(Exception, match="`api_base` is missing"):
        open_workers(CannotOpen(), 1, inner=lambda: RecordedAssistant(CARD), backend="ray")


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")

    with pytest.raises(AssistantError, match=r"127\.0\.0\.1:9.*RAY_ADDRESS"):
        open_workers(Recorded(CARD), 1, inner=lambda: RecordedAssistant(CARD), backend="ray")
