"""Few conversations that close the gaps of the coverage: each goes through as many as it can on its way.

    for path in find_paths(flow_map, coverage.gaps, values):
        path.walk.events, path.closes

A search follows the shortest way to what is missing and comes back where the slots' values do not allow it. It never
lists all paths, so many branches cost no more than many steps.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rasa_ft_ext.coverage.conditions import Value
from rasa_ft_ext.coverage.guide import Clash, Guide
from rasa_ft_ext.coverage.walk import Event, Frame, Walk
from rasa_ft_ext.coverage_results import Gap
from rasa_ft_ext.flow_map import END, FlowMap

_EFFORT = 3000  # steps that one search may take
_LITTLE_EFFORT = 400  # and one for more, when a conversation has closed a gap already
_ATTEMPTS = 12
_FAR = 10**9

Goal = tuple[str, ...]  # (flow, step), or (flow, step, to)
Place = tuple[str, str, bool]  # flow, step, and whether the step is taken


@dataclass(frozen=True)
class Path:
    """A conversation and the gaps that it closes.

    `called` says that no flow that a user can start leads there, so that the test has to bring it about in another
    way. `clash` says that the conditions on the way contradict each other, as far as they can be read.
    """

    walk: Walk
    closes: tuple[Gap, ...]
    called: bool = False
    clash: bool = False


def find_paths(
    flows: FlowMap, gaps: Sequence[Gap], values: Mapping[str, Sequence[Value]], behind: Sequence[Gap] = ()
) -> Iterator[Path]:
    """Paths on which every gap is closed that can be; a gap that cannot be has a path as far as it is known.

    Args:
        flows: All flows.
        gaps: What is missing.
        values: The values that each slot may have, likely ones first.
        behind: The branches of missing steps. One that nothing leads to has no path of its own: its step has.
    """
    search = _Search(flows, values)
    left = {_goal(gap): gap for gap in (*gaps, *behind)}
    less, unreached = {_goal(gap) for gap in behind}, set[Goal]()
    while left:
        goal, gap = next(iter(left.items()))
        if goal in less and goal[:2] in unreached:
            del left[goal]
            continue
        path = search.path_to(goal, left)
        if path.clash:
            unreached.add(goal)
        closed = [] if path.clash else [left.pop(found) for found in _goals(path.walk.events) if found in left]
        if left.pop(goal, None):
            closed.insert(0, gap)
        yield replace(path, closes=tuple(closed))


def _goal(gap: Gap) -> Goal:
    return (gap.flow, gap.step) if gap.kind == "step" else (gap.flow, gap.step, gap.to or END)


def _goals(events: Iterable[Event]) -> Iterator[Goal]:
    for event in events:
        if event.kind == "visit":
            yield event.flow, event.step
        elif event.kind == "take":
            yield event.flow, event.step, event.to


class _Search:
    def __init__(self, flows: FlowMap, values: Mapping[str, Sequence[Value]]) -> None:
        self._flows = flows
        self._values = values
        self._roads = Roads(flows)
        self._startable = {flow.id for flow in flows.flows if flow.startable and flow.steps}

    def path_to(self, goal: Goal, wanted: Iterable[Goal]) -> Path:
        """The path to one goal, and on through as many of those that are wanted as there are on the way."""
        starts = self._starts(goal)
        for start in starts:
            guide = Guide(self._flows, self._values)
            walk = self._insist(guide, start, goal)
            if walk is not None:
                return Path(self._finished(guide, walk, set(wanted)), (), called=start not in self._startable)
        guide = Guide(self._flows, self._values, lenient=True)
        begun = guide.begin(starts[0])
        walk, _ = self._look(guide, begun, {goal}, _EFFORT)
        return Path(walk or begun[0], (), called=starts[0] not in self._startable, clash=True)

    def _starts(self, goal: Goal) -> list[str]:
        """The flows to begin with, the best first; the flow itself where none leads there that a user can start."""
        own, far = goal[0], self._roads.to({goal})
        first = {
            flow.id: (flow.id, flow.steps[0].id, False) for flow in self._flows.flows if flow.id in self._startable
        }
        known = sorted((name != own, far[place], name) for name, place in first.items() if place in far)
        return [name for _, _, name in known] or [own]

    def _insist(self, guide: Guide, start: str, goal: Goal) -> Walk | None:
        """Search; where that takes too long, again with the values that were missing most often."""
        refuted: set[Clash] = set()
        wished: list[Clash] = []
        for _ in range(_ATTEMPTS):
            guide.clashes.clear()
            guide.wishes = {}
            for clash in wished:
                before = guide.wishes.get(clash.slot, clash.needed)
                guide.wishes[clash.slot] = tuple(value for value in clash.needed if value in before)
            found, whole = self._look(guide, guide.begin(start), {goal}, _EFFORT)
            if found is not None:
                return found
            if whole and not wished:
                return None
            if whole:
                refuted.add(wished.pop())
            counted = Counter(clash for clash in guide.clashes if clash.needed)
            fresh = [clash for clash, _ in counted.most_common() if clash not in refuted and clash not in wished]
            wished += fresh[:1]
        return None

    def _finished(self, guide: Guide, walk: Walk, wanted: set[Goal]) -> Walk:
        """Go on to whatever else is missing and can be reached, then to the end if there is a way."""
        guide.wishes = {}
        wanted -= set(_goals(walk.events))
        while wanted and not walk.done:
            further, _ = self._look(guide, [walk], wanted, _LITTLE_EFFORT)
            if further is None:
                break
            walk = further
            wanted -= set(_goals(walk.events))
        return self._look(guide, [walk], set(), _EFFORT)[0] or walk

    def _look(self, guide: Guide, begun: Sequence[Walk], goals: set[Goal], effort: int) -> tuple[Walk | None, bool]:
        """The walk to one of the goals, or to the end of the conversation where there are none.

        Beside it, whether the search has seen everything.
        """
        far = self._roads.to(goals)
        waiting, known = list(begun), {walk.state for walk in begun}
        while waiting and effort:
            effort -= 1
            walk = waiting.pop()
            if not goals and walk.done:
                return walk, True
            near = []
            for found in guide.advance(walk):
                if goals.intersection(_goals(found.events[len(walk.events) :])):
                    return found, True
                away = self._roads.distance(found.frames, far if goals else None)
                if away < _FAR and found.state not in known:
                    known.add(found.state)
                    near.append((away, found))
            waiting += [found for _, found in sorted(near, key=lambda entry: entry[0], reverse=True)]
        return None, not waiting


class Roads:
    """How far it is from one place in the flows to another, whatever the conditions say.

    A place is a step of a flow, before it is taken or behind it; a called flow lies between the two.
    """

    def __init__(self, flows: FlowMap) -> None:
        self._back: dict[Place, list[Place]] = {}
        first = {flow.id: (flow.id, flow.steps[0].id, False) for flow in flows.flows if flow.steps}
        ends: list[Place] = []
        for flow in flows.flows:
            known = {step.id for step in flow.steps}
            for step in flow.steps:
                before, behind = (flow.id, step.id, False), (flow.id, step.id, True)
                if step.kind in ("call", "link") and step.flow in first:
                    self._back.setdefault(first[step.flow], []).append(before)
                if step.kind == "link" and step.flow in first:
                    ends.append(before)
                    continue
                self._back.setdefault(behind, []).append(before)
                for way in step.ways:
                    if way.to in known:
                        self._back.setdefault((flow.id, way.to, False), []).append(behind)
                if not step.ways or any(way.to not in known for way in step.ways):
                    ends.append(behind)
        within = {place: [other for other in self._back.get(place, ()) if other[0] == place[0]] for place in self._back}
        self._to_end = _distances(ends, within)

    def to(self, goals: Iterable[Goal]) -> dict[Place, int]:
        """The distance to the nearest of the goals, from every place that leads to one."""
        return _distances([(goal[0], goal[1], len(goal) > 2) for goal in goals], self._back)

    def distance(self, frames: Sequence[Frame], far: Mapping[Place, int] | None) -> int:
        """How far it is from a stack of places: in the uppermost flow, or in one below it when those above have ended.

        Without `far`, how far it is to the end of all of them.
        """
        best, so_far = _FAR, 0
        for frame in reversed(frames):
            place = (frame.flow, frame.step, frame.left)
            if far is not None:
                best = min(best, so_far + far.get(place, _FAR))
            so_far += self._to_end.get(place, _FAR)
        return so_far if far is None else best


def _distances(begun: Iterable[Place], back: Mapping[Place, Sequence[Place]]) -> dict[Place, int]:
    found = dict.fromkeys(begun, 0)
    waiting = deque(found)
    while waiting:
        place = waiting.popleft()
        for other in back.get(place, ()):
            if other not in found:
                found[other] = found[place] + 1
                waiting.append(other)
    return found
