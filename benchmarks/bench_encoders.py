"""TextEncoder.encode beside sentence-transformers' encode, on every film title."""

import os
import tempfile

import numpy as np

from benchmarks.harness import THREADS, Row, compare_speed, limited_threads
from recsys_tutorial.datasets import load_movielens


def run() -> list[Row]:
    from sentence_transformers import SentenceTransformer

    from recsys_tutorial.encoders import TextEncoder
    from recsys_tutorial.pretrained import text_encoder

    titles = load_movielens().items["title"].tolist()
    theirs = SentenceTransformer(str(text_encoder()), device="cpu")
    ours = TextEncoder(device="cpu", use_cache=False)
    cached = TextEncoder(device="cpu")

    def reference():
        return theirs.encode(titles, show_progress_bar=False)

    with limited_threads(THREADS):
        cosines = (ours.encode(titles) * reference()).sum(1)
    assert cosines.min() >= 0.9999, f"not the same work: a cosine of {cosines.min():.6f}"

    name = f"{len(titles):,} film titles to vectors"
    functions = {"recsys_tutorial": lambda: ours.encode(titles), "sentence-transformers": reference}
    rows = compare_speed(f"{name}, min. cosine {cosines.min():.6f}", functions, 1.2, repeat=5)

    before = os.environ.get("RECSYS_TUTORIAL_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECSYS_TUTORIAL_CACHE"] = folder
        try:
            first = cached.encode(titles)
            np.testing.assert_array_equal(cached.encode(titles), first)
            functions = {
                "recsys_tutorial, second call": lambda: cached.encode(titles),
                "recsys_tutorial, no cache": lambda: ours.encode(titles),
            }
            rows += compare_speed("the same from the cache on disk", functions, 100.0, repeat=3)
        finally:
            if before is None:
                del os.environ["RECSYS_TUTORIAL_CACHE"]
            else:
                os.environ["RECSYS_TUTORIAL_CACHE"] = before
    return rows
