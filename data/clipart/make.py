"""Rebuild the clip-art catalogue from two Debian packages, and verify it.

    python make.py                           fetch the packages with `apt-get download`, rebuild
    python make.py --svg A.deb --png B.deb   the same from packages already on disk
    python make.py --check                   only compare the files here with their checksums

Titles, keywords, creators and licences are read from the SVG files, pixels from the ready-made
PNG files. curation.csv holds what was decided by looking at every picture.

Needs `pip install pandas pillow`; nothing here is needed to use the course.
"""

import argparse
import io
import posixpath
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from clipart_words import (
    clean_creator,
    clean_keywords,
    clean_text,
    clean_title,
    read_metadata,
    variant_key,
)
from PIL import Image, ImageChops

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from debian_packages import download_deb, open_deb, sha256  # noqa: E402

from recsys_tutorial._files import whole, whole_folder  # noqa: E402

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
SIZE = 128  # pixels, both sides
MARGIN = 4  # white pixels around the drawing
MIN_SIDE = 48  # a drawing whose longer side is smaller is not worth enlarging
MIN_CATEGORY = 10  # a folder with fewer pictures joins its parent
MIN_CONTRAST = 0.05  # standard deviation of the pixel values in [0, 1]: fainter is nearly blank
NEAR_OF_ONE_CREATOR = 0.03  # see near_pairs; found by looking at the pairs
NEAR_OF_TWO_CREATORS = 0.01
WEBP = {"quality": 82, "method": 6}
FOLDER_CATEGORY = {"buttons": "computer/buttons", "science/astronomy": "geography/astronomy"}
COLUMNS = ["item_id", "title", "keywords", "category", "creator", "path", "candidate", "series"]


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


def thumbnails(pictures):
    """Rows of 32 x 32 x 3 numbers in [0, 1] by which near duplicates are found."""
    small = [picture.resize((32, 32), Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(picture, dtype=np.float64).ravel() / 255 for picture in small])


def near_pairs(vectors, threshold):
    """Pairs i < j of pictures that differ by less than `threshold` of their ink, as two arrays.

    With ink = 1 - colour, the difference is |ink_i - ink_j|^2 / (|ink_i|^2 + |ink_j|^2): 0 for
    equal pictures, 1 for drawings that do not overlap. Without the denominator, all faint drawings
    would be near.
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


def read_package(deb, package, suffix):
    """Return ({source: content}, {source: source it is a link to}) of one package's pictures.

    A source is the path below the package's picture folder without its suffix.
    """
    root = f"./usr/share/openclipart/{suffix}/"
    contents, links = {}, {}
    with open_deb(deb, DEB_SHA256[package]) as archive:
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


def read_curation(path, sources):
    """Return (excluded sources, {source: category}, {source: title}) of curation.csv."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("source")
    lost = set(table.index) - set(sources)
    if lost:
        sys.exit(f"{path.name} names pictures that the package does not hold: {sorted(lost)}")
    category, title = (table[name][table[name] != ""].to_dict() for name in ("category", "title"))
    return set(table.index[table["exclude"] != ""]), category, title


def collect(svgs, pngs, links, curation):
    """Return (items frame, list of pictures) of all that pass the rules, no picture twice."""
    excluded, moved, renamed = curation
    rows, pictures, seen = [], [], set()
    # The excluded first, so that their copies under other names fall with them; "unsorted" last.
    for source in sorted(svgs, key=lambda s: (s not in excluded, s.startswith("unsorted/"), s)):
        metadata = read_metadata(svgs[source])
        if source not in excluded and not is_wanted(source, metadata):
            continue
        if source.startswith("unsorted/") and not {source} & (excluded | moved.keys()):
            continue
        original = source
        while original in links:
            original = links[original]
        picture = render(pngs[original])
        if picture is None or picture.tobytes() in seen:
            continue
        seen.add(picture.tobytes())
        if source in excluded:
            continue
        folder, name = posixpath.split(source)
        creator = clean_creator(metadata["creator"])
        rows.append(
            {
                "title": renamed.get(source) or clean_title(metadata["title"], name, creator),
                "keywords": clean_keywords(metadata["keywords"], creator),
                "category": moved.get(source, FOLDER_CATEGORY.get(folder, folder)),
                "creator": creator,
                "path": f"pictures/{source}.webp",
            }
        )
        pictures.append(picture)
    order = sorted(range(len(rows)), key=lambda i: rows[i]["path"])
    return pd.DataFrame([rows[i] for i in order]), [pictures[i] for i in order]


def drop_copies(items, pictures):
    """Keep the first of a drawing that two creators claim: it would leak across a split."""
    first, second = near_pairs(thumbnails(pictures), NEAR_OF_TWO_CREATORS)
    creators = items["creator"].to_numpy()
    copies = second[creators[first] != creators[second]]
    kept = np.setdiff1d(np.arange(len(items)), copies)
    return items.iloc[kept].reset_index(drop=True), [pictures[i] for i in kept]


def add_series(items, pictures):
    """Return `items` with item_id, series and candidate; see README.md for what they mean."""
    positions = pd.Series(np.arange(len(items)))
    folders = items["path"].map(posixpath.dirname)
    same_title = [items["title"].map(variant_key), items["creator"], folders]
    titled = positions.groupby([column.to_numpy() for column in same_title]).transform("min")
    first, second = near_pairs(thumbnails(pictures), NEAR_OF_ONE_CREATOR)
    creators = items["creator"].to_numpy()
    alike = creators[first] == creators[second]
    pairs = np.concatenate([first[alike], titled]), np.concatenate([second[alike], positions])
    item_id = np.arange(1, len(items) + 1)
    first_with_words = ~(items["title"].str.lower() + "|" + items["keywords"]).duplicated()
    return items.assign(
        item_id=item_id,
        series=item_id[find_series(pairs, len(items))],
        candidate=first_with_words,
    )


def build(svg_deb, png_deb):
    """Return (items frame, {path: WebP bytes})."""
    svgs, _ = read_package(svg_deb, "openclipart-svg", "svg")
    pngs, links = read_package(png_deb, "openclipart-png", "png")
    items, pictures = collect(svgs, pngs, links, read_curation(HERE / "curation.csv", svgs))
    items, pictures = drop_copies(items, pictures)
    items = add_series(items, pictures)
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
            arguments.svg or download_deb("openclipart-svg", VERSION, folder),
            arguments.png or download_deb("openclipart-png", VERSION, folder),
        )
    with whole_folder(arguments.out / "pictures") as fresh:
        for path, content in contents.items():
            target = fresh / Path(path).relative_to("pictures")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    with whole(arguments.out / "items.csv") as temporary:
        items.to_csv(temporary, index=False, lineterminator="\n")
    with whole(arguments.out / "SHA256SUMS") as temporary:
        temporary.write_text(checksum_lines(arguments.out), "utf-8")
    print(f"{len(items)} pictures, {int(items['candidate'].sum())} candidates,", end=" ")
    print(
        f"{items['category'].nunique()} categories, {items['creator'].nunique()} creators,", end=" "
    )
    print(f"{sum(map(len, contents.values())):,} bytes of pictures")


if __name__ == "__main__":
    main()
