"""The few plots that chapters share, the models' diagrams, and the style that all figures have."""

from recsys_tutorial.plotting.charts import (
    COLORS,
    VECTORS,
    diagram,
    intervals,
    lines,
    use_style,
)

__all__ = ["COLORS", "VECTORS", "diagram", "intervals", "lines", "use_style"]
