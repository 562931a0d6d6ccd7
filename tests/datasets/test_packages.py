"""The snapshot of Debian's index: how it is made, what it holds, how it is loaded."""

import gzip
import hashlib
import importlib.util
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys_tutorial.datasets import DataFileError, data_dir, load_packages

FOLDER = data_dir() / "packages"
INDEX = """\
Package: zoo
Section: games
Maintainer: Ada <ada@example.org>
Depends: libc6 (>= 2.34), libanimal1:any [amd64] | libbeast1, zoo-data (= 1.0)
Recommends: music-player | mp3-player,
Description: Feed the animals
Homepage: https://example.org

Package: zoo-data
Source: zoo (1.0-1)
Section: games
Maintainer: Ada <ada@example.org>
Pre-Depends: dpkg-helper
Tag: role::app-data,
 more: not a field
Description: Feed the animals (data)

Package: libanimal-dev
Source: animal
Section: libdevel
Maintainer: Zoo Team <team@example.org>
Depends: libanimal1 (= 2), libc6-dev
Description: Animals (development files)

Package: libanimal1
Source: animal
Section: non-free/libs
Maintainer: Zoo Team <team@example.org>
Depends: libc6
Description: Animals, "wild" and tame

Package: libc6
Section: libs
Maintainer: Ada <ADA@example.org>
Description: GNU C Library

Package: dpkg-helper
Section: admin
Maintainer: Eve <eve@example.org>
Depends: libc6, perlapi-5.36.0
Description: Helps
"""


@pytest.fixture(scope="module")
def make():
    path = Path(__file__).resolve().parents[2] / "data" / "packages" / "make.py"
    spec = importlib.util.spec_from_file_location("make_packages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(make, tmp_path):
    (tmp_path / "Packages.xz").write_bytes(lzma.compress(INDEX.encode()))
    assert make.main([str(tmp_path / "Packages.xz"), "--any", "--folder", str(tmp_path)]) == 0
    return tmp_path


def test_needs_are_read_from_the_index(small):
    sources, packages, needs = load_packages(small, min_needs=1, max_share=1)
    assert sources["source"].tolist() == ["animal", "dpkg-helper", "zoo"]
    assert packages["package"].tolist() == ["dpkg-helper", "libanimal1", "libc6"]
    # animal's own library, zoo's own data, and what is no package are not there
    assert needs.toarray().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]


def test_words_are_those_of_what_the_source_is_about(small):
    sources, packages, _ = load_packages(small, min_needs=1, max_share=1)
    assert sources["description"].tolist() == [
        'Animals, "wild" and tame',
        "Helps",
        "Feed the animals",
    ]
    assert sources["section"].tolist() == ["libs", "admin", "games"]
    assert packages["description"].tolist()[2] == "GNU C Library"


def test_frames_have_their_columns_and_a_word_that_reads_like_nothing_stays(small):
    path, manifest = small / "sources.csv.gz", small / "manifest.json"
    changed = gzip.compress(gzip.decompress(path.read_bytes()).replace(b"Helps", b"None"))
    path.write_bytes(changed)
    said = json.loads(manifest.read_text())
    said["files"][path.name] = hashlib.sha256(changed).hexdigest()
    manifest.write_text(json.dumps(said))
    sources, packages, _ = load_packages(small, min_needs=1, max_share=1)
    assert sources["description"].tolist()[1] == "None"
    assert list(sources) == ["source", "group", "section", "description"]
    assert list(packages) == ["package", "section", "description"]
    for frame in (sources, packages):
        assert frame.index.tolist() == [0, 1, 2]


def test_maintainers_are_numbers(small):
    sources, _, _ = load_packages(small, min_needs=1, max_share=1)
    assert sources["group"].tolist() == [0, 1, 2]
    text = b"".join(path.read_bytes() for path in small.glob("*.json"))
    text += b"".join(gzip.decompress(path.read_bytes()) for path in small.glob("*.gz"))
    assert b"ada" not in text.lower() and b"@" not in text


