"""Where data and downloads lie."""

from pathlib import Path

import pooch

from recsys_tutorial._files import cache_dir, data_dir


def test_the_cache_is_where_the_variable_says_or_the_system_keeps_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", "~/courses")
    assert cache_dir() == Path.home() / "courses"
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", "")
    assert cache_dir() == Path(pooch.os_cache("recsys_tutorial"))
    monkeypatch.delenv("RECSYS_TUTORIAL_CACHE")
    assert cache_dir() == Path(pooch.os_cache("recsys_tutorial"))


def test_data_are_those_that_come_with_the_package():
    assert (data_dir() / "clipart" / "items.csv").is_file()
