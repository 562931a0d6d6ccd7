"""The clip-art catalogue: its table, its pictures, its licence, the script that made it."""

import csv
import hashlib
import importlib.util
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from recsys_tutorial.datasets import ClipArt, DataFileError, data_dir, load_clipart

FOLDER = data_dir() / "clipart"
CHECKOUT = Path(__file__).resolve().parents[2] / "data" / "clipart"  # where the scripts are


def _load(name, file):
    """Import a script under a name of its own: `build` is also a package that makes wheels."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = _load("clipart_words", "clipart_words.py")  # build.py imports it by this name
build = _load("clipart_build", "build.py")


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
    assert re.fullmatch(
        r"ClipArt\(\d+ pictures, \d+ candidates, \d+ categories, \d+ creators\)", repr(clipart)
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
        ([HEADER], r"line 1: no pictures below the header"),
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
        ([HEADER + ",candidate", GOOD + ",yes"], r"column candidate: 'yes' is neither True nor"),
        ([HEADER + ",series", GOOD + ",first"], r"column series: 'first' is not a whole number"),
        ([HEADER, '1,"A,cat,animals,S,cat.png'], r"line 2: .*quotation mark that is not closed"),
    ],
)
def test_bad_table(own, lines, message):
    with pytest.raises(DataFileError, match=message):
        own(*lines)


def test_table_missing(tmp_path):
    with pytest.raises(DataFileError, match=r"items.csv: the file is missing; restore it with"):
        load_clipart(tmp_path)


def png_bytes(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


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


# ---------------------------------------------------------------- the script: words


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Cassa d&#39;epoca", "Cassa d'epoca"),
        ("L&Atilde;&copy;zard", "Lézard"),
        ("Croissant (B &amp;amp; W)", "Croissant (B & W)"),
        ("  two \n words ", "two words"),
        ("Kocoń", "Kocoń"),
        (None, ""),
    ],
)
def test_clean_text(raw, clean):
    assert words.clean_text(raw) == clean


@pytest.mark.parametrize(
    ("title", "name", "creator", "clean"),
    [
        ("Armadillo", "armadillo_01", "", "Armadillo"),
        ("Clipart by Nicu Buculei - antenna", "keyboard", "Nicu Buculei", "keyboard"),
        ("SVG Road Signs", "bus_lane", "John Cliff", "bus lane"),
        ("advertising", "BasseTemperature", "yves GUILLOU", "Basse Temperature"),
        ("Sallite", "satellite_hub_zazou", "zazou", "satellite hub"),
        ("balloons-aj", "balloon-blue-aj", "AJ Ashton", "balloon blue"),
        ("moons", "moon-half2", "AJ Ashton", "moon half"),
        ("Pinzatrice Rollandin", "p", "", "Pinzatrice"),
        ("Telefono (email: a@b.it)", "t", "", "Telefono"),
        ("books-aj.svg", "b", "", "books"),
        ("05_fullmoon_openclipart", "m", "", "fullmoon"),
        ("45 rpm record", "r", "", "45 rpm record"),
        ("my_house", "h", "", "my house"),
        ("FlowerAndPot", "f", "", "Flower And Pot"),
        ("LCD Monitor", "m", "", "LCD Monitor"),
        ("", "wooden_barrel_01", "", "wooden barrel"),
    ],
)
def test_clean_title(title, name, creator, clean):
    assert words.clean_title(title, name, creator) == clean


def test_clean_keywords():
    raw = ["Food", "hash", "", "HASH(0x869b4d8)", "menu", "food", "11", "unsorted", "ice_cream"]
    assert words.clean_keywords(raw) == "food|ice cream|menu"
    raw = ["Nicu Buculei", "www.example.org", "http://example.org", "Ã¢â", "a|b"]
    assert words.clean_keywords(raw, "Nicu Buculei") == "a b"
    assert words.clean_keywords([]) == ""


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Architetto Francesco Rollandin", "Francesco Rollandin"),
        ("Someone (some@one.org)", "Someone"),
        ("Some One <some.one@example.org>", "Some One"),
        ("Some One - some@example.org", "Some One"),
        ("Some One, http://example.org/~one/", "Some One"),
        ("someone@example.org", "someone"),
        ("mailto:someone@example.org", "someone"),
        ("someone ON example.org", "someone"),
        ("http://www.example.tk", "example"),
        ("Gerald G.", "Gerald G."),
        ("T. Eitel", "T. Eitel"),
        ("Mike Powers Jr.", "Mike Powers Jr."),
        ("HASH(0x89c79d4)", "unknown"),
        ("Anonymous", "unknown"),
        ("", "unknown"),
    ],
)
def test_clean_creator(raw, clean):
    assert words.clean_creator(raw) == clean
    assert words.clean_creator(words.clean_creator(raw)) == clean


def test_creator_aliases_lead_to_a_final_name():
    for name in words.CREATOR_ALIASES.values():
        assert name not in words.CREATOR_ALIASES


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("LED Circle (Blue)", "LED Circle (Red)", True),
        ("Cherry Pie", "Cherry Pie (B and W)", True),
        ("smiley 1", "smiley 23", True),
        ("arrow-up-blue", "arrow-down-blue", False),
        ("Apple Pie", "Cherry Pie", False),
        ("blue", "red", False),  # nothing would be left
    ],
)
def test_variant_key(a, b, same):
    assert (words.variant_key(a) == words.variant_key(b)) is same


def svg_of(
    licence="http://web.resource.org/cc/PublicDomain",
    creator="<Agent><dc:title>Me</dc:title></Agent>",
):
    return f"""<svg xmlns="http://www.w3.org/2000/svg"><metadata>
      <rdf:RDF xmlns="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
               xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><Work rdf:about="">
        <dc:title>A cat</dc:title><dc:creator>{creator}</dc:creator>
        <dc:publisher><Agent><dc:title>Library</dc:title></Agent></dc:publisher>
        <dc:subject><rdf:Bag><rdf:li>cat</rdf:li><rdf:li></rdf:li><rdf:li>pet</rdf:li></rdf:Bag>
        </dc:subject>
        <license rdf:resource="{licence}"/></Work></rdf:RDF></metadata></svg>""".encode()


def test_read_metadata():
    expected = {
        "title": "A cat",
        "keywords": ["cat", "pet"],
        "creator": "Me",
        "licence": "http://web.resource.org/cc/PublicDomain",
    }
    assert words.read_metadata(svg_of()) == expected
    assert words.read_metadata(svg_of(creator=""))["creator"] == ""


# ---------------------------------------------------------------- the script: choice


@pytest.mark.parametrize(
    ("source", "change", "wanted"),
    [
        ("animals/cat", {}, True),
        ("animals/cat", {"licence": ""}, False),
        ("animals/cat", {"licence": "http://creativecommons.org/licenses/GPL/2.0/"}, False),
        ("animals/cat", {"creator": "One and Another"}, False),
        ("animals/cat", {"creator": "Fernando Andrade"}, True),
        ("animals/cat", {"title": "Map Symbols"}, False),
        ("tools/weapons/sword", {}, False),
        ("tools/weapons_rack", {}, True),
        ("signs_and_symbols/flags/europe/france", {}, False),
        ("signs_and_symbols/weather/rain", {}, True),
        ("shapes/star", {}, False),
    ],
)
def test_is_wanted(source, change, wanted):
    assert build.is_wanted(source, words.read_metadata(svg_of()) | change) is wanted


def test_merge_categories():
    folders = pd.Series(["a/b/c"] * 2 + ["a/b"] * 9 + ["a/d"] * 3 + ["a"] * 4 + ["e"] * 1)
    merged = build.merge_categories(folders, minimum=10)
    assert merged.value_counts().to_dict() == {"a/b": 11, "a": 7, "e": 1}
    assert folders[0] == "a/b/c"  # the input is left alone


def test_find_series():
    pairs = np.array([0, 3, 4]), np.array([2, 4, 5])
    assert build.find_series(pairs, 7).tolist() == [0, 1, 0, 3, 3, 3, 6]


def disc(colour, radius=40, offset=0, background="white"):
    picture = Image.new("RGB", (128, 128), background)
    box = [64 - radius + offset, 64 - radius, 64 + radius + offset, 64 + radius]
    ImageDraw.Draw(picture).ellipse(box, colour)
    return picture


def test_near_pairs_find_copies_and_spare_faint_drawings():
    faint = [Image.new("RGB", (128, 128), "white") for _ in range(2)]
    ImageDraw.Draw(faint[0]).line([10, 10, 118, 10], "black")
    ImageDraw.Draw(faint[1]).line([10, 118, 118, 118], "black")
    pictures = [disc("blue"), disc("blue", offset=1), disc("red"), *faint]
    first, second = build.near_pairs(build.thumbnails(pictures), build.NEAR_OF_ONE_CREATOR)
    assert list(zip(first, second, strict=True)) == [(0, 1)]


def test_series_and_candidates():
    shift = [
        disc("blue"),
        disc("blue", offset=1),
        disc("red", 20),
        disc("green", 10),
        disc("lime", 50),
    ]
    items = pd.DataFrame(
        {
            "title": ["Disc", "Round", "Blue disc", "Disc", "Disc"],
            "keywords": ["a", "b", "c", "a", "a"],
            "creator": ["X", "X", "X", "X", "Y"],
            "path": ["p/1", "p/2", "p/3", "q/4", "p/5"],
        }
    )
    done = build.add_series(items, shift)
    # 2 looks like 1, 3 is called like 1; 4 is in another folder, 5 by another hand.
    assert done["series"].tolist() == [1, 1, 1, 4, 5]
    assert done["candidate"].tolist() == [True, True, True, False, False]


def test_copies_of_another_creator_are_dropped():
    items = pd.DataFrame({"creator": ["X", "Y", "Y", "Y"], "path": list("abcd")})
    pictures = [disc("blue"), disc("blue"), disc("red"), disc("red")]
    left, images = build.drop_copies(items, pictures)
    assert left["path"].tolist() == ["a", "c", "d"] and len(images) == 3


def test_collect():
    blue, black, pink, brown = (png_bytes(disc(c)) for c in ("blue", "black", "pink", "brown"))
    pngs = {
        "animals/bad": black,
        "animals/cat": blue,
        "animals/cat_copy": blue,
        "unsorted/bad_copy": black,
        "unsorted/cow": pink,
        "unsorted/dog": brown,
        "shapes/star": brown,
    }
    svgs = {source: svg_of() for source in [*pngs, "animals/link"]}
    links = {"animals/link": "animals/relay", "animals/relay": "animals/cat"}
    curation = (
        {"animals/bad"},
        {"unsorted/dog": "animals/dogs", "unsorted/bad_copy": "x"},
        {"unsorted/dog": "Dog"},
    )
    items, pictures = build.collect(svgs, pngs, links, curation)
    assert items["path"].tolist() == ["pictures/animals/cat.webp", "pictures/unsorted/dog.webp"]
    assert items["category"].tolist() == ["animals", "animals/dogs"]
    assert items["title"].tolist() == ["A cat", "Dog"] and len(pictures) == 2
    assert items["keywords"].tolist() == ["cat|pet"] * 2


def test_curation_must_name_known_pictures(tmp_path):
    path = tmp_path / "curation.csv"
    path.write_text("source,exclude,category,title\na,logo,,\nb,,food,\n", "utf-8")
    assert build.read_curation(path, ["a", "b", "c"]) == ({"a"}, {"b": "food"}, {})
    with pytest.raises(SystemExit, match=r"does not hold: \['b'\]"):
        build.read_curation(path, ["a"])


# ---------------------------------------------------------------- the script: pictures


def test_render_cuts_to_the_drawing_and_centres_it():
    page = Image.new("RGBA", (600, 400), (0, 0, 0, 0))  # transparent black must not show
    ImageDraw.Draw(page).rectangle([10, 20, 209, 119], fill="navy")  # 200 x 100
    result = np.asarray(build.render(png_bytes(page)))
    rows, columns = np.nonzero((result < 200).any(axis=2))
    assert (columns.min(), columns.max()) == (4, 123) and (rows.min(), rows.max()) == (34, 93)
    assert (result[:4] == 255).all() and tuple(result[64, 64]) == (0, 0, 128)


def test_render_of_a_large_picture_keeps_transparency_out():
    page = Image.new("RGBA", (3000, 3000), (255, 0, 0, 0))
    ImageDraw.Draw(page).ellipse([500, 500, 2500, 2500], fill=(0, 0, 255, 255))
    result = np.asarray(build.render(png_bytes(page))).astype(int)
    assert (result[..., 0] <= result[..., 2]).all()  # no red fringe


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGBA", (200, 200), (0, 0, 0, 0)),
        Image.new("RGB", (200, 200), "white"),
        Image.new("L", (200, 200), 250),
        disc("black", radius=15),  # 30 pixels across
    ],
)
def test_render_refuses_blank_and_tiny(picture):
    assert build.render(png_bytes(picture)) is None


def test_render_refuses_bombs(monkeypatch):
    content = png_bytes(disc("blue"))
    assert build.render(content) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert build.render(content) is None


def test_encode_loses_little():
    picture = disc("teal")
    again = Image.open(io.BytesIO(build.encode(picture))).convert("RGB")
    difference = np.abs(np.asarray(again, float) - np.asarray(picture, float))
    assert difference.mean() < 1.5  # of 255; half resolution would give more than 2


# ---------------------------------------------------------------- the script: packages


def ar(members):
    blob = b"!<arch>\n"
    for name, content in members:
        blob += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        blob += b"\n" * (len(content) % 2)
    return blob


def test_read_package(tmp_path, monkeypatch):
    import lzma
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("a/x.svg", b"xx"), ("a/y.txt", b"no"), ("b/z.svg", b"z")):
            member = tarfile.TarInfo(f"./usr/share/openclipart/svg/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/share/openclipart/svg/a/l.svg")
        link.type, link.linkname = tarfile.SYMTYPE, "../b/z.svg"
        archive.addfile(link)
    deb = tmp_path / "p.deb"
    deb.write_bytes(
        ar([("debian-binary", b"2.0"), ("data.tar.xz", lzma.compress(buffer.getvalue()))])
    )
    with pytest.raises(SystemExit, match=r"p\.deb: sha256 is .* expected"):
        build.read_package(deb, "openclipart-svg", "svg")
    checksum = hashlib.sha256(deb.read_bytes()).hexdigest()
    monkeypatch.setitem(build.DEB_SHA256, "openclipart-svg", checksum)
    contents, links = build.read_package(deb, "openclipart-svg", "svg")
    assert contents == {"a/x": b"xx", "b/z": b"z"} and links == {"a/l": "b/z"}


def test_not_a_package():
    with pytest.raises(SystemExit, match="not a Debian package"):
        list(build.ar_members(b"PK\x03\x04"))


def test_command_line_check():
    command = [sys.executable, CHECKOUT / "build.py", "--check", "--out", FOLDER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+ files have their recorded checksums\n", done.stdout)
