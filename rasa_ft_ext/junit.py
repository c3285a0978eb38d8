"""JUnit XML, which CI systems show: suites of test cases, each passed, failed or skipped.

The elements and attributes are those that all readers of the format know: `testsuites`, `testsuite`, `testcase` with
`classname`, and in it `failure` or `skipped`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(path: Path, name: str, suites: Sequence[ElementTree.Element]) -> None:
    """Write the file; `name` is what made it."""
    root = ElementTree.Element("testsuites", name=name)
    root.extend(suites)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(entry.get(count, "0")) for entry in suites)))
    root.set("time", _seconds(sum(float(entry.get("time", "0")) for entry in suites)))
    ElementTree.indent(root, " ")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def suite(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    """A suite of these cases, with their sums."""
    counts = {
        "tests": len(cases),
        "failures": sum(entry.find("failure") is not None for entry in cases),
        "errors": 0,
        "skipped": sum(entry.find("skipped") is not None for entry in cases),
    }
    time = _seconds(sum(float(entry.get("time", "0")) for entry in cases))
    element = ElementTree.Element(
        "testsuite", {"name": name, **{key: str(number) for key, number in counts.items()}, "time": time}
    )
    element.extend(cases)
    return element


def case(classname: str, name: str, seconds: float = 0.0) -> ElementTree.Element:
    """A test case, passed as long as nothing is added to it."""
    return ElementTree.Element("testcase", classname=_clean(classname), name=_clean(name), time=_seconds(seconds))


def add(case: ElementTree.Element, kind: str, message: str, text: str | None = None) -> None:
    """Say of a case that it failed or was skipped: `kind` is `failure` or `skipped`."""
    element = ElementTree.SubElement(case, kind, message=_clean(message))
    if kind == "failure":
        element.set("type", "failure")
    element.text = _clean(text) if text is not None else None


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
