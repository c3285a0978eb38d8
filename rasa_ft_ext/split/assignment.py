"""Which test case goes to training and which to validation.

Test cases that share an example are one group, and a group is never torn apart: no prompt of the validation data has
been seen in training. Training has everything there is to learn at least once (command types, flows that are
started, names of slots that are set); after that it takes as many examples as its fraction allows. Files and formats
are not known here, and examples are looked at once, one by one: what is kept of them in memory is a few numbers for
each test.
"""

from __future__ import annotations

import math
import random
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rasa_ft_ext.conversation import Conversation, Example
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.prompts import without_clock
from rasa_ft_ext.scratch import digest, scratch

Feature = tuple[str, str]
"""What is to be learned: one of `KINDS`, and a name."""

KINDS = ("commands", "flows", "slots")


@dataclass(frozen=True, eq=False)
class Group:
    """Test cases that stay together, in alphabetical order; how many examples they have, and what these can teach."""

    tests: tuple[str, ...]
    size: int
    features: frozenset[Feature]


@dataclass(frozen=True)
class Assignment:
    """The groups of each side, and what training had to take whatever its fraction.

    `demanded` are the groups of `train` that together hold every feature. `idle` are the tests that no example comes
    from; they belong to no group.
    """

    train: tuple[Group, ...]
    validation: tuple[Group, ...]
    demanded: tuple[Group, ...]
    idle: tuple[str, ...] = ()


def assign(
    conversations: Iterable[Conversation],
    examples: Iterable[Example],
    train_frac: float,
    seed: int,
    tied: Iterable[tuple[str, str]] = (),
) -> Assignment:
    """Assign every group of test cases to a side; the order of the arguments' entries does not matter.

    `tied` are pairs of tests that are kept on one side for other reasons than a shared example.

    Training never gets more than `train_frac` of the examples, unless it must to have every feature, and comes as
    near to it as whole groups allow. One exception: where that leaves it with less than half of its share, because
    one group is too large for it, that group goes to training all the same. Validation is empty only if training
    needs every group, or takes all.

    Raises:
        WorkspaceError: the examples do not fit the conversations, or hold one twice.
    """
    groups, idle = grouped(conversations, examples, tied)
    random.Random(seed).shuffle(groups)
    if train_frac >= 1:
        return Assignment(tuple(groups), (), (), tuple(idle))
    demanded = _cover(groups) or sorted(groups, key=lambda group: group.size)[:1]
    rest = [group for group in groups if group not in demanded]
    wanted = math.floor(train_frac * sum(group.size for group in groups) + 1e-9)
    room = wanted - sum(group.size for group in demanded)
    chosen = [rest[index] for index in fill([group.size for group in rest], room)]
    if len(rest) > 1 and sum(group.size for group in [*demanded, *chosen]) < wanted / 2:
        chosen = [max(rest, key=lambda group: group.size)]
    train = {*demanded, *chosen}
    return Assignment(
        train=tuple(group for group in groups if group in train),
        validation=tuple(group for group in groups if group not in train),
        demanded=tuple(demanded),
        idle=tuple(idle),
    )


def grouped(
    conversations: Iterable[Conversation], examples: Iterable[Example], tied: Iterable[tuple[str, str]] = ()
) -> tuple[list[Group], list[str]]:
    """Put together the test cases that share a prompt; return the groups, and the tests that give no example.

    Tests are tied when they gave the same example (`also_in`) or examples with the same prompt. A prompt that differs
    only in what the clock said is the same. A test all of whose examples were dropped as another's duplicates goes
    with that other.
    """
    ties, own = _Ties(), _Tallies()
    for one, other in tied:
        ties.tie(one, other)
    with scratch() as database:
        holders = _Holders(database)
        for example in examples:
            ties.tie(example.test, holders.first(example), *example.also_in)
            own.add(example)
        holders.refuse_doubles()
        unknown = ties.items
        for conversation in conversations:
            unknown.discard(conversation.id)
            ties.tie(conversation.id)
            if conversation.id not in own.tests:
                ties.tie(conversation.id, *holders.of(conversation))
    if unknown:
        raise WorkspaceError(
            f"There are examples of {min(unknown)!r}, but no annotations of this test ({len(unknown)} such tests). The "
            "dataset is of another run: run `rasa-ft dataset` again."
        )
    groups: list[Group] = []
    idle: list[str] = []
    for tests in ties.sets():
        group = own.group(tests)
        if group.size:
            groups.append(group)
        else:
            idle.extend(tests)
    return groups, sorted(idle)


def remeasured(assignment: Assignment, examples: Iterable[Example]) -> Assignment:
    """The same assignment with the sizes and features that its groups have where these are the examples."""
    own = _Tallies()
    for example in examples:
        own.add(example)
    measured = {group: own.group(group.tests) for group in (*assignment.train, *assignment.validation)}
    return replace(
        assignment,
        train=tuple(measured[group] for group in assignment.train),
        validation=tuple(measured[group] for group in assignment.validation),
        demanded=tuple(measured[group] for group in assignment.demanded),
    )


def features(examples: Iterable[Example]) -> frozenset[Feature]:
    """What can be learned from examples: types of commands, flows that are started, names of slots that are set."""
    found: set[Feature] = set()
    for example in examples:
        for command in example.commands:
            found.add(("commands", command.type))
            kind = {"StartFlow": "flows", "SetSlot": "slots"}.get(command.type)
            if kind and command.args and command.args[0] is not None:
                found.add((kind, command.args[0]))
    return frozenset(found)


