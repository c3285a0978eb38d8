"""Logs and the licence, for a process that the `rasa` command did not start."""

from __future__ import annotations

import logging
import logging.config
from argparse import Namespace
from pathlib import Path

from rasa_ft_ext.errors import ConfigError


def configure(args: Namespace) -> None:
    """Log to stderr, warnings and errors unless the arguments say otherwise; read the project's `.env`.

    Raises:
        ConfigError: the file given with `--logging-config-file` cannot be used.
    """
    logging.basicConfig(level=args.loglevel or logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if getattr(args, "project", None):
        from dotenv import load_dotenv

        load_dotenv(Path(args.project) / ".env", override=False)
    if args.logging_config_file:
        _configure_from(Path(args.logging_config_file))


def _configure_from(path: Path) -> None:
    from rasa_ft_ext.yaml_reading import read_yaml

    content = read_yaml(path)
    try:
        logging.config.dictConfig(content)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise ConfigError(str(path), [f"This is no configuration of Python's logging: {error}"]) from error


def start_rasa(args: Namespace) -> None:
    """Do what must be done before an assistant is loaded; `rasa` itself has done all but the last check by then.

    Raises:
        MissingExtraError: Rasa is not installed.
        AssistantError: Rasa's licence check does not pass.
    """
    from rasa_ft_ext.rasa_pro import licence, process

    if getattr(args, "inside_rasa", False):
        licence.check_licence()
    else:
        process.prepare(loglevel=args.loglevel, logging_config_file=args.logging_config_file)
