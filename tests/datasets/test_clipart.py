"""The clip-art catalogue: its table, its pictures, its licence, and the loader."""

import csv
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from recsys_tutorial.datasets import ClipArt, DataFileError, data_dir, load_clipart
from tests.datasets.clipart_scripts import build, png_bytes

FOLDER = data_dir() / "clipart"


@pytest.fixture(scope="module")
def clipart():
    return load_clipart()


@pytest.fixture(scope="module")
def pictures(clipart):
    return clipart.images()


# ---------------------------------------------------------------- what is there


def test_table_is_complete_and_consistent(clipart):
    items = clipart.items
    assert list(items.columns) == build.COLUMNS
    assert (
        items.dtypes[["item_id", "series"]].eq("int64").all() and items["candidate"].dtype == bool
    )
    assert items["item_id"].tolist() == list(range(1, len(items) + 1))
    assert items["path"].is_unique and items["path"].str.lower().is_unique  # also on Windows
    assert items["path"].is_monotonic_increasing
    assert items["candidate"].sum() >= 1200
    assert 45 <= items["category"].nunique() <= 65
    assert items["category"].value_counts().min() >= build.MIN_CATEGORY
    text = items[["title", "category", "creator", "path"]]
    assert (text.map(str.strip) == text).all(axis=None) and (text != "").all(axis=None)
    # By far most have keywords, and nobody's name dominates: a split by creator is possible.
    assert (items["keywords"] == "").mean() < 0.15
    shares = items.loc[items["candidate"], "creator"].value_counts(normalize=True)
    assert len(shares) >= 200 and shares.iloc[0] < 0.2


def test_candidates_have_words_of_their_own(clipart):
    chosen = clipart.items[clipart.items["candidate"]]
    assert not (chosen["title"].str.lower() + "|" + chosen["keywords"]).duplicated().any()


def test_series_are_by_one_creator_and_named_by_their_first_picture(clipart):
    items = clipart.items
    assert items.groupby("series")["creator"].nunique().eq(1).all()
    assert items.groupby("series")["item_id"].min().eq(items["series"].unique()).all()
    assert items["series"].nunique() < len(items)


def test_words_are_clean(clipart):
    everything = clipart.items[["title", "keywords", "creator"]].agg("\n".join, axis=1)
    # No mail or web addresses, markup, mojibake or leaked program output.
    bad = everything[
        everything.str.contains(r"\S@\S|https?:|www\.|&\w+;|HASH\(|Ã|\ufffd", regex=True)
    ]
    assert bad.empty, bad.tolist()
    for keywords in clipart.items["keywords"]:
        split = keywords.split("|")
        assert split == sorted(set(split)) and keywords == keywords.lower()


def test_nothing_offensive_in_the_words(clipart):
    # Looking at the pictures is what counts (curation.csv); this keeps a rebuild from undoing it.
    everything = clipart.items[["title", "keywords"]].agg("|".join, axis=1).str.lower()
    words_of = everything.map(lambda text: set(re.findall(r"\w+", text)))
    forbidden = {
        *("sex", "sexy", "nude", "naked", "stripper", "pimp", "chav"),
        *("nazi", "sunwheel", "swastika", "hitler", "wmd"),
        *("gun", "ak47", "bullet", "bomb", "gallows"),
        *("cannabis", "joint", "idiot", "cretina", "incazzato", "tux"),
    }
    found = words_of.map(forbidden.intersection)
    # "tux" stays a keyword of a real penguin; as a title it would be the mascot.
    assert not found[found.map(lambda hits: bool(hits - {"tux"}))].any()
    assert not clipart.items["title"].str.contains("tux", case=False).any()


def test_pictures_open_and_are_not_blank(clipart, pictures):
    assert len(pictures) == len(clipart.items)
    for row, picture in zip(clipart.items.itertuples(), pictures, strict=True):
        pixels = np.asarray(picture, dtype=float)
        assert picture.size == (128, 128) and picture.mode == "RGB", row.path
        assert pixels.std() / 255 > 0.04, row.path  # 0.05 when built; WebP loses a little
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() > 225, row.path  # drawn on white, nothing cut off


