"""A cache of vectors that is a test's own."""

import pytest

from recsys_tutorial.encoders import base


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache for vectors; the weights stay where they are."""
    monkeypatch.setattr(base, "cache_dir", lambda: tmp_path)
    return tmp_path
