"""A figure that a notebook shows."""

import io

from matplotlib.figure import Figure

DPI = 160


class Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=DPI, metadata={"Software": None})
        return target.getvalue()
