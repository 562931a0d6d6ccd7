"""Rebuild the clip-art catalogue from two Debian packages, and verify it.

    python build.py                           fetch the packages with `apt-get download`, rebuild
    python build.py --svg A.deb --png B.deb   the same from packages already on disk
    python build.py --check                   only compare the files here with their checksums

Titles, keywords, creators and licences are read from the SVG files, pixels from the ready-made PNG files.
Needs `pip install pandas pillow`; nothing here is needed to use the course.
"""

import argparse
import hashlib
import html
import io
import lzma
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageChops

HERE = Path(__file__).resolve().parent
VERSION = "1:0.18+dfsg-19"
DEB_SHA256 = {
    "openclipart-svg": "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    "openclipart-png": "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
}
PUBLIC_DOMAIN = {
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
}
# Folders that make poor pairs of words and picture: hundreds of shapes, colours and button faces in
# one style, and flags, playing cards and map signs, which are symbols to be known, not seen.
EXCLUDED_FOLDERS = (
    "computer/icons", "logos", "people/clothing/pantyhose", "recreation/games/cards", "shapes",
    "signs_and_symbols/flags", "signs_and_symbols/map_symbols", "special", "tools/weapons",
)  # fmt: skip
EXCLUDED_TITLES = {"Map Symbols"}
# Titles that name a collection instead of a picture: the file's own name says more.
COLLECTION_TITLES = {
    "Australian Maps", "Architetto Francesco Rollandin", "C Rollandin Francesco", "Etiquette Icons",
    "Homes Clipart", "Lemon SVG theme", "Mirjam Meijer", "PC connectors", "R15 General",
    "R16 sibmission", "Road Signs", "SVG Road Signs", "Sallite", "Various Cliparts", "advertising",
    "balloons-aj", "blueberry - iconset", "moons", "Diner Menu collection",
}  # fmt: skip
COLLECTION_PREFIXES = ("Clipart by Nicu Buculei", "Menu Clip Art Collection")
# One hand, several spellings: a split by creator must keep them together.
CREATOR_ALIASES = {
    "A.J. Ashton": "AJ Ashton", "Andrew Fitzsimon": "Andy Fitzsimon", "Anton Yu": "anton yu",
    "Architetto Francesco Rollandin": "Francesco Rollandin", "Bruno Coudoin": "Bruno coudoin",
    "Cedric": "Cédric bosdonnat", "Dan Gerhrads": "Dan Gerhards",
    "Francesco Rollandin (Architetto)": "Francesco Rollandin", "Galion GBC": "Galion Public Library",
    "Jean-VIctor Balin": "Jean-Victor Balin", "Jean-Vitor Balin": "Jean-Victor Balin",
    "Jonadab the Unsightly One": "Jonadab", "Jurgen": "jurgen", "Marrone Francesco": "Marrone Francesco",
    "Mo": "mo", "Nathan Eady et al.": "Nathan Eady", "Nubldoff": "Nurbldoff",
    "Nurbldoff, KSC": "Nurbldoff", "Petri Lummemaki": "Petri Lummemäki", "Ralf Stephan": "ralf",
    "Rollandin Francesco": "Francesco Rollandin", "Sek": "sek", "TLarson": "Tlarson",
    "Sergio Luiz Araujo Silva": "Sérgio Luiz Araújo Silva", "Uliphant": "uliphant",
    "Utrescu": "utrescu", "PeterM": "peterm", "cedric bosdonnat": "Cédric bosdonnat",
    "Jean-Maurice Le Clech": "Jean Maurice Le Clec", "rgolan": "Ron Golan",
}  # fmt: skip
UNKNOWN_CREATORS = {"", "anonymous", "none", "unknown", "u", "as", "c..."}
DROPPED_KEYWORDS = {"", "11", "clipart", "hash", "openclipart", "unsorted", "webpage"}
# Titles by one creator that differ in these words alone are variants of one drawing.
VARIANT_WORDS = {
    "aqua", "black", "blue", "brown", "color", "colour", "cyan", "gray", "green", "grey", "magenta",
    "orange", "outline", "pink", "purple", "red", "seagreen", "shaded", "silver", "violet", "white",
    "yellow", "and", "b", "w", "b&w", "bw", "bn",
}  # fmt: skip

