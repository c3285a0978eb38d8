"""What the page of an output folder is made from, as one hash that stands in it: a page that fits is not made again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.files import sha256
from rasa_ft_ext.report.figures import read_tokens
from rasa_ft_ext.review.place import review_path
from rasa_ft_ext.workspace import EVALUATION, MANIFEST, MONITORING, REPHRASINGS, STAGES, Workspace

_STANDS_IN = re.compile(rb'<meta name="rasa-ft-made-from" content="([0-9a-f]{64})">')
_HEAD = 4096  # bytes


def made_from(output: Path) -> str | None:
    """The hash; None where it is not known, as something cannot be read.

    The data's stages are taken for what their manifests say, so it is for those who have just seen that these are true.
    """
    try:
        files = {f"{number} {path.name}": sha256(path) for number, path in enumerate(_files(output)) if path.is_file()}
        tokens = {name: found.model_dump() for name, found in read_tokens(output, REPHRASINGS).items()}
    except (OSError, WorkspaceError):
        return None
    return hashlib.sha256(json.dumps([__version__, files, tokens]).encode()).hexdigest()


def stands_in(page: Path) -> str | None:
    """The hash of what a page was made from; None where there is no such page."""
    try:
        with page.open("rb") as stream:
            found = _STANDS_IN.search(stream.read(_HEAD))
    except OSError:
        return None
    return found[1].decode() if found else None


def _files(output: Path) -> Iterator[Path]:
    yield from (output / stage / MANIFEST for stage in STAGES)
    yield review_path(Workspace(output))
    yield output / COVERAGE_FILE
    for folder in (COVERAGE, EVALUATION, MONITORING):
        yield from sorted((output / folder).rglob("*"))