def example_order(example: Example) -> tuple[str, int, int, str, str]:
    """The order in which examples stand wherever chance does not decide."""
    return (example.test, example.turn, example.variant, example.prompt, example.completion)


def fill(sizes: Sequence[int], room: int) -> list[int]:
    """Indices of the sizes whose sum is the largest that `room` holds; of several choices the earliest in order."""
    if room <= 0:
        return []
    made_by = array("i", [0]) * (room + 1)
    reached = 1  # bit n is set: some of the sizes so far add up to n
    everything = (1 << (room + 1)) - 1
    for index, size in enumerate(sizes):
        new = (reached << size) & ~reached & everything if size <= room else 0
        reached |= new
        if new:
            lowest = (new & -new).bit_length() - 1
            bits = f"{new >> lowest:b}"[::-1]
            at = bits.find("1")
            while at >= 0:
                made_by[lowest + at] = index
                at = bits.find("1", at + 1)
        if reached >> room:
            break
    total = reached.bit_length() - 1
    chosen: list[int] = []
    while total:
        chosen.append(made_by[total])
        total -= sizes[made_by[total]]
    return sorted(chosen)


def _cover(groups: Sequence[Group]) -> list[Group]:
    """Few and small groups that together have every feature: greedy, then without those that turned out needless."""
    missing = set[Feature]().union(*(group.features for group in groups))
    cover: list[Group] = []
    while missing:
        best = max(groups, key=lambda group: (len(group.features & missing) / group.size, -group.size))
        cover.append(best)
        missing -= best.features
    times = Counter(feature for group in cover for feature in group.features)
    for group in sorted(cover, key=lambda group: -group.size):
        if all(times[feature] > 1 for feature in group.features):
            cover.remove(group)
            times.subtract(group.features)
    return cover


class _Tallies:
    """How many examples each test has, and what these can teach."""

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._features: dict[str, frozenset[Feature]] = {}
        self._known: dict[frozenset[Feature], frozenset[Feature]] = {}  # most sets are those of other tests as well

    def add(self, example: Example) -> None:
        found = features((example,)) | self._features.get(example.test, frozenset())
        self.tests[example.test] = self.tests.get(example.test, 0) + 1
        self._features[example.test] = self._known.setdefault(found, found)

    def group(self, tests: Iterable[str]) -> Group:
        tests = tuple(tests)
        found = frozenset[Feature]().union(*(self._features.get(test, ()) for test in tests))
        return Group(tests, sum(self.tests.get(test, 0) for test in tests), self._known.setdefault(found, found))


class _Holders:
    """On disk, the first test that has each prompt, date and time aside; and all examples, each of which is one."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE prompts (prompt BLOB PRIMARY KEY, test TEXT) WITHOUT ROWID")
        database.execute("CREATE TABLE examples (example BLOB, test TEXT, turn INTEGER, variant INTEGER)")

    def first(self, example: Example) -> str:
        """The test that had the example's prompt first: its own, if none had it before."""
        key = digest(example.prompt, example.completion)
        entry = (key, example.test, example.turn, example.variant)
        self._database.execute("INSERT INTO examples VALUES (?, ?, ?, ?)", entry)
        prompt = digest(without_clock(example.prompt))
        self._database.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (prompt, example.test))
        return next(self._with(prompt))

    def of(self, conversation: Conversation) -> Iterator[str]:
        """The tests that have the prompts of a conversation."""
        for _, turn in conversation.annotated:
            if turn.annotation is not None:
                yield from self._with(digest(without_clock(turn.annotation.prompt)))

    def _with(self, prompt: bytes) -> Iterator[str]:
        for (test,) in self._database.execute("SELECT test FROM prompts WHERE prompt = ?", (prompt,)):
            yield str(test)

    def refuse_doubles(self) -> None:
        twice = "SELECT example FROM examples GROUP BY example HAVING COUNT(*) > 1"
        query = f"SELECT test, turn, variant FROM examples WHERE example IN ({twice}) ORDER BY test, turn, variant"
        found = self._database.execute(query)
        first = found.fetchone()
        if first is not None:
            test, turn, variant = first
            raise WorkspaceError(
                f"The dataset holds an example twice: turn {turn} of {test!r}, variant {variant} "
                f"({1 + sum(1 for _ in found)} rows are concerned). Run `rasa-ft dataset` again."
            )


class _Ties:
    """Disjoint sets of test ids."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    @property
    def items(self) -> set[str]:
        return set(self._parent)

    def tie(self, item: str, *others: str) -> None:
        for other in (item, *others):
            self._parent.setdefault(other, other)
            first, second = sorted((self._root(item), self._root(other)))
            self._parent[second] = first

    def sets(self) -> Iterator[tuple[str, ...]]:
        """The members of each set in alphabetical order; the sets in the order of their first."""
        found: dict[str, list[str]] = {}
        for item in sorted(self._parent):
            found.setdefault(self._root(item), []).append(item)
        return (tuple(tests) for tests in found.values())

    def _root(self, item: str) -> str:
        while self._parent[item] != item:
            self._parent[item] = item = self._parent[self._parent[item]]
        return item
