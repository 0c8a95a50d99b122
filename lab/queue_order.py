"""The queue of a lab: slots go to people in turn, and each sees about how long it takes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence


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
        left: seconds that each run at work still takes, ``None`` where nobody can tell.
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
