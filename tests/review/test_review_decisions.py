"""The file of decisions: what can be read, and what a change leaves as it was."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.files import write_whole
from rasa_ft_ext.review.decisions import Decision, Decisions, _as_a_whole, _blocks, read_decisions
from rasa_ft_ext.review.writing import DecidedMeanwhileError, _changed, decide
from tests.review.review_builders import decided, decision

ODD = ["to Basel", "it's: #1", "- no", "yes", "12", "${HOME}", " two\nlines ", "Zürich \N{SNOWMAN}", "", "\u2028\x85\t"]
BY_HAND = """\
# Ours, since May.
decisions:
  # the booking
  - {test: a.yml::a, turn: 1, message: hi, decision: accept}   # asked Ann

  - test: "c.yml::c"
    message: 'hi'
    turn: 2
    decision: reject   # really
    note: |
      # this is the note
      of two lines

# the end
"""


def random_decision(source: random.Random) -> Decision:
    rephrasing = source.choice([None, *ODD])
    verdict = source.choice(["accept", "reject", "edit"])
    return Decision(
        test=source.choice(["a.yml::a", "b.yml::it's b"]),
        turn=source.randint(1, 3),
        message=source.choice(ODD),
        rephrasing=rephrasing,
        decision=verdict,
        commands=source.choice(["start flow f", "set slot a b\nset slot c d"]) if verdict == "edit" else None,
        note=source.choice([None, "why: not", "two\nlines"]),
    )


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_decided_is_read_back_and_what_is_taken_back_is_gone(tmp_path: Path, seed: int) -> None:
    source, path, wanted = random.Random(seed), tmp_path / "review.yaml", {}
    for _ in range(25):
        new = random_decision(source)
        before = wanted.get(new.subject)
        if before is not None and source.random() < 0.5:
            decide(path, new.subject, None, before)
            del wanted[new.subject]
        else:
            decide(path, new.subject, new, before)
            wanted[new.subject] = new
        found = read_decisions(path)
        assert {entry.subject: entry for entry in found.entries} == wanted
        assert list(found.entries) == sorted(found.entries, key=lambda entry: entry.order)
        assert found == _as_a_whole(path.read_text(encoding="utf-8"), ""), "what is known of before is still so"


def test_a_change_leaves_the_rest_of_a_file_made_by_hand_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    path.write_text(BY_HAND, encoding="utf-8")
    new = Decision(test="b.yml::b", turn=1, message="hi", decision="reject")
    first, last = read_decisions(path).entries

    decide(path, new.subject, new, None)
    assert path.read_text() == BY_HAND.replace(
        "# asked Ann\n", "# asked Ann\n  - test: b.yml::b\n    turn: 1\n    message: hi\n    decision: reject\n"
    )
    decide(path, new.subject, None, new)
    assert path.read_text() == BY_HAND
    decide(path, last.subject, last.model_copy(update={"decision": "accept", "note": None}), last)
    assert all(part in path.read_text() for part in ("# Ours", "asked Ann", "\n# the end\n"))
    decide(path, first.subject, None, first)
    assert "# the booking" in path.read_text()


def test_a_file_laid_out_in_a_way_of_its_own_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    path.write_text('{"decisions": [{"test": "a", "turn": 1, "message": "hi", "decision": "accept"}]}')
    new = decision(1, "reject")
    decide(path, new.subject, new, None)
    assert [entry.decision for entry in read_decisions(path).entries] == ["accept", "reject"]


@pytest.mark.parametrize(
    "text",
    [
        "decisions:\n  - test: a\n    turn: 1\n    message: &m hi\n    decision: accept\n"
        "  - test: a\n    turn: 2\n    message: *m\n    decision: accept\n",
        "# ####\n\n#\ndecisions:\n# one\n\n  - test: a   # one\n    turn: 1\n    decision: accept\n    message: |\n"
        "      hi\n      # no comment\n        - deep\n\n  # two\n",
        "decisions:\n- test: a\n  turn: 1\n  message: 'hi\n\n    you'\n  decision: accept\n",
    ],
)
def test_odd_layouts_are_read_as_yaml_reads_them_before_and_after_a_change(tmp_path: Path, text: str) -> None:
    path, new = tmp_path / "review.yaml", decision(1, "accept")
    path.write_text(text)
    before = read_decisions(path).entries
    assert before == _as_a_whole(text, "").entries
    for change, seen in ((new, None), (None, new)):
        found = decide(path, new.subject, change, seen)
        assert found == read_decisions(path) == _as_a_whole(path.read_text(), "")
    assert found.entries == before


def test_many_signs_of_a_comment_take_no_time() -> None:
    assert _blocks("#" * 5000 + "\nx\ndecisions:\n  - test: a") == []


def test_an_empty_list_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    path.write_text("# ours\ndecisions: []\n# end\n")
    new = decision(1, "reject")
    decide(path, new.subject, new, None)
    assert path.read_text().startswith("# ours\ndecisions:\n  - test")
    assert path.read_text().endswith("# end\n")


def test_a_decision_that_somebody_else_took_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    one, other = decision(1, "accept"), decision(1, "reject")
    decide(path, one.subject, one, None)
    with pytest.raises(DecidedMeanwhileError, match=r"decided otherwise \(accept\)"):
        decide(path, other.subject, other, None)
    decide(path, one.subject, None, one)
    with pytest.raises(DecidedMeanwhileError, match="taken back"):
        decide(path, other.subject, other, one)


def _decide_many(path: Path, test: str) -> None:
    for turn in range(1, 13):
        new = Decision(test=test, turn=turn, message="hi", decision="accept")
        decide(path, new.subject, new, None)


def test_two_processes_lose_none_of_their_decisions(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    processes = [
        multiprocessing.get_context("fork").Process(target=_decide_many, args=(path, test)) for test in ("a", "b", "c")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert len(read_decisions(path).entries) == 36
    assert [entry.name for entry in tmp_path.iterdir()] == ["review.yaml"]


def test_who_changes_the_file_waits_for_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, inside, go_on = tmp_path / "review.yaml", Semaphore(0), Event()

    def slowly(*given: Any) -> None:
        inside.release()
        assert go_on.wait(10)
        write_whole(*given)

    monkeypatch.setattr("rasa_ft_ext.review.writing.write_whole", slowly)
    both = [decision(0, "accept"), decision(1, "accept")]
    threads = [Thread(target=decide, args=(path, new.subject, new, None)) for new in both]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=10)
    assert not inside.acquire(timeout=0.3), "the other one is inside as well"
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert list(read_decisions(path).entries) == both


def test_what_an_editor_saves_in_the_very_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, mine, new = tmp_path / "review.yaml", decision(0, "reject"), decision(1, "accept")
    times = []

    def changed(*given: Any) -> str:
        if not times:
            decided(tmp_path, mine)
        times.append(1)
        return _changed(*given)

    monkeypatch.setattr("rasa_ft_ext.review.writing._changed", changed)
    decide(path, new.subject, new, None)
    assert list(read_decisions(path).entries) == [mine, new]


def test_all_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "review.yaml"
    path.write_text(
        "decisions:\n"
        "  - {test: a, turn: 0, message: hi, decision: accept}\n"
        "  - {test: a, turn: 1, message: 12, decision: maybe}\n"
        "  - {test: a, turn: 2, message: hi, decision: edit}\n"
        "  - {test: a, turn: 3, message: hi, decision: edit, text: hello}\n"
        "  - {test: a, turn: 4, message: hi, decision: reject}\n"
        "  - {test: a, turn: 4, message: hi, decision: accept, why: no}\n"
        "  - {test: a, turn: 4, message: hi, decision: accept}\n"
        "  - 7\n"
    )
    with pytest.raises(ConfigError) as wrong:
        read_decisions(path)
    told = "\n".join(wrong.value.problems)
    assert [int(line.split(":")[0].removeprefix("line ")) for line in wrong.value.problems] == [2, 3, 3, 4, 5, 7, 8, 9]
    for part in (
        "'hi': `turn`: input should be greater than or equal to 1.",
        "`message` is no text; put it in quotes.",
        "`decision`: input should be 'accept', 'reject' or 'edit'.",
        "edit needs `commands`, or `text`",
        "the message of a test is changed in the test",
        "`why` is not known",
        "it is decided on line 6 already",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("decisions: [", "it is no YAML"),
        ("- a\n", "must have the one key `decisions`"),
        ("decisions: {}\n", "`decisions` must be a list"),
        ("decisions:\nnotes: []\n", "must have the one key"),
    ],
)
def test_a_broken_file_is_refused_and_left_alone(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "review.yaml"
    path.write_text(text)
    new = decision(1, "accept")
    with pytest.raises(ConfigError, match=why):
        decide(path, new.subject, new, None)
    assert path.read_text() == text


def test_the_digest_is_that_of_what_is_decided_only(tmp_path: Path) -> None:
    one, other = decision(0, "accept"), decision(1, "reject", note="a note")
    noted = other.model_copy(update={"note": "another"})
    assert Decisions((one, other)).digest == Decisions((noted, one)).digest
    assert Decisions((one, other)).digest != Decisions((one,)).digest
    assert Decisions().digest is None
    assert read_decisions(tmp_path / "none.yaml").digest is None
