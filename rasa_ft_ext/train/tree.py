"""A batch of token sequences as a prefix tree: what several share is there once.

The tree is laid out as one sequence, a branch after the node that it grows from. A token sees the tokens of its own
node before it and all tokens of the nodes above, which is just what it sees in the plain batch; `position` says how far
down it stands, so it has the same place there.

    tree = PrefixTree.of([(1, 2, 3, 4), (1, 2, 5)])
    tree.ids            # [1, 2, 3, 4, 5]
    tree.positions      # [0, 1, 2, 3, 2]
    tree.paths[1]       # [0, 1, 4]: where the second sequence's tokens stand

This module knows no tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

Span = tuple[int, int]  # from, up to but without

# Computing a few tokens twice costs less than a node of its own.
WORTH_A_NODE = 16


@dataclass(frozen=True)
class Node:
    """A run of tokens that the same sequences share: `own` of the layout, which sees all of `above` as well."""

    own: Span
    above: tuple[Span, ...]


@dataclass(frozen=True)
class PrefixTree:
    """The layout: `ids` and `positions` of all tokens, the nodes in order, and each sequence's way through them."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, sequences: Sequence[tuple[int, ...]], worth_a_node: int = WORTH_A_NODE) -> PrefixTree:
        """Lay out the sequences.

        Args:
            sequences: Token ids; equal sequences are laid out once.
            worth_a_node: The shortest run of shared tokens that becomes a node; a shorter one is laid out again in
                each branch. The first node of all may have any length.
        """
        tree = cls(paths=[[] for _ in sequences])
        order = sorted(range(len(sequences)), key=lambda index: sequences[index])
        shared = [0, *(common_length(sequences[a], sequences[b]) for a, b in pairwise(order))]
        tree._grow(sequences, order, shared, (0, len(order)), (), worth_a_node)
        return tree

    @property
    def raw_tokens(self) -> int:
        """How many tokens the plain batch has, padding aside."""
        return sum(map(len, self.paths))

    def _grow(
        self,
        sequences: Sequence[tuple[int, ...]],
        order: Sequence[int],
        shared: Sequence[int],
        members: Span,
        above: tuple[Span, ...],
        worth_a_node: int,
    ) -> None:
        """Lay out the part of the sequences in `order[members]` that lies below the nodes `above`."""
        first, last = members
        if first == last:
            return
        depth = sum(stop - start for start, stop in above)
        end = min(shared[first + 1 : last], default=len(sequences[order[first]]))
        equal = end == len(sequences[order[last - 1]])  # the largest one is no longer than what all share
        if equal or end - depth >= worth_a_node or (not above and end):
            above = self._lay_out(sequences[order[first]], depth, end, above)
            for member in order[first:last]:
                if len(sequences[member]) == end:
                    self.paths[member].extend(chain.from_iterable(range(*span) for span in above))
            if last - first == 1:
                return
            # Those that end here come first, since they are the smallest.
            first += sum(len(sequences[member]) == end for member in order[first:last])
        branches = [first, *(place for place in range(first + 1, last) if shared[place] == end), last]
        for branch in pairwise(branches):
            self._grow(sequences, order, shared, branch, above, worth_a_node)

    def _lay_out(self, sequence: tuple[int, ...], depth: int, end: int, above: tuple[Span, ...]) -> tuple[Span, ...]:
        own = (len(self.ids), len(self.ids) + end - depth)
        if own[0] == own[1]:
            return above
        self.ids.extend(sequence[depth:end])
        self.positions.extend(range(depth, end))
        self.nodes.append(Node(own, above))
        return (*above, own)


def common_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # comparing slices is much faster than comparing tokens
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
