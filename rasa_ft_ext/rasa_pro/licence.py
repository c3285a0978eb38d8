"""Rasa's licence check, for the commands that load an assistant outside of the `rasa` command.

The check is Rasa's own and its verdict stands; only the way it is told is ours: one sentence.
"""

from __future__ import annotations

import logging

from rasa_ft_ext.errors import AssistantError, MissingExtraError

logger = logging.getLogger(__name__)


def check_licence() -> None:
    """Let Rasa check the licence in the environment, or in the `.env` of the working directory.

    A warning of Rasa's, such as of a licence that is about to expire, is logged.

    Raises:
        MissingExtraError: Rasa is not installed.
        AssistantError: Rasa refuses to go on; the message has Rasa's reason.
    """
    try:
        from rasa.utils.licensing import validate_license_from_env
        from structlog.testing import capture_logs
    except ImportError as error:
        raise MissingExtraError("Rasa Pro, which runs the assistant,", "rasa") from error
    try:
        with capture_logs() as entries:
            validate_license_from_env()
    except SystemExit as refusal:
        reason = " ".join(str(refusal.code).split())
        raise AssistantError(f"The assistant cannot be loaded, Rasa's licence check says: {reason}") from refusal
    for entry in entries:
        logger.warning("%s", entry.get("event_info") or entry["event"])