def test_no_picture_twice_and_none_under_two_creators(clipart, pictures):
    vectors = build.thumbnails(pictures)
    creators = clipart.items["creator"].to_numpy()
    first, second = build.near_pairs(vectors, build.NEAR_OF_TWO_CREATORS)
    across = creators[first] != creators[second]
    assert not across.any(), clipart.items["path"].to_numpy()[np.r_[first[across], second[across]]]
    first, second = build.near_pairs(vectors, build.NEAR_OF_ONE_CREATOR * 0.9)  # WebP moves it
    series, alike = clipart.items["series"].to_numpy(), creators[first] == creators[second]
    assert (series[first[alike]] == series[second[alike]]).all()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_folder_is_small_and_holds_nothing_else(clipart):
    files = [
        path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    found = {path.relative_to(FOLDER).as_posix() for path in files if path.suffix == ".webp"}
    assert found == set(clipart.items["path"])


def test_checksums():
    assert build.check(FOLDER) == len(load_clipart().items) + 1


def test_check_names_what_changed(tmp_path):
    for name in ("items.csv", "SHA256SUMS"):
        shutil.copy(FOLDER / name, tmp_path)
    with pytest.raises(SystemExit, match=r"not as recorded in SHA256SUMS:\npictures/"):
        build.check(tmp_path)


def test_licence_and_readme_agree_with_the_data(clipart):
    licence = (FOLDER / "LICENSE.txt").read_text("utf-8")
    assert "Public Domain Dedication" in licence and "relinquishment" in licence
    for address in build.PUBLIC_DOMAIN:
        assert "publicdomain" in address.lower() and address in licence
    readme = (FOLDER / "README.md").read_text("utf-8")
    items = clipart.items
    excluded = pd.read_csv(FOLDER / "curation.csv", keep_default_na=False)["exclude"].ne("").sum()
    for number in (
        len(items), items["candidate"].sum(), items["series"].nunique(), excluded,
        items["category"].nunique(), items["creator"].nunique(),
    ):  # fmt: skip
        assert f"{number:,}" in readme, f"README.md does not say {number:,}"
    for checksum in build.DEB_SHA256.values():
        assert checksum in readme


def test_curation_table():
    with (FOLDER / "curation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sources = [row["source"] for row in rows]
    assert sources == sorted(set(sources))
    kept = {
        path.removeprefix("pictures/").removesuffix(".webp")
        for path in load_clipart().items["path"]
    }
    for row in rows:
        assert row["exclude"] or row["category"] or row["title"], row
        assert not row["exclude"] or row["exclude"].isalpha(), f"one word: {row}"
        assert not (row["exclude"] and row["source"] in kept), row


# ---------------------------------------------------------------- the loader


def test_images_follow_the_ids(clipart, pictures):
    ids = [7, 3, 7, 100]
    chosen = clipart.images(ids)
    assert [c.tobytes() for c in chosen] == [pictures[i - 1].tobytes() for i in ids]
    assert clipart.image(3).tobytes() == pictures[2].tobytes()
    assert clipart.images(np.array(ids))[3].tobytes() == pictures[99].tobytes()
    assert clipart.images(clipart.items["item_id"].iloc[4:6])[0].tobytes() == pictures[4].tobytes()
    assert clipart.images([]) == [] and clipart.paths(iter([1]))[0].is_file()


@pytest.mark.parametrize("wrong", [0, -1, 10**6, "1", None, 1.5])
def test_unknown_id(clipart, wrong):
    with pytest.raises(
        ValueError, match=r"position 1\) is not in the catalogue; take the ids from"
    ):
        clipart.images([1, wrong])


def test_repr_names_no_folder(clipart):
    items = clipart.items
    assert repr(clipart) == (
        f"ClipArt({len(items)} pictures, {items['candidate'].sum()} candidates, "
        f"{items['category'].nunique()} categories, {items['creator'].nunique()} creators)"
    )


HEADER = "item_id,title,keywords,category,creator,path"
GOOD = "1,A cat,cat|pet,animals,Somebody,cat.png"


@pytest.fixture
def own(tmp_path):
    """Write a catalogue of one's own with a picture and return its loader."""
    Image.new("RGB", (20, 10), "red").save(tmp_path / "cat.png")

    def write(*lines):
        (tmp_path / "items.csv").write_text("\n".join(lines) + "\n", "utf-8")
        return load_clipart(tmp_path)

    write.folder = tmp_path
    return write


def test_a_folder_of_your_own(own):
    clipart = own(HEADER, GOOD, "5,B,,animals,Somebody,cat.png")
    assert isinstance(clipart, ClipArt)
    assert clipart.items["candidate"].tolist() == [True, True]
    assert clipart.items["series"].tolist() == [1, 5] and clipart.items["keywords"][1] == ""
    assert clipart.image(5).size == (20, 10)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"items.csv, line 1: the file is empty"),
        (["item_id,title"], r"items.csv, line 1, column keywords: not in the header"),
        ([HEADER], r"line 1: no row below the header"),
        ([HEADER, "x" + GOOD], r"line 2, column item_id: 'x1' is not a whole number"),
        ([HEADER, "-" + GOOD], r"line 2, column item_id: -1 is negative"),
        ([HEADER, GOOD, GOOD], r"line 3, column item_id: 1 is also on line 2"),
        ([HEADER, GOOD + ",more"], r"line 2: 7 fields .* expected 6"),
        ([HEADER, "1,,cat,animals,S,cat.png"], r"line 2, column title: is empty"),
        ([HEADER, "1,A,cat,animals,S,"], r"line 2, column path: is empty"),
        ([HEADER, "1,A,cat,animals,S,../cat.png"], r"column path: .* must be a path below"),
        ([HEADER, "1,A,cat,animals,S,/cat.png"], r"column path: .* must be a path below"),
        ([HEADER, "1,A,cat,animals,S,C:cat.png"], r"column path: .* must be a path below"),
        ([HEADER, r"1,A,cat,animals,S,a\cat.png"], r"column path: .* must be a path below"),
        ([HEADER, "1,A,c,animals,S,dog.png"], r"dog.png: the picture is missing; restore it with"),
        ([HEADER, "1,A,c,a,S,d.png", "2,A,c,a,S,e.png"], r"d.png: .* missing \(and 1 others\)"),
        ([HEADER + ",candidate", GOOD + ",yes"], r"column candidate: 'yes' is not False or True"),
        ([HEADER + ",series", GOOD + ",first"], r"column series: 'first' is not a whole number"),
        ([HEADER, '1,"A,cat,animals,S,cat.png'], r"line 2: .*quotation mark that is not closed"),
    ],
)
def test_bad_table(own, lines, message):
    with pytest.raises(DataFileError, match=message):
        own(*lines)