SIZE = 128  # pixels, both sides
MARGIN = 4  # white pixels around the drawing
MIN_SIDE = 48  # a drawing whose longer side is smaller is not worth enlarging
MIN_CATEGORY = 12  # a folder with fewer pictures joins its parent
MIN_CONTRAST = 0.05  # standard deviation of the pixel values in [0, 1]: fainter is nearly blank
NEAR_OF_ONE_CREATOR = 0.03  # see near_pairs; found by looking at the pairs
NEAR_OF_TWO_CREATORS = 0.01
WEBP = {"quality": 82, "method": 6}
FOLDER_CATEGORY = {"buttons": "computer/buttons", "science/astronomy": "geography/astronomy"}
COLUMNS = ["item_id", "title", "keywords", "category", "creator", "path", "candidate", "series"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- text


def clean_text(text):
    """Undo HTML entities and UTF-8 read as Latin-1, and squeeze white space."""
    text = html.unescape(html.unescape(text or ""))
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return " ".join(text.split())


def title_from_name(name, creator=""):
    """Read a title off a file name: "tasmania-outline" -> "tasmania outline"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # BasseTemperature -> Basse Temperature
    words = re.sub(r"[\d_\-]+", " ", words).split()
    makers = {part.lower() for part in re.findall(r"\w+", creator)} | {"aj", "bb", "ganson"}
    while len(words) > 1 and words[-1].lower() in makers | {"r", "v"}:
        words.pop()
    while len(words) > 1 and words[0].lower() in {"bb", "gnome"}:
        words.pop(0)
    return " ".join(words)


def clean_title(title, name, creator=""):
    """The title of a picture, or its file's name where the title names a collection or nothing."""
    title = clean_text(title)
    if title in COLLECTION_TITLES or title.startswith(COLLECTION_PREFIXES) or not title:
        return title_from_name(name, creator)
    title = re.sub(r"\(email:[^)]*\)|\S+@\S+|\.svg$|[_-]openclipart$|-aj$", "", title)
    title = re.sub(r"\(?\b(Architetto )?(Francesco )?Rollandin( Francesco)?\b\)?", "", title)
    title = title.replace("_", " ")
    return " ".join(title.split()) or title_from_name(name, creator)


def clean_keywords(keywords, creator=""):
    """Lower-case keywords without empty, technical and repeated ones, joined by "|"."""
    kept = {}
    for keyword in keywords:
        keyword = clean_text(keyword).lower().replace("_", " ").replace("|", " ")
        is_name = keyword == creator.lower() or "rollandin" in keyword
        if keyword not in DROPPED_KEYWORDS and "hash(0x" not in keyword and not is_name:
            kept[keyword] = None
    return "|".join(sorted(kept))


def clean_creator(creator):
    """One spelling per creator, without mail and web addresses; "unknown" where none is named."""
    creator = clean_text(creator)
    if re.fullmatch(
        r"(mailto:)?\S+(@| ON )\S+", creator
    ):  # only a mail address: keep what is before the @
        creator = re.split(r"@| ON ", creator.removeprefix("mailto:"))[0]
    elif re.fullmatch(r"(https?://)?(www\.)?[\w-]+\.[\w.]+", creator) and " " not in creator:
        creator = re.sub(r"^(https?://)?(www\.)?", "", creator).rsplit(".", 1)[0]
    creator = re.sub(r"[<(\[][^>)\]]*(@|www\.|/~)[^>)\]]*[>)\]]", "", creator)
    creator = re.sub(r"\s*[-,]?\s*(\S+@\S+|https?://\S+)", "", creator).strip(" ,;-")
    if creator.lower() in UNKNOWN_CREATORS or creator.startswith("HASH(0x"):
        return "unknown"
    return CREATOR_ALIASES.get(creator, creator)


def variant_key(title):
    """What is left of a title without colours, numbers and "black and white"; the title if nothing."""
    words = re.findall(r"[^\W\d_]+", title.lower())
    return " ".join(word for word in words if word not in VARIANT_WORDS) or title.lower()


def read_metadata(svg):
    """Title, keywords, creator and licence of one SVG file, from its RDF description."""
    work = next(node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}Work"))
    fields = {node.tag.rpartition("}")[2]: node for node in work}

    def texts(field, tag):
        return (
            [node.text or "" for node in fields[field].iter() if node.tag.endswith(tag)]
            if field in fields
            else []
        )

    licence = fields["license"].attrib if "license" in fields else {}
    return {
        "title": (fields["title"].text or "") if "title" in fields else "",
        "keywords": texts("subject", "}li"),
        "creator": " and ".join(
            filter(None, (text.strip() for text in texts("creator", "}title")))
        ),
        "licence": next((value for key, value in licence.items() if key.endswith("}resource")), ""),
    }


# ---------------------------------------------------------------- pictures


def render(png):
    """Draw one PNG on white, cut it to its content, and fit it into SIZE x SIZE; None if unfit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(png))
    except Image.DecompressionBombError:  # up to 20,990 x 29,700: 2.5 GB for a stop sign
        return None
    # Premultiplied alpha ("RGBa"): invisible pixels must not colour the visible ones around them.
    picture = picture.convert("RGBA").convert("RGBa")
    if max(picture.size) > 8 * SIZE:
        picture = picture.reduce(max(picture.size) // (4 * SIZE))
    picture = picture.convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    page = page.convert("RGB")
    ink = ImageChops.difference(page, Image.new("RGB", page.size, "white")).convert("L")
    box = ink.point(lambda value: 255 * (value > 12)).getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        return None
    drawing = page.crop(box)
    scale = (SIZE - 2 * MARGIN) / max(drawing.size)
    size = [max(1, round(side * scale)) for side in drawing.size]
    drawing = drawing.resize(size, Image.Resampling.LANCZOS)
    result = Image.new("RGB", (SIZE, SIZE), "white")
    result.paste(drawing, ((SIZE - size[0]) // 2, (SIZE - size[1]) // 2))
    return result if np.asarray(result, dtype=float).std() / 255 >= MIN_CONTRAST else None


def thumbnail(picture):
    """A 32 x 32 x 3 vector in [0, 1] by which near duplicates are found."""
    small = picture.resize((32, 32), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel() / 255


def near_pairs(vectors, threshold):
    """Pairs i < j of pictures that differ by less than `threshold` of their ink, as two arrays.

    With ink = 1 - colour, the difference is |ink_i - ink_j|^2 / (|ink_i|^2 + |ink_j|^2): 0 for equal
    pictures, 1 for drawings that do not overlap. Without the denominator, all faint drawings are near.
    """
    ink = 1 - vectors
    squares = (ink**2).sum(1)
    total = squares[:, None] + squares[None, :]  # (n, n)
    return np.nonzero(np.triu(total - 2 * ink @ ink.T < threshold * total, k=1))


def encode(picture):
    """The picture as WebP bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **WEBP)
    return buffer.getvalue()


