"""What the `rasa` command does before it runs an assistant, for a process that was not started by it."""

from __future__ import annotations

import logging
import os

from rasa_ft_ext.errors import MissingExtraError
from rasa_ft_ext.rasa_pro.licence import check_licence


def prepare(*, loglevel: int | None = None, logging_config_file: str | None = None) -> None:
    """Set up Rasa's logs, have the licence checked.

    Args:
        loglevel: Level of the logs; without one, the environment variable `LOG_LEVEL`, or else warnings and errors.
        logging_config_file: A file with a configuration of Python's logging, as in Rasa.

    Raises:
        MissingExtraError: Rasa is not installed.
        AssistantError: Rasa's licence check does not pass.
    """
    if loglevel is None and "LOG_LEVEL" not in os.environ:
        loglevel = logging.WARNING
    check_licence()
    set_up_logs(loglevel, logging_config_file)


def set_up_logs(loglevel: int | None, logging_config_file: str | None = None) -> None:
    """Let Rasa log from this level on.

    Raises:
        MissingExtraError: Rasa is not installed.
    """
    try:
        from rasa.utils.common import configure_logging_and_warnings
        from rasa.utils.log_utils import configure_structlog
    except ImportError as error:
        raise MissingExtraError("Rasa Pro, which runs the assistant,", "rasa") from error
    configure_logging_and_warnings(loglevel, logging_config_file)
    configure_structlog(loglevel)
