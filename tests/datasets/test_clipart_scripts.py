"""The scripts that made the clip-art catalogue: words, choice, pictures, packages."""

import hashlib
import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from recsys_tutorial.datasets import data_dir
from tests.datasets.clipart_scripts import CHECKOUT, build, debian_packages, png_bytes, words

FOLDER = data_dir() / "clipart"

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
        list(debian_packages.ar_members(b"PK\x03\x04"))


def test_command_line_check():
    command = [sys.executable, CHECKOUT / "make.py", "--check", "--out", FOLDER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+ files have their recorded checksums\n", done.stdout)
