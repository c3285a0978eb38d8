"""Which test case goes to training and which to validation.

Test cases that share an example are one group, and a group is never torn apart: no prompt of the validation data has
been seen in training. Training has everything there is to learn at least once (command types, flows that are
started, names of slots that are set); after that it takes as many examples as its fraction allows. Files and formats
are not known here.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rasa_ft_ext.conversation import Conversation, Example
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.prompts import without_clock

Feature = tuple[str, str]
"""What is to be learned: one of `KINDS`, and a name."""

KINDS = ("commands", "flows", "slots")


@dataclass(frozen=True, eq=False)
class Group:
    """Test cases that stay together, with all of their examples; both are sorted."""

    tests: tuple[str, ...]
    examples: tuple[Example, ...]
    features: frozenset[Feature]

    @property
    def size(self) -> int:
        return len(self.examples)


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
    groups, idle = grouped(list(conversations), list(examples), tied)
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
    conversations: list[Conversation], examples: list[Example], tied: Iterable[tuple[str, str]] = ()
) -> tuple[list[Group], list[str]]:
    """Put together the test cases that share a prompt; return the groups, and the tests that give no example.

    Tests are tied when they gave the same example (`also_in`) or examples with the same prompt. A prompt that differs
    only in what the clock said is the same. A test all of whose examples were dropped as another's duplicates goes
    with that other.
    """
    examples = sorted(examples, key=example_order)
    ties = _Ties(conversation.id for conversation in conversations)
    _check(ties, examples)
    for one, other in tied:
        ties.tie(one, other)
    holders: dict[str, str] = {}
    for example in examples:
        ties.tie(example.test, holders.setdefault(without_clock(example.prompt), example.test), *example.also_in)
    own = {example.test for example in examples}
    for conversation in conversations:
        if conversation.id not in own:
            prompts = (without_clock(turn.annotation.prompt) for _, turn in conversation.annotated if turn.annotation)
            ties.tie(conversation.id, *(holders[prompt] for prompt in prompts if prompt in holders))
    groups: list[Group] = []
    idle: list[str] = []
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(ties.root(example.test), []).append(example)
    for root, tests in ties.sets().items():
        if root in found:
            groups.append(Group(tuple(tests), tuple(found[root]), features(found[root])))
        else:
            idle.extend(tests)
    return groups, sorted(idle)


def without(assignment: Assignment, dropped: Iterable[Example]) -> Assignment:
    """The same assignment with some of its examples left out; the tests stay."""
    gone = {example_order(example) for example in dropped}

    def thinned(group: Group) -> Group:
        examples = tuple(example for example in group.examples if example_order(example) not in gone)
        return Group(group.tests, examples, features(examples))

    kept = {group: thinned(group) for group in (*assignment.train, *assignment.validation)}
    return replace(
        assignment,
        train=tuple(kept[group] for group in assignment.train),
        validation=tuple(kept[group] for group in assignment.validation),
        demanded=tuple(kept[group] for group in assignment.demanded),
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
    made_by: dict[int, int] = {}
    reached = 1  # bit n is set: some of the sizes so far add up to n
    for index, size in enumerate(sizes):
        new = ((reached << size) & ~reached & ((1 << (room + 1)) - 1)) if size <= room else 0
        reached |= new
        while new:
            made_by[new.bit_length() - 1] = index
            new ^= 1 << (new.bit_length() - 1)
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


def _check(ties: _Ties, examples: Sequence[Example]) -> None:
    unknown = sorted({test for example in examples for test in (example.test, *example.also_in)} - ties.items)
    if unknown:
        raise WorkspaceError(
            f"There are examples of {unknown[0]!r}, but no annotations of this test ({len(unknown)} such tests). The "
            "dataset is of another run: run `rasa-ft dataset` again."
        )
    times = Counter((example.prompt, example.completion) for example in examples)
    twice = [example for example in examples if times[example.prompt, example.completion] > 1]
    if twice:
        raise WorkspaceError(
            f"The dataset holds an example twice: turn {twice[0].turn} of {twice[0].test!r}, variant "
            f"{twice[0].variant} ({len(twice)} rows are concerned). Run `rasa-ft dataset` again."
        )


class _Ties:
    """Disjoint sets of test ids."""

    def __init__(self, items: Iterable[str]) -> None:
        self._parent = {item: item for item in items}

    @property
    def items(self) -> set[str]:
        return set(self._parent)

    def root(self, item: str) -> str:
        while self._parent[item] != item:
            self._parent[item] = item = self._parent[self._parent[item]]
        return item

    def tie(self, item: str, *others: str) -> None:
        for other in others:
            first, second = sorted((self.root(item), self.root(other)))
            self._parent[second] = first

    def sets(self) -> dict[str, list[str]]:
        """The members of each set in alphabetical order, by their root; the sets in the order of their first."""
        found: dict[str, list[str]] = {}
        for item in sorted(self._parent):
            found.setdefault(self.root(item), []).append(item)
        return found
