"""Rebuild ratings.csv and movies.csv from Debian's r-cran-dslabs package, and verify the result.

    python make.py                      fetch the package with `apt-get download`, rebuild, verify
    python make.py --deb FILE.deb       the same from a package already on disk
    python make.py --check              only verify the checksums of the files that are here

Needs `pip install rdata pandas`; nothing here is needed to use the course.
"""

import argparse
import gzip
import io
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from debian_packages import download_deb, open_deb, sha256  # noqa: E402

from recsys_tutorial._files import whole  # noqa: E402

PACKAGE = "r-cran-dslabs"
VERSION = "0.7.4-1"
DEB_SHA256 = "c3f93382c44d4581de9561792a87b110cb239c70771cac5ad63fa0a259e71ef3"
R_DATA = "./usr/lib/R/site-library/dslabs/data/Rdata"
SHA256 = {
    "ratings.csv": "b4239649fbf90ebf405c56c3ae1d929d9e7c86fc1a3a80cbef1c884df593ef73",
    "movies.csv": "2f5af4a66b226686b0714e8d106506487499aeeb200d77ec198a1cf96e258ec5",
}
# The R package split "title (year)" with a pattern that these five titles do not fit, and left them
# missing. These are their titles in GroupLens's movies.csv of October 2016.
TITLES_WITHOUT_ONE_YEAR = {
    108548: "Big Bang Theory, The (2007-)",
    108583: "Fawlty Towers (1975-1979)",
    143410: "Hyena Road",
    151307: "The Lovers and the Despot",
    162376: "Stranger Things",
}


def read_r_frame(deb):
    """Return the `movielens` data frame inside the package as a pandas frame."""
    import rdata

    with open_deb(deb, DEB_SHA256) as archive:
        index_file = archive.extractfile(R_DATA + ".rdx").read()
        database = archive.extractfile(R_DATA + ".rdb").read()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unknown file type: assumed RDS")
        # A lazy-load database: the gzip'd index holds (offset, length) of each variable's record.
        index = rdata.read_rds(io.BytesIO(gzip.decompress(index_file)))
        offset, length = (int(number) for number in index["variables"]["movielens"])
        record = database[offset : offset + length]
        serialized = zlib.decompress(record[4:])  # the first 4 bytes are the big-endian length
        if struct.unpack(">I", record[:4])[0] != len(serialized):
            sys.exit("the record of `movielens` does not have the length that it declares")
        return rdata.read_rds(io.BytesIO(serialized))


def csv_bytes(frame):
    """Write a frame as GroupLens does: minimal quoting, quotes doubled, one header row, UTF-8."""
    return frame.to_csv(index=False, lineterminator="\n").encode("utf-8")


def build(deb):
    """Return {file name: content} rebuilt from the package."""
    frame = read_r_frame(deb)
    ids = ["userId", "movieId"]
    ratings = frame.astype(dict.fromkeys([*ids, "timestamp"], "int64"))
    ratings = ratings[[*ids, "rating", "timestamp"]].sort_values(ids)  # GroupLens's order

    movies = frame[["movieId", "title", "year", "genres"]].drop_duplicates().sort_values("movieId")
    movies = movies.astype({"movieId": "int64", "genres": "str"})
    lost = movies["title"].isna()
    assert set(movies.loc[lost, "movieId"]) == set(TITLES_WITHOUT_ONE_YEAR)
    movies["title"] = (movies["title"] + " (" + movies["year"].astype("string") + ")").where(
        ~lost, movies["movieId"].map(TITLES_WITHOUT_ONE_YEAR)
    )
    movies = movies[["movieId", "title", "genres"]]

    assert len(ratings) == 100_004 and not ratings.duplicated(ids).any()
    assert ratings["userId"].nunique() == 671
    assert len(movies) == 9_066 and movies["movieId"].is_unique
    assert set(movies["movieId"]) == set(ratings["movieId"])
    assert movies.notna().all(axis=None)
    return {"ratings.csv": csv_bytes(ratings), "movies.csv": csv_bytes(movies)}


def verify(files):
    """Exit with an error unless every file has its recorded checksum."""
    wrong = [
        f"{name}: sha256 is {sha256(files[name])}, expected {expected}"
        for name, expected in SHA256.items()
        if sha256(files[name]) != expected
    ]
    if wrong:
        sys.exit("\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deb", type=Path, help="the package, when it is already on disk")
    parser.add_argument("--check", action="store_true", help="only verify the committed files")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: here)")
    arguments = parser.parse_args()

    if arguments.check:
        verify({name: (arguments.out / name).read_bytes() for name in SHA256})
        print("ratings.csv and movies.csv have their recorded checksums")
        return
    with tempfile.TemporaryDirectory() as folder:
        files = build(arguments.deb or download_deb(PACKAGE, VERSION, folder))
    verify(files)
    for name, content in files.items():
        with whole(arguments.out / name) as temporary:
            temporary.write_bytes(content)
        print(f"{arguments.out / name}: {len(content):,} bytes, sha256 {sha256(content)}")


if __name__ == "__main__":
    main()
