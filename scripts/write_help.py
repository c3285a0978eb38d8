"""Write `docs/help.md`: the help pages of `rasa-ft` and its sub-commands, 100 columns wide, as Python 3.11 sets them.

    python scripts/write_help.py

`tests/test_docs.py` fails while the file is not what this script writes.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from unittest.mock import patch

from rasa_ft_ext.cli.main import STAGES, TOOLS, build_parser

TARGET = Path(__file__).resolve().parent.parent / "docs" / "help.md"
COLUMNS = 100

HEADER = """\
# Help pages

What `rasa-ft --help` and `rasa-ft COMMAND --help` print. The commands from `{first}` to `{last}` exist as
`rasa llm finetune COMMAND`, too, with the same flags; there Rasa words the logging flags itself. This file is
generated: run `python scripts/write_help.py` after a change.
"""


def help_pages() -> str:
    """The whole content of `docs/help.md`."""
    commands = [[], *([name] for name in (*STAGES, *TOOLS))]
    header = HEADER.format(first=next(iter(STAGES)), last=next(reversed(STAGES)))
    return "\n".join([header, *(f"## {_title(command)}\n\n```text\n{_help(command)}```\n" for command in commands)])


def _title(command: list[str]) -> str:
    return " ".join(["rasa-ft", *command])


def _help(command: list[str]) -> str:
    said = io.StringIO()
    with (
        patch.dict(os.environ, COLUMNS=str(COLUMNS)),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        build_parser().parse_args([*command, "--help"])
    return said.getvalue()


if __name__ == "__main__":
    TARGET.write_text(help_pages(), encoding="utf-8", newline="\n")
