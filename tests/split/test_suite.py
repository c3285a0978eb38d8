"""The written tests, read back with Rasa's own reader, are the original ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rasa_ft_ext.conversation import TestFile
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.split.suite import SuiteWriter
from tests.split.builders import annotated, conversation
from tests.split.reading import assert_same, original, seen, write_all

TRICKY = """\
    fixtures:
      - local:
          - answer: "yes"
          - number: "1"
          - really_a_number: 1
          - nothing: null
          - text: "null"
          - flag: true
          - when: "2024-01-15"
          - nested: {a: [1, "1", 1.0, {b: "no"}], "on": "off"}
      - unused:
          - answer: "no"
      - today:
          - mocked_datetime: "2024-01-15T14:30:00+05:30"
    metadata:
      - room: {name: "yes", floor: 1, text: "${HOME}", deep: {list: [null, true, "1e3"]}}
      - unused_room: {name: x}
      - step_room: {name: "~"}
    test_cases:
      - test_case: "yes"
        fixtures: [local, today]
        metadata: room
        steps:
          - user: "1"
          - bot: "null"
          - user: 'Zürich, "東京" & 😀: #1 {x} [y] %'
            metadata: step_room
          - utter: utter_x
          - slot_was_set:
              - city
              - number: "1"
              - number: 1
              - flag: true
              - price: 1.50
              - word: "true"
              - list: ["a", 1]
          - slot_was_not_set:
              - street
              - flag: null
      - test_case: "assertions: yes"
        fixtures: [shared]
        steps:
          - user: |
              several
                indented

              lines
            assertion_order_enabled: true
            assertions:
              - slot_was_set:
                  - name: city
                    value: "123"
              - bot_uttered:
                  text_matches: "^[0-9]+: .*$"
              - action_executed: action_listen
          - bot: "one\\ntwo\\u2028three \\x85 \\t four"
          - user: "- ${HOME} @ `x` | > !tag &a *a"
          - user: " leading and trailing "
          - user: "2024-01-15"
          - user: "0x1F"
          - user: "a:b: c"
    """
CONFTEST = "fixtures:\n  - shared:\n      - city: Basel\n"


def test_what_yaml_could_change_comes_back(rasa: None, tmp_path: Path) -> None:
    source = original(tmp_path / "in", {"deep/er/tricky.yml": TRICKY, "deep/conftest.yml": CONFTEST})
    writer, folders = write_all(source, tmp_path / "out")

    assert_same(source, writer, folders)
    text = (tmp_path / "out/train/deep/er/tricky.yml").read_text()
    assert "shared" in text
    assert "unused" not in text


@pytest.mark.parametrize("seed", range(30))
def test_any_string_comes_back(rasa: None, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    bits = [
        *" \n\t\r#:-ab'\"{}[]$\u2028\x85ü日\x07\ufeff|>%@`!&*?,~.1_=<\\\xa0😀",
        "${HOME}",
        "yes",
        "null",
        "\n\n",
        "---",
    ]
    texts = ["".join(dice.choices(bits, k=dice.randint(1, 9))) for _ in range(25)]
    case = {
        "test_case": "t",
        "metadata": "m",
        "steps": [{"user": f"x{text}x"} for text in texts] + [{"slot_was_set": [{"s": text}]} for text in texts],
    }
    source = TestFile(file="a.yml", metadata=({"m": {"texts": texts, "keys": [{text: 1} for text in texts]}},))
    SuiteWriter(annotated([conversation("a.yml::t", case=case)], [source])).write(tmp_path, "train", {"a.yml::t"})
    view = seen(tmp_path / "train")["a.yml::t"]

    assert view["metadata"]["metadata"] == {"texts": texts, "keys": [{text: 1} for text in texts]}
    assert [step["user"] for step in view["steps"] if "user" in step] == [f"x{text}x" for text in texts]


def test_each_side_has_its_own_tests_in_the_same_tree(rasa: None, tmp_path: Path) -> None:
    two = "test_cases: [{test_case: a, steps: [{user: x}]}, {test_case: b, steps: [{user: y}]}]"
    source = original(tmp_path / "in", {"one.yml": two, "sub/two.yml": two})
    writer = SuiteWriter(source.files)

    assert writer.write(tmp_path, "train", {"one.yml::a", "sub/two.yml::a", "sub/two.yml::b"}) == ["train"]
    assert writer.write(tmp_path, "validation", {"one.yml::b"}) == ["validation"]
    assert list(seen(tmp_path / "train")) == ["one.yml::a", "sub/two.yml::a", "sub/two.yml::b"]
    assert list(seen(tmp_path / "validation")) == ["one.yml::b"]
    assert not writer.renamed


def test_the_suite_of_the_example_comes_back(rasa: None, tmp_path: Path) -> None:
    root = Path(__file__).parents[2] / "e2e_tests"
    texts = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.yml"))
    }
    source = original(tmp_path / "in", texts)
    writer, folders = write_all(source, tmp_path / "out")

    assert_same(source, writer, folders)
    assert len(source.ids) > 50


def with_metadata(content: str) -> str:
    return f"""\
        metadata: [{{m: {content}}}, {{m_2: {{k: original}}}}]
        test_cases:
          - {{test_case: t, metadata: m, steps: [{{user: x, metadata: m}}, {{user: y, metadata: m_2}}]}}
        """


def test_metadata_of_one_name_and_other_content_stays_apart(rasa: None, tmp_path: Path) -> None:
    texts = {"a.yml": "{k: 1}", "b.yml": "{k: true}", "c.yml": "{k: 1}", "d.yml": "{k: {}}"}
    source = original(tmp_path / "in", {name: with_metadata(content) for name, content in texts.items()})
    writer, folders = write_all(source, tmp_path / "out")

    assert_same(source, writer, folders)
    assert "m:" in (tmp_path / "out/train/c.yml").read_text()
    assert "m_3:" in (tmp_path / "out/train/b.yml").read_text()


def test_fixtures_keep_their_order_and_the_last_of_one_name_counts(tmp_path: Path) -> None:
    case = {"test_case": "t", "fixtures": ["b", "a"], "steps": [{"user": "x"}]}
    source = TestFile(file="x.yml", fixtures=({"a": [{"s": 1}]}, {"b": [{"s": 2}]}, {"a": [{"s": 3}]}))
    SuiteWriter(annotated([conversation("x.yml::t", case=case)], [source])).write(tmp_path, "train", {"x.yml::t"})

    text = (tmp_path / "train/x.yml").read_text()
    assert text.index("a:\n      - s: 3") < text.index("b:\n      - s: 2")
    assert "s: 1" not in text


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    writer = SuiteWriter(annotated([conversation("../../x.yml::t")]))
    with pytest.raises(WorkspaceError, match="leads out of"):
        writer.write(tmp_path / "out", "train", {"../../x.yml::t"})