def test_a_table_of_another_encoding_or_separator_is_named(own):
    (own.folder / "items.csv").write_bytes(f"{HEADER}\n{GOOD}é\n".encode("latin-1"))
    with pytest.raises(DataFileError, match="line 2, column path: byte 0xe9 is not UTF-8"):
        load_clipart(own.folder)
    with pytest.raises(DataFileError, match="separated by semicolons, expected commas"):
        own(HEADER.replace(",", ";"), GOOD.replace(",", ";"))


def test_table_missing(tmp_path):
    with pytest.raises(DataFileError, match=r"items.csv: the file is missing; restore it with"):
        load_clipart(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        png_bytes(Image.effect_noise((64, 64), 99))[:900],  # cut off
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    ],
)
def test_bad_picture(own, content):
    clipart = own(HEADER, GOOD)
    (own.folder / "cat.png").write_bytes(content)
    with pytest.raises(
        DataFileError, match=r"cat.png: the picture cannot be read \(.*restore it"
    ) as e:
        clipart.image(1)
    assert e.value.path.endswith("cat.png")


def test_bomb_and_vanished_picture(own, monkeypatch):
    clipart = own(HEADER, GOOD)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataFileError, match="decompression bomb"):
        clipart.image(1)
    (own.folder / "cat.png").unlink()
    with pytest.raises(DataFileError, match=r"cat.png: the picture is missing; restore"):
        clipart.image(1)


def test_transparent_pictures_are_drawn_on_white(own):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(own.folder / "cat.png")
    assert own(HEADER, GOOD).image(1).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    half.save(own.folder / "cat.png")
    assert own(HEADER, GOOD).image(1).getpixel((0, 0)) == (255, 127, 127)


def test_a_cameras_rotation_is_applied(own):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(own.folder / "cat.png", exif=exif)
    assert own(HEADER, GOOD).image(1).size == (10, 20)
