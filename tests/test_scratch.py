"""What a stage remembers on disk: it comes back as it was, and a disk that is full is told."""

from __future__ import annotations

import pytest

from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.scratch import Shelf, digest, scratch


def test_a_shelf_is_a_mapping_of_texts_and_tuples() -> None:
    with scratch() as database:
        held: Shelf[tuple[str, int]] = Shelf(database, "held")
        texts: Shelf[str] = Shelf(database, "texts")
        held["a.yml::ä", 1] = ["Basel", "x"]
        held["a.yml::ä", 1] = ["Zürich"]
        held["a.yml::ä", 2] = []
        texts["a"] = {"b": 1}

        assert dict(held) == {("a.yml::ä", 1): ["Zürich"], ("a.yml::ä", 2): []}
        assert dict(texts) == {"a": {"b": 1}}
        assert held.get(("a.yml::ä", 3), "nothing") == "nothing"
        del texts["a"]
        assert len(texts) == 0


def test_digests_tell_apart_where_one_text_ends_and_the_next_begins() -> None:
    assert digest("ab", "c") == digest("ab", "c")
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4
    assert digest("\ud800")  # half a character


def test_a_full_disk_is_told() -> None:
    def fill_the_disk() -> None:
        with scratch() as database:
            database.execute("PRAGMA max_page_count = 4")
            database.execute("CREATE TABLE texts (text TEXT)")
            database.executemany("INSERT INTO texts VALUES (?)", [("x" * 4096,)] * 100)

    with pytest.raises(WorkspaceError, match="SQLITE_TMPDIR"):
        fill_the_disk()