# ---------------------------------------------------------------- packages


def download_deb(package, folder):
    """Fetch the exact package version with apt, which checks Debian's signatures itself."""
    try:
        subprocess.run(["apt-get", "download", f"{package}={VERSION}"], cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"apt-get could not download {package}={VERSION}: {error}\n"
            "On a machine without apt, fetch the .deb by hand and pass it with --svg or --png."
        )
    return next(Path(folder).glob(f"{package}_*.deb"))


def ar_members(blob):
    """Yield (name, content) of a Unix ar archive, which is what a .deb is."""
    if not blob.startswith(b"!<arch>\n"):
        sys.exit("not a Debian package: the ar header is missing")
    position = 8
    while position + 60 <= len(blob):
        header = blob[position : position + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), blob[position + 60 : position + 60 + size]
        position += 60 + size + size % 2  # members start at even offsets


def read_package(deb, package, suffix):
    """Return ({source: content}, {source: source it is a link to}) of one package's pictures.

    A source is the path below the package's picture folder without its suffix.
    """
    blob = deb.read_bytes()
    if sha256(blob) != DEB_SHA256[package]:
        sys.exit(f"{deb.name}: sha256 is {sha256(blob)}, expected {DEB_SHA256[package]}")
    data = next(content for name, content in ar_members(blob) if name == "data.tar.xz")
    root = f"./usr/share/openclipart/{suffix}/"
    contents, links = {}, {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        for member in archive:
            if not member.name.startswith(root) or not member.name.endswith("." + suffix):
                continue
            source = member.name.removeprefix(root).removesuffix("." + suffix)
            if member.issym():
                target = posixpath.normpath(
                    posixpath.join(posixpath.dirname(source), member.linkname)
                )
                links[source] = target.removesuffix("." + suffix)
            elif member.isfile():
                contents[source] = archive.extractfile(member).read()
    return contents, links


# ---------------------------------------------------------------- catalogue


def is_wanted(source, metadata):
    """Whether a picture passes the rules; what the rules cannot see is in curation.csv."""
    return (
        metadata["licence"] in PUBLIC_DOMAIN
        and not source.startswith(tuple(folder + "/" for folder in EXCLUDED_FOLDERS))
        and clean_text(metadata["title"]) not in EXCLUDED_TITLES
        and " and " not in metadata["creator"].lower()  # by two hands: on which side of a split?
    )


def merge_categories(folders, minimum=MIN_CATEGORY):
    """Join each folder with fewer than `minimum` pictures to its parent, the deepest first."""
    folders = folders.copy()
    for depth in range(folders.str.count("/").max(), 0, -1):
        counts = folders.value_counts()
        small = folders.map(counts).lt(minimum) & folders.str.count("/").eq(depth)
        folders[small] = folders[small].str.rpartition("/")[0]
    return folders


def find_series(pairs, n):
    """Label the connected groups of `n` pictures with the position of their first member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    return pd.Series(np.arange(n)).groupby(labels).transform("min").to_numpy()


def build(svg_deb, png_deb):
    """Return (items frame, {path: WebP bytes})."""
    svgs, svg_links = read_package(svg_deb, "openclipart-svg", "svg")
    pngs, png_links = read_package(png_deb, "openclipart-png", "png")
    curation = pd.read_csv(HERE / "curation.csv", dtype=str, keep_default_na=False).set_index(
        "source"
    )
    unknown = set(curation.index) - set(svgs)
    assert not unknown, f"curation.csv names pictures that the package does not hold: {unknown}"
    excluded = curation.index[curation["exclude"] != ""]
    moved = curation["category"][curation["category"] != ""].to_dict()

    rows, pictures, digests = [], [], set()
    # The excluded come first, so that their copies under other names fall with them; "unsorted" last.
    order = sorted(svgs, key=lambda s: (s not in excluded, s.startswith("unsorted/"), s))
    for source in order:
        metadata = read_metadata(svgs[source])
        if not is_wanted(source, metadata) and source not in excluded:
            continue
        if source.startswith("unsorted/") and source not in curation.index:
            continue
        original = source
        while original in png_links:
            original = png_links[original]
        picture = render(pngs[original])
        if picture is None:
            continue
        digest = sha256(picture.tobytes())
        if digest in digests:
            continue
        digests.add(digest)
        if source in excluded:
            continue
        creator = clean_creator(metadata["creator"])
        folder, name = posixpath.split(source)
        rows.append(
            {
                "title": clean_title(metadata["title"], name, creator),
                "keywords": clean_keywords(metadata["keywords"], creator),
                "category": moved.get(source, FOLDER_CATEGORY.get(folder, folder)),
                "creator": creator,
                "path": f"pictures/{source}.webp",
            }
        )
        pictures.append(picture)
    items = pd.DataFrame(rows)
    vectors = np.stack([thumbnail(picture) for picture in pictures])

    # The same drawing under two creators would leak across a split by creator: keep the first.
    first, second = near_pairs(vectors, NEAR_OF_TWO_CREATORS)
    creators = items["creator"].to_numpy()
    repeated = np.unique(second[creators[first] != creators[second]])
    kept = np.setdiff1d(np.arange(len(items)), repeated)
    kept = kept[np.argsort(items["path"].to_numpy()[kept], kind="stable")]
    items, vectors = items.iloc[kept].reset_index(drop=True), vectors[kept]
    pictures = [pictures[i] for i in kept]

    words = items["title"].str.lower() + "|" + items["keywords"]
    same_words = words.duplicated(keep="first")
    variant = [
        items["title"].map(variant_key),
        items["creator"],
        items["path"].map(posixpath.dirname),
    ]
    positions = pd.Series(np.arange(len(items)))
    of_same_title = positions.groupby([column.to_numpy() for column in variant]).transform("min")
    first, second = near_pairs(vectors, NEAR_OF_ONE_CREATOR)
    one_creator = items["creator"].to_numpy()[first] == items["creator"].to_numpy()[second]
    first, second = first[one_creator], second[one_creator]
    pairs = np.concatenate([first, of_same_title]), np.concatenate([second, positions])
    series = find_series(pairs, len(items))
    items["item_id"] = np.arange(1, len(items) + 1)
    items["series"] = series + 1
    items["candidate"] = (items["series"] == items["item_id"]) & ~same_words
    items["category"] = merge_categories(items["category"])
    contents = {
        path: encode(picture) for path, picture in zip(items["path"], pictures, strict=True)
    }
    return items[COLUMNS], contents


def checksum_lines(folder):
    """The lines of SHA256SUMS for the data files below `folder`, in the format of sha256sum."""
    names = [
        "items.csv",
        *sorted(p.relative_to(folder).as_posix() for p in folder.glob("pictures/**/*.webp")),
    ]
    return "".join(f"{sha256((folder / name).read_bytes())}  {name}\n" for name in names)


def check(folder):
    """Exit with an error unless the files below `folder` are exactly those of SHA256SUMS."""
    expected = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    found = checksum_lines(folder).splitlines()
    wrong = sorted(set(expected) ^ set(found), key=lambda line: line[66:])
    if wrong:
        sys.exit(
            "not as recorded in SHA256SUMS:\n"
            + "\n".join(dict.fromkeys(line[66:] for line in wrong))
        )
    return len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--svg", type=Path, help="openclipart-svg, when it is already on disk")
    parser.add_argument("--png", type=Path, help="openclipart-png, when it is already on disk")
    parser.add_argument("--check", action="store_true", help="only verify the committed files")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: here)")
    arguments = parser.parse_args()
    if arguments.check:
        print(f"{check(arguments.out)} files have their recorded checksums")
        return
    with tempfile.TemporaryDirectory() as folder:
        items, contents = build(
            arguments.svg or download_deb("openclipart-svg", folder),
            arguments.png or download_deb("openclipart-png", folder),
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    fresh = arguments.out / "pictures.part"
    shutil.rmtree(fresh, ignore_errors=True)
    for path, content in contents.items():
        target = fresh / Path(path).relative_to("pictures")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    shutil.rmtree(arguments.out / "pictures", ignore_errors=True)
    os.replace(fresh, arguments.out / "pictures")
    items.to_csv(arguments.out / "items.csv", index=False, lineterminator="\n")
    (arguments.out / "SHA256SUMS").write_text(checksum_lines(arguments.out), "utf-8")
    print(f"{len(items)} pictures, {int(items['candidate'].sum())} candidates,", end=" ")
    print(
        f"{items['category'].nunique()} categories, {items['creator'].nunique()} creators,", end=" "
    )
    print(f"{sum(map(len, contents.values())):,} bytes of pictures")


if __name__ == "__main__":
    main()
