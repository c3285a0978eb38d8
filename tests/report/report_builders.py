"""A small prepared output folder: two booked cars, one of them with everything that can be in a conversation."""

from __future__ import annotations

from pathlib import Path

from rasa_ft_ext import api
from rasa_ft_ext.conversation import Conversation, RephrasedConversation
from rasa_ft_ext.workspace import Workspace
from tests.builders import (
    annotated_file,
    conversation,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

NASTY = "</script><script>window.bad = 1</script><img src=x onerror='window.bad = 2'>&lt;\u2028<!--"
LONG = "hm" * 200
CAR = "StartFlow(book_car)"
BASEL, ZURICH = "SetSlot(city, Basel)", "SetSlot(city, Zurich)"

BOOKING = conversation(
    said("book a car", CAR, bot=f"Where? {NASTY}"),
    said("to Basel", BASEL),
    said(f"yes {NASTY}", unannotated="answered without the LLM"),
)
REPHRASED = rephrased(
    BOOKING,
    {
        0: [rephrasing(f"I need a car {NASTY}", CAR), rephrasing(LONG, "", passed=False)],
        1: [rephrasing("to Zurich", ZURICH, differs=True)],
    },
)
_SHORT = conversation(said("a car for Bern", f"{CAR}\nSetSlot(city, Bern)"), name="other", file="others/more.yml")
_STEPS = [*_SHORT.test_case["steps"], {"utter": "utter_ask_more"}]
OTHER = _SHORT.model_copy(update={"test_case": {**_SHORT.test_case, "steps": _STEPS}})


def prepared(
    root: Path, *conversations: Conversation, found: tuple[RephrasedConversation, ...] = (REPHRASED,)
) -> Workspace:
    """All stages, the last one by the API, which writes the report."""
    files = [annotated_file(entry) for entry in conversations or (BOOKING, OTHER)]
    workspace = rephrased_workspace(root, files, *found)
    api.dataset(root)
    api.split(root, train_frac=0.7)
    return workspace
