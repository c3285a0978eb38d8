from __future__ import annotations

import random

import pytest

from rasa_ft_ext.train.tree import PrefixTree


def seen(tree: PrefixTree, index: int) -> list[int]:
    """The tokens that a sequence's last token can see, by the tree's nodes alone."""
    last = tree.paths[index][-1]
    node = next(node for node in tree.nodes if node.own[0] <= last < node.own[1])
    return [tree.ids[place] for span in (*node.above, node.own) for place in range(*span) if place <= last]


def as_tuples(sequences: list[list[int]]) -> list[tuple[int, ...]]:
    return [tuple(sequence) for sequence in sequences]


def check(sequences: list[list[int]], tree: PrefixTree) -> None:
    for index, sequence in enumerate(sequences):
        path = tree.paths[index]
        assert [tree.ids[place] for place in path] == sequence
        assert [tree.positions[place] for place in path] == list(range(len(sequence)))
        assert not sequence or seen(tree, index) == sequence
    spans = [node.own for node in tree.nodes]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans)][:-1]
    assert not spans or spans[-1][1] == len(tree.ids) == len(tree.positions)


def test_what_is_shared_is_there_once() -> None:
    tree = PrefixTree.of([(1, 2, 3, 4), (1, 2, 5)])
    assert (tree.ids, tree.positions, tree.paths[1]) == ([1, 2, 3, 4, 5], [0, 1, 2, 3, 2], [0, 1, 4])
    assert tree.raw_tokens == 7


def test_branches_have_branches() -> None:
    sequences = [[0] * 20 + [1] * 20 + [2], [0] * 20 + [1] * 20 + [3], [0] * 20 + [4] * 5]
    tree = PrefixTree.of(as_tuples(sequences))
    check(sequences, tree)
    assert len(tree.ids) == 20 + 20 + 1 + 1 + 5
    assert max(len(node.above) for node in tree.nodes) == 2


def test_a_short_common_run_is_laid_out_in_each_branch() -> None:
    sequences = [[0] * 20 + [1, 2], [0] * 20 + [1, 3], [0] * 20 + [4]]
    tree = PrefixTree.of(as_tuples(sequences), worth_a_node=2)
    check(sequences, tree)
    assert len(tree.ids) == 20 + 2 + 2 + 1


@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [[]],
        [[1]],
        [[1, 2], [1, 2]],
        [[1, 2], [1, 2, 3], [1, 2, 3]],
        [[1] * 30, [1] * 30 + [2] * 30, [1] * 30 + [2] * 30, [1] * 30 + [2] * 30 + [3]],
        [[1], [2], [3]],
        [[], [1], [1, 2]],
    ],
)
def test_any_batch_can_be_laid_out(sequences: list[list[int]]) -> None:
    for worth_a_node in (1, 16):
        check(sequences, PrefixTree.of(as_tuples(sequences), worth_a_node))


@pytest.mark.parametrize("seed", range(20))
def test_random_batches_keep_every_token_in_its_place(seed: int) -> None:
    chance = random.Random(seed)
    sequences = [[chance.randint(0, 1) for _ in range(chance.randint(0, 12))] for _ in range(chance.randint(1, 20))]
    for worth_a_node in (1, 3):
        check(sequences, PrefixTree.of(as_tuples(sequences), worth_a_node))


def test_equal_sequences_are_laid_out_once() -> None:
    assert PrefixTree.of([(1,) * 40, (1,) * 40]).ids == [1] * 40
    short = [[0] * 20 + [1, 2], [0] * 20 + [3], [0] * 20 + [1, 2]]
    tree = PrefixTree.of(as_tuples(short))
    check(short, tree)
    assert tree.ids == [0] * 20 + [1, 2] + [3]
