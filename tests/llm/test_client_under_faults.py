"""The client against a server that fails on purpose: everything is answered, and nothing is asked for too often."""

from __future__ import annotations

import asyncio

import pytest

from rasa_ft_ext.commands import read
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.scripted.faults import KINDS, Fault, Faults
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.llm.settings import resolve

MESSAGES = [f"Car number {number}" for number in range(20)]
SCRIPT = Script.of(*({"user": text, "commands": [f"SetSlot(car, {number})"]} for number, text in enumerate(MESSAGES)))
POLICY = Policy(attempts=30, readings=30, first_wait=0.01, longest_wait=0.02)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids="+".join)
async def test_each_call_is_answered_and_made_once_more_for_each_fault(kinds: tuple[Fault, ...]) -> None:
    seconds = 0.5 if "timeout" in kinds else 60.0
    with scripted_llm(SCRIPT, faults=Faults(0.3, kinds, retry_after=0.01, straggle=0.05)) as server:
        address = {"provider": "self-hosted", "model": "scripted", "api_base": server.base_url, "timeout": seconds}
        llm = LiteLLM(resolve(address, {}, "the test"), Gateway(policy=POLICY))
        prompts = [f"* `set slot s v`\n* `provide info`\nUSER: {message}\n" for message in MESSAGES]
        answers = await asyncio.gather(*(llm.complete(text, readable=_holds_commands) for text in prompts))
        stats = server.stats()
    assert [answer.text for answer in answers] == [f"set slot car {number}" for number in range(20)]
    assert sum(stats["faults"].values()) > 4
    if seconds > 1:  # or a busy machine may be too slow for a call
        # a straggler is the right answer already
        assert stats["calls"] == 20 + sum(stats["faults"].values()) - stats["faults"].get("straggler", 0)
        assert (stats["answered"], stats["repeated"]) == (20, 0)


def _holds_commands(text: str) -> bool:
    return bool(read(text, "v2"))
