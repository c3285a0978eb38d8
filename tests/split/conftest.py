"""What the tests of `split` share."""

from __future__ import annotations

import pytest


@pytest.fixture
def rasa(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasa")
    monkeypatch.setenv("RASA_PRO_BETA_STUB_CUSTOM_ACTION", "true")
