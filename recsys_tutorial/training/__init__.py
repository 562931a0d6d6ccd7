"""Training: the loop, what it watches, batches larger than memory."""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "monitor": ["FitMonitor"],
        "loop": ["train", "warmup_cosine"],
        "large_batches": ["gather_rows", "in_chunks"],
    },
)
