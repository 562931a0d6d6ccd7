"""A file is there whole or not at all."""

import pytest

from recsys_tutorial._files import whole, whole_folder


def test_the_file_appears_at_the_end_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "new" / "table.csv"
    with whole(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "table.csv"
    if old is not None:
        path.write_text(old)

    def fail():
        with whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        fail()
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_block_that_writes_nothing_is_told(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "table.csv"):
        pass


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "deep" / "made"

    def fail():
        with whole_folder(folder) as temporary:
            (temporary / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(folder.parent.iterdir()) == []
    (folder.parent / ".made.tmp").mkdir()  # what a killed process left
    (folder.parent / ".made.tmp" / "old").touch()
    for name in ("first", "second"):
        with whole_folder(folder) as temporary:
            (temporary / name).touch()
        assert [path.name for path in folder.iterdir()] == [name]
        assert list(folder.parent.iterdir()) == [folder]
