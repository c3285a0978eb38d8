"""Change single entries of a YAML file and nothing else: every character outside of what changes stays where it is.

    edits = Edits(file)
    edits.set(mapping, "llm", {"model_group": "student"}, after=("name",))
    edits.append(file.root, "model_groups", {"id": "student", "models": [...]})
    edits.result()                       # the file's new bytes

A value is replaced where it stands, a new entry gets lines of its own behind another one, and an entry that goes takes
its lines along. What cannot be done so raises `UnsafeEditError`. Whether the outcome says what it should is for the
caller to check: by reading it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rasa_ft_ext.connect import notation
from rasa_ft_ext.project import YamlFile, entry_of
from rasa_ft_ext.yaml_reading import load_yaml

_BLOCK_SCALARS = ("|", ">")
_MERGE = "tag:yaml.org,2002:merge"
_ALIAS = re.compile(r"\s*\*[^\s,\]}]+")


class UnsafeEditError(Exception):
    """The text is written in a way that it cannot be changed safely; says why."""


class Edits:
    """The changes to one file, collected.

    Args:
        file: What stands in the file now.
    """

    def __init__(self, file: YamlFile) -> None:
        self._file = file
        self._text = file.text
        self._newline = "\r\n" if file.text.count("\r\n") * 2 > file.text.count("\n") else "\n"
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> bytes:
        """The file's bytes with all changes made."""
        parts, position = [], 0
        for start, end, text in sorted(self._edits, key=lambda edit: edit[:2]):
            if start < position:
                raise UnsafeEditError("two changes fall on the same place")
            parts += [self._text[position:start], text]
            position = end
        return self._file.mark + "".join([*parts, self._text[position:]]).encode()

    def set(self, node: MappingNode, key: str, value: Any, *, after: Sequence[str] = (), instead_of: str = "") -> None:
        """Give an entry of a mapping a value.

        Args:
            node: The mapping.
            key: The entry's name.
            value: A single value, or a mapping of such.
            after: Entries behind the first of which a new one is written; behind all where none of them is there.
            instead_of: Another name of the entry; where it stands, the entry is renamed.
        """
        found = entry_of(node, key)
        other = entry_of(node, instead_of) if instead_of else None
        if other is not None:
            if found is None:
                written = notation.scalar(key, quote=other[0].style if other[0].style in ("'", '"') else None)
                self._edits.append((other[0].start_mark.index, other[0].end_mark.index, written))
            self._change(*other, value)
        if found is not None:
            self._change(*found, value)
        elif other is None:
            self._insert(node, key, value, after)

    def shape(self, node: Node, wanted: Mapping[str, Any]) -> None:
        """Make a mapping hold just these entries; what has its value already is not touched."""
        if not isinstance(node, MappingNode):
            raise UnsafeEditError(f"no mapping (line {node.start_mark.line + 1})")
        refuse_anchors(node)
        gone = [(key, value) for key, value in node.value if key.value not in wanted]
        if node.flow_style:
            if gone or not node.value:
                self._edits.append((node.start_mark.index, node.end_mark.index, notation.flow(wanted)))
                return
        else:
            for key, value in gone:
                self._delete(key, value)
        for key, value in wanted.items():
            found = entry_of(node, key)
            if found is not None:
                self._change(*found, value)
            else:
                self._insert(node, key, value, ())

    def rewrite(self, node: MappingNode, wanted: Mapping[str, Any]) -> None:
        """Write a mapping anew."""
        refuse_anchors(node)
        dash = _dash_of([node])
        lines = [line for key, value in wanted.items() for line in notation.block(key, value, dash=dash)]
        text = f"{self._newline}{' ' * node.start_mark.column}".join(lines)
        self._edits.append((node.start_mark.index, self._end(node), notation.flow(wanted) if node.flow_style else text))

    def append(self, root: MappingNode | None, key: str, item: Mapping[str, Any]) -> None:
        """Add an item to the list under a key of the file's outermost mapping; both come into being where missing."""
        found = entry_of(root, key)
        if found is None:
            self._append_entry(root, key, [item])
        elif isinstance(found[1], SequenceNode):
            self._append_item(found[1], item)
        elif isinstance(found[1], ScalarNode) and found[1].value in ("", "null", "~"):
            self._change(*found, [item])
        else:
            raise UnsafeEditError(f"`{key}` is no list")

    def comment(self, places: Sequence[Node], lines: Sequence[str], prefix: str) -> None:
        """Put comments above the first of these places that begins a line; earlier ones with that prefix go.

        Args:
            places: Where it may stand, the best first.
            lines: What is said, a line each; none takes earlier comments away.
            prefix: What every such comment begins with, behind the `#`.
        """
        for start in [node.start_mark.index for node in places]:
            begin = self._text.rfind("\n", 0, start) + 1
            before = self._text[begin:start]
            if before.strip(" -"):
                continue
            indent = before[: len(before) - len(before.lstrip(" "))]
            wanted = "".join(f"{indent}# {prefix}{line}{self._newline}" for line in lines)
            first = begin
            while self._line_before(first).strip().startswith(f"# {prefix}"):
                first -= len(self._line_before(first))
            if self._text[first:begin] != wanted:
                self._edits.append((first, begin, wanted))
            return
        if lines:
            raise UnsafeEditError("there is no line above which a comment could stand")

    def _line_before(self, position: int) -> str:
        return self._text[self._text.rfind("\n", 0, max(position - 1, 0)) + 1 : position]

    def _change(self, key: ScalarNode, node: Node, value: Any) -> None:
        """Give an entry that is there another value."""
        if is_alias(key, node):
            raise UnsafeEditError(f"`{key.value}` is an alias (line {key.start_mark.line + 1})")
        if isinstance(value, Mapping) and isinstance(node, MappingNode):
            self.shape(node, value)
            return
        refuse_anchors(node)
        single = not isinstance(value, Mapping | list)
        if single and isinstance(node, ScalarNode) and _says(node, value):
            return
        within = self._in_flow(key)
        quote = node.style if isinstance(node, ScalarNode) and node.style in ("'", '"') else None
        text = notation.scalar(value, flow=within, quote=quote) if single else notation.flow(value)
        if _is_written(node):
            self._edits.append((node.start_mark.index, self._end(node), text))
        elif single or within:
            end = self._entry_end(key, node)
            self._edits.append((end, end, f" {text}"))
        else:
            self._write_lines(self._entry_end(key, node), key.start_mark.column, notation.block(key.value, value)[1:])

    def _write_lines(self, behind: int, column: int, lines: Sequence[str]) -> None:
        """Write lines of their own below the one in which a position lies, and below comments further to the right."""
        end = self._line_end(behind)
        while (below := self._comment_below(end)) is not None and below[1] > column:
            end = below[0]
        self._edits.append((end, end, "".join(f"{self._newline}{' ' * column}{line}" for line in lines)))

    def _insert(self, node: MappingNode, key: str, value: Any, after: Sequence[str]) -> None:
        """Write a new entry behind one that is there."""
        if not node.value:
            raise UnsafeEditError("a mapping without entries")
        behind = next((found for found in (entry_of(node, name) for name in after) if found), node.value[-1])
        end = self._entry_end(*behind)
        if node.flow_style:
            self._edits.append((end, end, f", {notation.scalar(key, flow=True)}: {notation.flow(value)}"))
        else:
            self._write_lines(end, node.value[0][0].start_mark.column, notation.block(key, value))

    def _delete(self, key: ScalarNode, value: Node) -> None:
        """Take an entry of a block away, with the end of the line before it."""
        begin = self._text.rfind("\n", 0, key.start_mark.index)
        if begin < 0 or self._text[begin + 1 : key.start_mark.index].strip():
            raise UnsafeEditError(f"`{key.value}` does not begin a line (line {key.start_mark.line + 1})")
        begin -= self._text[:begin].endswith("\r")
        self._edits.append((begin, self._line_end(self._entry_end(key, value)), ""))

    def _append_item(self, node: SequenceNode, item: Mapping[str, Any]) -> None:
        if node.anchor:
            raise UnsafeEditError(f"the list has an anchor (line {node.start_mark.line + 1})")
        if node.flow_style:
            end = self._end(node.value[-1]) if node.value else node.start_mark.index + 1
            self._edits.append((end, end, (", " if node.value else "") + notation.flow(item)))
            return
        self._write_lines(self._end(node), node.start_mark.column, notation.listed(item, dash=_dash_of(node.value)))

    def _append_entry(self, root: MappingNode | None, key: str, items: list[Mapping[str, Any]]) -> None:
        if root is not None and root.flow_style:
            self._insert(root, key, items, ())
            return
        indent = " " * (root.value[0][0].start_mark.column if root is not None else 0)
        lines = self._text.split("\n")
        cut = next((number for number, line in enumerate(lines) if line.split("#")[0].rstrip() == "..."), None)
        end = len("\n".join(lines[:cut])) + 1 if cut else len(self._text)
        before = self._text[:end]
        written = [f"{indent}{line}" for line in notation.block(key, items)]
        if before and not before.endswith("\n"):
            text = self._newline * 2 + self._newline.join(written)
        else:
            apart = self._newline if before.strip() and not before.endswith(("\n\n", "\n\r\n")) else ""
            text = apart + "".join(f"{line}{self._newline}" for line in written)
        self._edits.append((end, end, text))

    def _comment_below(self, end: int) -> tuple[int, int] | None:
        """Where the next line ends and in which column its comment begins; None if it holds no comment alone."""
        begin = self._text.find("\n", end) + 1
        line = self._text[begin:].split("\n", 1)[0] if begin else ""
        return (self._line_end(begin), len(line) - len(line.lstrip(" "))) if line.lstrip(" ").startswith("#") else None

    def _entry_end(self, key: ScalarNode, value: Node) -> int:
        """Where an entry's last character stands, comments and blanks behind it left out."""
        colon = self._text.find(":", key.end_mark.index) + 1
        if is_alias(key, value):
            found = _ALIAS.match(self._text, colon)
            return found.end() if found else colon
        return self._end(value) if _is_written(value) else colon

    def _end(self, node: Node) -> int:
        """Where a value's last character stands: ruamel counts what follows a block as part of it."""
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, ScalarNode):
            return start + len(self._text[start:end].rstrip()) if node.style in _BLOCK_SCALARS else int(end)
        if node.flow_style or not node.value:
            return int(end)
        if isinstance(node, MappingNode):
            return self._entry_end(*node.value[-1])
        return self._end(node.value[-1])

    def _line_end(self, position: int) -> int:
        """Where the line ends, its line end left out."""
        end = self._text.find("\n", position)
        if end < 0:
            return len(self._text)
        return end - self._text[position:end].endswith("\r")

    def _in_flow(self, node: Node) -> bool:
        return any(
            isinstance(outer, MappingNode | SequenceNode)
            and bool(outer.flow_style)
            and outer.start_mark.index <= node.start_mark.index < outer.end_mark.index
            for outer in _all_nodes(self._file.root)
        )


