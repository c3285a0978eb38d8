"""The example's data as `make demo` makes it: clean, so whatever fault is found in it is a false one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import Workspace

EXAMPLE = Path(__file__).parents[2] / "assistant_example"


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    out = tmp_path_factory.mktemp("clean") / "output"
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        api.prepare_data(
            project=EXAMPLE, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=5, out=out
        )
    return Workspace(out)
