"""Which functions call each other in a circle."""

from __future__ import annotations

from collections.abc import Mapping


def circles_of(calls: Mapping[str, set[str]]) -> dict[str, int]:
    """Return for each name a number that those share which reach each other (strongly connected components, after Kosaraju)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in calls:
        stack = [(start, iter(calls[start]))] if start not in seen else []
        seen.add(start)
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                order.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(calls[following])))
    callers: dict[str, list[str]] = {name: [] for name in calls}
    for name, called in calls.items():
        for other in called:
            callers[other].append(name)
    found: dict[str, int] = {}
    for number, start in enumerate(reversed(order)):
        pending = [start]
        while pending:
            name = pending.pop()
            if name not in found:
                found[name] = number
                pending += callers[name]
    return found
