"""Six ratings of four films in each of GroupLens's layouts, and what reading them must give."""

import io
import zipfile
from pathlib import Path

import pandas as pd

from recsys_tutorial.datasets import MovieLens
from recsys_tutorial.datasets._movielens_formats import GENRES_100K

# The same six ratings of four films in each of GroupLens's layouts. The titles hold what breaks
# careless readers: a comma, quotation marks, an accent, a title that reads like a missing value.
RATINGS = [
    (1, 10, 4.0, 964982703),
    (1, 20, 3.0, 964982704),
    (2, 10, 5.0, 1260759144),
    (2, 40, 1.0, 1260759145),
    (3, 20, 2.0, 835355664),
    (3, 30, 4.0, 835355665),
]
FILMS = [
    (10, "Misérables, Les (1995)", "Drama|Musical"),
    (20, 'The "Great" Race (1965)', "Comedy"),
    (30, "NA (2001)", "Action|Sci-Fi"),
    (40, "Hyena Road", "(no genres listed)"),
]
RATINGS_CSV = "userId,movieId,rating,timestamp\n" + "".join(
    f"{u},{i},{r},{t}\n" for u, i, r, t in RATINGS
)
MOVIES_CSV = (
    "movieId,title,genres\n"
    '10,"Misérables, Les (1995)",Drama|Musical\n'
    '20,"The ""Great"" Race (1965)",Comedy\n'
    "30,NA (2001),Action|Sci-Fi\n"
    "40,Hyena Road,(no genres listed)\n"
)
RATINGS_DAT = "".join(f"{u}::{i}::{r:g}::{t}\n" for u, i, r, t in RATINGS)
MOVIES_DAT = "".join(f"{i}::{title}::{genres}\n" for i, title, genres in FILMS)
U_DATA = "".join(f"{u}\t{i}\t{r:g}\t{t}\n" for u, i, r, t in RATINGS)


def u_item_line(item, title, genres):
    flags = "|".join(str(int(genre in genres.split("|"))) for genre in GENRES_100K)
    return f"{item}|{title}|01-Jan-1995||http://us.imdb.com/M/title-exact?{item}|{flags}\n"


U_ITEM = "".join(u_item_line(*film) for film in FILMS)
LAYOUTS = {
    "csv": {"ratings.csv": RATINGS_CSV.encode(), "movies.csv": MOVIES_CSV.encode()},
    "dat": {"ratings.dat": RATINGS_DAT.encode(), "movies.dat": MOVIES_DAT.encode("latin-1")},
    "dat in UTF-8": {"ratings.dat": RATINGS_DAT.encode(), "movies.dat": MOVIES_DAT.encode()},
    "u.data": {"u.data": U_DATA.encode(), "u.item": U_ITEM.encode("latin-1")},
}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def expected() -> MovieLens:
    ratings = pd.DataFrame(RATINGS, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame(FILMS, columns=["item_id", "title", "genres"])
    items.insert(2, "year", pd.array([1995, 1965, 2001, None], dtype="Int64"))
    return MovieLens(ratings, items.astype({"title": object, "genres": object}))


def assert_same(actual: MovieLens, wanted: MovieLens):
    pd.testing.assert_frame_equal(actual.ratings, wanted.ratings, check_exact=True)
    pd.testing.assert_frame_equal(actual.items, wanted.items, check_exact=True)
