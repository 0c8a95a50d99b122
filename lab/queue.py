"""The queue of a lab: slots go to people in turn, and each sees about how long it takes."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from lab.view import View

TYPICAL = 20  # ended runs that say how long a run takes


class Queue:
    """The runs that wait, each with its view.

    Those of comparisons wait behind all single ones.
    """

    def __init__(self) -> None:
        self._views: list[View] = []
        self._patient: set[str] = set()  # runs of comparisons
        self._served: dict[str, int] = {}  # owner: number of the last slot they got
        self._durations: deque[float] = deque(maxlen=TYPICAL)

    def __contains__(self, run_id: str) -> bool:
        return any(view.run.id == run_id for view in self._views)

    def __iter__(self) -> Iterator[View]:
        return iter(list(self._views))

    def length(self, patient: bool) -> int:
        """Return how many wait in the line of comparisons, or in that of single runs."""
        return sum((view.run.id in self._patient) == patient for view in self._views)

    def count(self, owner: str) -> int:
        """Return how many runs of one owner wait, in both."""
        return sum(view.access.owner == owner for view in self._views)

    def add(self, view: View, *, patient: bool = False) -> None:
        """Let a run wait: a single one before all of comparisons, else at the end."""
        (self._patient.add if patient else self._patient.discard)(view.run.id)
        ahead = [v for v in self._views if patient or v.run.id not in self._patient]
        self._views.insert(len(ahead), view)

    def remove(self, run_id: str) -> View:
        """Take a run out that has been stopped; return its view."""
        place = [view.run.id for view in self._views].index(run_id)
        return self._views.pop(place)

    def serve(self, run_id: str) -> View:
        """Take a run out that gets a slot now; return its view."""
        view = self.remove(run_id)
        self._served[view.access.owner] = max(self._served.values(), default=0) + 1
        return view

    def order(self, at_work: Collection[View], limit: int) -> tuple[list[str], list[str]]:
        """Return what :func:`in_turn` does for the runs that wait.

        Args:
            at_work: views of the runs that train now.
            limit: runs of one owner that may train at a time; 0 for any number.
        """
        busy = Counter(view.access.owner for view in at_work)
        waiting = [(view.run.id, view.access.owner) for view in self._views]
        return in_turn(waiting, busy, self._served, limit)

    def took(self, seconds: float) -> None:
        """Note how long a run took that has finished."""
        self._durations.append(seconds)

    def place(self, view: View, at_work: Collection[View], limit: int) -> None:
        """Write into a view how many start before it, when it starts, and if it is held.

        Args:
            view: of a run that waits.
            at_work: views of the runs that train now.
            limit: runs of one owner that may train at a time; 0 for any number.
        """
        order, held = self.order(at_work, limit)
        run_id = view.run.id
        view.held = run_id in held
        if view.held:
            view.ahead, view.wait = len(order) + held.index(run_id), None
            return
        rivals = {other.run.id for other in self._views if other.devices == view.devices}
        order = [waiting for waiting in order if waiting in rivals]
        left = [other.seconds_left() for other in at_work if other.devices == view.devices]
        typical = sorted(self._durations)[len(self._durations) // 2] if self._durations else None
        view.ahead = order.index(run_id)
        view.wait = waits(view.ahead + 1, len(view.devices), left, typical)[-1]


def in_turn(
    waiting: Sequence[tuple[str, str]],
    at_work: Mapping[str, int],
    served: Mapping[str, int],
    limit: int = 0,
) -> tuple[list[str], list[str]]:
    """Return the order in which waiting runs get slots, and those that have to wait for their own.

    The next slot goes to who has the fewest runs at work; among equals to who was served longest
    ago; among those to who came first. One person's runs keep their order.

    Args:
        waiting: run and owner, in the order in which they came. An empty owner is everybody.
        at_work: how many runs of each owner train now.
        served: a number for each owner that grows with each slot given out.
        limit: runs of one owner that may train at a time; 0 for any number.
    """
    lines: dict[str, list[str]] = {}
    for run_id, owner in waiting:
        lines.setdefault(owner, []).append(run_id)
    arrival = {owner: place for place, owner in enumerate(lines)}
    busy, last = Counter(at_work), dict(served)
    order, held = [], []
    clock = max(last.values(), default=0)
    while lines:
        owner = min(lines, key=lambda who: (busy[who], last.get(who, -1), arrival[who]))
        if owner and limit and busy[owner] >= limit:
            # Everyone who is left has at least as many at work.
            held += [run_id for line in lines.values() for run_id in line]
            break
        order.append(lines[owner].pop(0))
        clock += 1
        busy[owner], last[owner] = busy[owner] + 1, clock
        if not lines[owner]:
            del lines[owner]
    return order, held


def waits(count: int, slots: int, left: Sequence[float | None], typical: float | None) -> list:
    """Return the seconds that each of the next ``count`` runs waits; ``None`` where unknown.

    Args:
        count: runs in the queue, in the order in which they get slots.
        slots: trainings that may run at a time.
        left: seconds that each run at work still takes, ``None`` where nobody knows.
        typical: seconds that a run takes, from those that have ended.
    """
    unknown = float("inf")
    ends = [unknown if seconds is None else seconds for seconds in left]
    ends += [0.0] * max(0, slots - len(ends))
    heapq.heapify(ends)
    result: list[float | None] = []
    for _ in range(count):
        start = heapq.heappop(ends) if ends else unknown
        result.append(None if start == unknown else start)
        heapq.heappush(ends, unknown if typical is None else start + typical)
    return result
