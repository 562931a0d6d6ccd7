"""Finding a release in folders and archives, and every way in which these can be damaged."""

import gzip

import pytest

from recsys_tutorial.datasets import DataFileError, load_movielens
from tests.datasets.movielens_files import (
    LAYOUTS,
    MOVIES_CSV,
    RATINGS_CSV,
    assert_same,
    expected,
    write,
    zipped,
)


@pytest.mark.parametrize("contents", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("inside", ["", "ml-latest/", "a/b/c/"])
def test_each_layout_is_read_from_a_zip_archive(tmp_path, contents, inside):
    path = tmp_path / "release.zip"
    extra = {"README.txt": b"notes", inside + "links.csv": b"movieId,imdbId,tmdbId\n"}
    path.write_bytes(zipped({inside + name: data for name, data in contents.items()} | extra))
    assert_same(load_movielens(path), expected())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["release.zip"]  # nothing unpacked


def test_gzip_files_and_a_folder_one_level_deeper_are_found(tmp_path):
    contents = {f"{name}.gz": gzip.compress(data) for name, data in LAYOUTS["csv"].items()}
    write(tmp_path / "ml-mine", contents)
    assert_same(load_movielens(tmp_path), expected())


def test_a_folder_two_levels_deeper_is_not_searched(tmp_path):
    write(tmp_path / "downloads" / "ml-mine", LAYOUTS["csv"])
    assert_same(load_movielens(tmp_path / "downloads"), expected())
    with pytest.raises(FileNotFoundError, match="must hold ratings"):
        load_movielens(tmp_path)


def test_truncated_gzip_at_every_length_is_an_error(tmp_path):
    whole = gzip.compress(RATINGS_CSV.encode(), mtime=0)
    write(tmp_path, {"movies.csv": MOVIES_CSV.encode()})
    for length in range(len(whole)):
        (tmp_path / "ratings.csv.gz").write_bytes(whole[:length])
        with pytest.raises(DataFileError, match=r"ratings\.csv\.gz.*(cut off|damaged|empty)"):
            load_movielens(tmp_path)
    (tmp_path / "ratings.csv.gz").write_bytes(whole)
    assert_same(load_movielens(tmp_path), expected())


def test_damaged_gzip_is_an_error(tmp_path):
    data = bytearray(gzip.compress(RATINGS_CSV.encode(), mtime=0))
    data[len(data) // 2] ^= 0xFF
    write(tmp_path, {"movies.csv": MOVIES_CSV.encode(), "ratings.csv.gz": bytes(data)})
    with pytest.raises(DataFileError, match=r"ratings\.csv\.gz.*damaged"):
        load_movielens(tmp_path)
    (tmp_path / "ratings.csv.gz").write_bytes(RATINGS_CSV.encode())  # not compressed at all
    with pytest.raises(DataFileError, match=r"ratings\.csv\.gz.*damaged"):
        load_movielens(tmp_path)


def test_truncated_zip_at_every_length_is_an_error(tmp_path):
    whole = zipped(LAYOUTS["csv"])
    path = tmp_path / "release.zip"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataFileError, match=r"release\.zip"):
            load_movielens(path)


def test_damaged_member_of_a_zip_is_an_error(tmp_path):
    path = tmp_path / "release.zip"
    data = bytearray(zipped(LAYOUTS["csv"]))
    data[data.index(b"movies.csv") + 20] ^= 0xFF  # inside the compressed films
    path.write_bytes(bytes(data))
    with pytest.raises(DataFileError, match=r"release\.zip.movies\.csv: .*damaged"):
        load_movielens(path)


OUTSIDE = [
    "../evil.csv",
    "ml/../../evil.csv",
    "/etc/evil.csv",
    "..\\evil.csv",
    "C:\\evil.csv",
    "C:evil",
]


@pytest.mark.parametrize("member", OUTSIDE)
def test_archive_with_a_member_outside_its_folder_is_refused(tmp_path, member):
    path = tmp_path / "inner" / "release.zip"
    path.parent.mkdir()
    path.write_bytes(zipped(LAYOUTS["csv"] | {member: b"evil"}))
    with pytest.raises(DataFileError, match=r"release\.zip: the member .* points out of"):
        load_movielens(path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "release.zip"]


def test_two_dots_inside_a_name_are_no_way_out(tmp_path):
    path = tmp_path / "release.zip"
    path.write_bytes(zipped(LAYOUTS["csv"] | {"notes..txt": b"", "a..b/c": b""}))
    assert_same(load_movielens(path), expected())


def test_folder_without_a_release_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ratings\.csv and movies\.csv.*found no files"):
        load_movielens(tmp_path)
    write(tmp_path, {"ratings.csv": RATINGS_CSV.encode()})
    with pytest.raises(FileNotFoundError, match=r"movies\.csv.*found ratings\.csv"):
        load_movielens(tmp_path)
    write(tmp_path / "many", {f"{n}.csv": b"" for n in range(10)})
    eight = ", ".join(f"{n}.csv" for n in range(8))
    with pytest.raises(FileNotFoundError, match=f"found {eight}$"):
        load_movielens(tmp_path / "many")
    (tmp_path / "other.zip").write_bytes(zipped({"a/b/notes.txt": b""}))
    with pytest.raises(FileNotFoundError, match=r"must hold ratings.* found notes\.txt$"):
        load_movielens(tmp_path / "other.zip")
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_movielens(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"'medium' is neither a release \(small, 100k, 1m, 25m, 32m\)"
    ):
        load_movielens("medium")
