"""Places of labels so that none covers another."""

from collections.abc import Sequence


def spread(wanted: Sequence[float], gaps: Sequence[float], low: float, high: float) -> list[float]:
    """Return positions as near as possible to the wanted ones, in their order, without overlap.

    Parameters
    ----------
    wanted : sequence of float, length n
        Wanted centre of each label, in ascending order.
    gaps : sequence of float, length n
        Size of each label along the axis, its margin included.
    low, high : float
        Bounds of the labels; if the labels do not fit, they extend beyond `high`.

    Returns
    -------
    list of float, length n
        Centres; the sum of squared moves is the smallest possible before they are pushed inside.
    """
    offsets, at = [], 0.0
    for i, gap in enumerate(gaps):
        at += (gap + gaps[i - 1]) / 2 if i else gap / 2
        offsets.append(at)
    blocks: list[list[float]] = []  # [sum, number] of labels that touch: isotonic regression of the slack
    for want, offset in zip(wanted, offsets, strict=True):
        blocks.append([want - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    slack = [total / number for total, number in blocks for _ in range(int(number))]
    room = high - sum(gaps)
    return [max(low, min(s, room)) + offset for s, offset in zip(slack, offsets, strict=True)]