def test_generic_packages_and_sources_with_few_needs_are_left_out(small):
    sources, packages, needs = load_packages(small, min_needs=1, max_share=0.9)
    assert sources["source"].tolist() == ["zoo"]  # the others needed libc6 alone
    assert packages["package"].tolist() == ["dpkg-helper", "libanimal1"] and needs.nnz == 2
    assert load_packages(small, min_needs=3, max_share=1).sources["source"].tolist() == ["zoo"]
    with pytest.raises(ValueError, match="no source has 4 needs"):
        load_packages(small)


def test_another_index_is_refused(make, tmp_path, capsys):
    (tmp_path / "Packages").write_text(INDEX)
    assert make.main([str(tmp_path / "Packages"), "--folder", str(tmp_path)]) == 1
    assert "of another release" in capsys.readouterr().err
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    "name", ["sources.csv.gz", "packages.csv.gz", "needs.npz", "manifest.json"]
)
def test_a_damaged_or_missing_file_is_named(small, name):
    path = small / name
    path.write_bytes(path.read_bytes()[:-7])  # what JSON misses then is not space alone
    with pytest.raises(DataFileError, match=rf"{name}.*damaged"):
        load_packages(small)
    path.unlink()
    with pytest.raises(DataFileError, match=rf"{name}.*missing"):
        load_packages(small)


def test_the_snapshot_is_what_its_readme_says():
    said = json.loads((FOLDER / "manifest.json").read_text())
    readme = (FOLDER / "README.md").read_text()
    for number in (said["sources"], said["needs"]):
        assert f"{number:,}" in readme
    needs = load_packages().needs
    for number in (*needs.shape, needs.nnz):
        assert f"{number:,}" in readme
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3e6
    assert (needs.data == 1).all() and np.diff(needs.indptr).min() >= 4
    assert np.bincount(needs.indices).min() >= 1
    whole = load_packages(min_needs=1, max_share=1)
    generic = set(whole.packages["package"]) - set(load_packages(min_needs=1).packages["package"])
    assert generic == {"libc6", "libgcc-s1", "libstdc++6", "perl", "python3"}


def test_the_snapshot_names_nobody_and_describes_everything():
    sources, packages, _ = load_packages(min_needs=1, max_share=1)
    for frame in (sources, packages):
        assert not frame["description"].str.contains(r"\w@\w+\.\w", regex=True).any()
        assert (frame["description"].str.len() > 0).all()
        assert frame.iloc[:, 0].is_unique
    assert set(sources["group"]) == set(range(sources["group"].nunique()))


def test_any_mirror_of_the_index_is_found(make, tmp_path, monkeypatch):
    monkeypatch.setattr(make, "APT_LISTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run apt-get update"):
        make.read_index(None)
    path = tmp_path / "a.mirror_debian_dists_bookworm_main_binary-amd64_Packages.lz4"
    path.touch()
    asked = []
    monkeypatch.setattr(make.subprocess, "run", lambda command, **_: asked.append(command[-1]) or
                        make.subprocess.CompletedProcess(command, 0, b"index"))  # fmt: skip
    assert make.read_index(None) == b"index" and asked == [str(path)]


def test_the_snapshot_is_made_again_from_the_index(make, tmp_path):
    try:
        data = make.read_index(None)
    except FileNotFoundError:
        pytest.skip("apt keeps no index of Debian 12 here")
    if hashlib.sha256(data).hexdigest() != make.SHA256:
        pytest.skip("apt has another release's index by now")
    make.write(tmp_path, data.decode(), make.SHA256)
    for name in ("sources.csv.gz", "packages.csv.gz"):  # zlibs may compress differently
        new, old = ((folder / name).read_bytes() for folder in (tmp_path, FOLDER))
        assert gzip.decompress(new) == gzip.decompress(old)
    with np.load(tmp_path / "needs.npz") as new, np.load(FOLDER / "needs.npz") as old:
        for key in ("indptr", "indices"):
            np.testing.assert_array_equal(new[key], old[key])


def test_a_folder_of_ones_own(small, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in small.glob("*.*"):
        if path.is_file():
            shutil.copy(path, copy)
    assert load_packages(str(copy), min_needs=1, max_share=1).needs.nnz == 5
