"""Answers that are the same but for one in the last of the six digits that they give.

The network rounds by 1e-7 with the size of its batch, which an upload and a live call do not share.
"""

from typing import Any

_TOLERANCE = 1.5e-6


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _TOLERANCE
    return bool(one == other)
