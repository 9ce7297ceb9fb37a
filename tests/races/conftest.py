"""How closely a race is swept: at the ends of each interval and a few cycles between, or at all of its cycles."""

import pytest

from hwmodel.jit import JIT_OFF

POINTS = 3 if JIT_OFF else 6
"""Without the JIT a race takes several times as long."""


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.long)])
def every(request):
    """The gaps [first, last) to try: the first, the last and some between; in the long runs all."""

    def gaps(first, last):
        if request.param == "all":
            return range(first, last)
        return sorted({first + (last - 1 - first) * k // (POINTS - 1) for k in range(POINTS)})

    return gaps
