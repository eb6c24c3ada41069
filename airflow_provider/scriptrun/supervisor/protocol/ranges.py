"""Which blobs of a snapshot, by their places among its blobs: ranges are short where most or few of them are meant."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Iterable, List


class RangesError(ValueError):
    """These are no ranges, or not within what there is."""


def encode(numbers: Iterable[int]) -> List[List[int]]:
    """Return ascending numbers as ``[[first, count], ...]``, as few as can be."""
    ranges: List[List[int]] = []
    expected = -1
    for number in numbers:
        if number == expected:
            ranges[-1][1] += 1
        else:
            ranges.append([number, 1])
        expected = number + 1
    return ranges


def decode(document: object, total: int) -> List[int]:
    """Return the numbers, ascending, each at least 0 and below ``total``.

    Raises ``RangesError`` for anything that ``encode`` would not return: nothing that comes over a wire is trusted.
    """
    if not isinstance(document, list) or len(document) > total:
        raise RangesError("a list of ranges was expected, not %.100r" % (document,))
    numbers: List[int] = []
    lowest = 0
    for item in document:
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or type(item[1]) is not int:
            raise RangesError("[first, count] was expected, not %.100r" % (item,))
        first, count = item
        if first < lowest or count < 1 or first + count > total:
            raise RangesError("%r is no range above %d and below %d" % (item, lowest - 1, total))
        numbers.extend(range(first, first + count))
        lowest = first + count + 1
    return numbers