def refuse_anchors(node: Node) -> None:
    """Refuse what is written once and used in several places, or put together from other places.

    Raises:
        UnsafeEditError: there is an anchor, an alias or a merge key in this part.
    """
    for part in _all_nodes(node):
        if part.anchor:
            raise UnsafeEditError(f"there is an anchor or an alias (line {part.start_mark.line + 1})")
        if part.tag == _MERGE:
            raise UnsafeEditError(f"there is a merge key, `<<` (line {part.start_mark.line + 1})")


def is_alias(key: ScalarNode, value: Node) -> bool:
    """Whether a value is written elsewhere: what an alias stands for always comes before it."""
    return bool(value.start_mark.index < key.start_mark.index)


def _dash_of(items: Sequence[Node]) -> int:
    """How far the lists within these mappings are moved to the right of their keys."""
    for key, value in (pair for item in items if isinstance(item, MappingNode) for pair in item.value):
        if isinstance(value, SequenceNode) and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return 2


def _is_written(node: Node) -> bool:
    """Whether a value has any character: an empty one is null."""
    return bool(node.start_mark.index < node.end_mark.index)


def _says(node: ScalarNode, value: Any) -> bool:
    """Whether a value stands there already, whatever the notation."""
    found = load_yaml(node.value) if node.style is None else node.value
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)


def _all_nodes(node: Node | None) -> list[Node]:
    """A node and all that is in it."""
    if isinstance(node, MappingNode):
        return [node, *(inner for pair in node.value for part in pair for inner in _all_nodes(part))]
    if isinstance(node, SequenceNode):
        return [node, *(inner for part in node.value for inner in _all_nodes(part))]
    return [node] if node is not None else []
