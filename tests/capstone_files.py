"""Made-up files in the forms in which others give their ratings away, for the capstone's tests.

Each is a taste in five groups of items; what differs is how it is written down. ``FILES[name]``
writes ``ratings.*`` (and perhaps ``items.*``) into a folder and returns the settings with which a
reader would run the template on it, and phrases that its report must have.
"""

import gzip
from datetime import UTC, datetime

import numpy as np

START = 1_400_000_000


def taste(n_users=420, n_items=60, per_user=14, seed=0):
    """Users (n,), items (n,), how much it is liked 0 to 1 (n,), seconds (n,): in time."""
    rng = np.random.default_rng(seed)
    group = np.arange(n_items) % 5
    users, items, likes = [], [], []
    for user in range(n_users):
        weight = np.where(group == rng.integers(5), 6.0, 1.0) / (1 + np.arange(n_items) // 5) ** 0.5
        chosen = rng.choice(n_items, per_user, replace=False, p=weight / weight.sum())
        users += [user] * per_user
        items += chosen.tolist()
        likes += np.clip(0.35 * (weight[chosen] > 1) + rng.beta(4, 2, per_user), 0, 1).tolist()
    seconds = START + 50_000 * np.arange(len(users)) + rng.integers(40_000, size=len(users))
    return np.array(users), np.array(items), np.array(likes), seconds


def titles(n_items=60):
    kinds = ["ghost stories", "sailing", "chess", "bread", "volcanoes"]
    return [f"Notes on {kinds[i % 5]}, part {1 + i // 5}" for i in range(n_items)]


def write(path, lines, encoding="utf-8", end="\n"):
    path.write_text(end.join(lines) + end, encoding=encoding, newline="")


def goodreads(folder):
    """No times; 0 for what was read and not rated; ids as long numbers."""
    users, items, likes, _ = taste(seed=1)
    stars = np.where(likes < 0.3, 0, 1 + np.round(4 * likes)).astype(int)
    rows = [f"{u},{900_000 + i},1,{s},0" for u, i, s in zip(users, items, stars, strict=True)]
    write(folder / "ratings.csv", ["user_id,book_id,is_read,rating,is_reviewed", *rows])
    columns = {"user_id": "user_id", "item_id": "book_id", "rating": "rating", "timestamp": None}
    answers = {"without_times": True, "unrated": [0]}
    return {"RATINGS": columns, "ANSWERS": answers}, ["no times", "not rated", "no times: random"]


def amazon(folder):
    """The older files: no line of names, the item first in none of them, seconds."""
    users, items, likes, seconds = taste(seed=2)
    rows = [f"A{u:013d},{i:010d},{1 + round(4 * v)}.0,{t}"
            for u, i, v, t in zip(users, items, likes, seconds, strict=True)]  # fmt: skip
    write(folder / "ratings.csv", rows)
    columns = {"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3}
    return {"RATINGS": columns}, ["no line of names", "seconds since 1970"]


def amazon_2023(folder):
    """The newer ones: compressed, milliseconds, a column of what came before."""
    users, items, likes, seconds = taste(seed=3)
    head = "user_id,parent_asin,rating,timestamp,history"
    rows = [f"AE{u}X,B0{i:08d},{1 + round(4 * v)}.0,{1000 * t},B000 B001"
            for u, i, v, t in zip(users, items, likes, seconds, strict=True)]  # fmt: skip
    with gzip.open(folder / "ratings.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join([head, *rows]) + "\n")
    columns = {"user_id": "user_id", "item_id": "parent_asin", "rating": "rating",
               "timestamp": "timestamp"}  # fmt: skip
    return {"RATINGS": columns}, ["milliseconds since 1970"]


def book_crossing(folder):
    """Latin-1, semicolons, everything quoted, ten points and 0 for none, no times; titles."""
    users, items, likes, _ = taste(seed=4)
    points = np.where(likes < 0.35, 0, 1 + np.round(9 * likes)).astype(int)
    rows = [f'"{u}";"0{i:09d}";"{p}"' for u, i, p in zip(users, items, points, strict=True)]
    head = '"User-ID";"ISBN";"Book-Rating"'
    write(folder / "ratings.csv", [head, *rows], "latin-1", "\r\n")
    books = [f'"0{i:09d}";"{title} für Anfänger";"Müller"' for i, title in enumerate(titles())]
    head = '"ISBN";"Book-Title";"Book-Author"'
    write(folder / "items.csv", [head, *books], "latin-1", "\r\n")
    columns = {"user_id": "User-ID", "item_id": "ISBN", "rating": "Book-Rating", "timestamp": None}
    named = {"item_id": "ISBN", "title": "Book-Title", "genres": "Book-Author"}
    answers = {"without_times": True, "unrated": [0]}
    settings = {"RATINGS": columns, "ITEMS": named, "ANSWERS": answers, "MIN_RATING": 8.0}
    return settings, ["Windows-1252", "semicolons", "to 10, ", "für Anfänger"]


def lastfm_counts(folder):
    """Tabs; how often somebody played an artist; no ratings and no times."""
    users, items, likes, _ = taste(seed=5)
    plays = np.maximum(1, np.round(np.exp(9 * likes) / 40)).astype(int)
    rows = [f"{u}\t{i}\t{p}" for u, i, p in zip(users, items, plays, strict=True)]
    write(folder / "ratings.dat", ["userID\tartistID\tweight", *rows])
    columns = {"user_id": "userID", "item_id": "artistID", "rating": "weight", "timestamp": None}
    settings = {"RATINGS": columns, "ANSWERS": {"without_times": True}, "MIN_RATING": 5.0}
    return settings, ["tabs", "different values"]


def lastfm_events(folder):
    """Plays one by one, in ISO times: the same pair again and again, and no rating."""
    users, items, likes, seconds = taste(seed=6)
    rows = []
    for u, i, v, t in zip(users, items, likes, seconds, strict=True):
        for again in range(1 + int(3 * v)):
            when = datetime.fromtimestamp(int(t) + 300 * again, UTC)
            rows.append(f"user_{u:06d}\t{when:%Y-%m-%dT%H:%M:%SZ}\t\tartist {i}\t\tsong")
    write(folder / "ratings.tsv", rows)
    columns = {"user_id": 0, "item_id": 3, "rating": None, "timestamp": 1}
    return {"RATINGS": columns}, ["every row counts as a like", "rated again", "year first"]


def anime(folder):
    """Ten points, -1 for seen and not rated, no times."""
    users, items, likes, _ = taste(seed=7)
    points = np.where(likes < 0.35, -1, 1 + np.round(9 * likes)).astype(int)
    rows = [f"{u},{i},{p}" for u, i, p in zip(users, items, points, strict=True)]
    write(folder / "ratings.csv", ["user_id,anime_id,rating", *rows])
    columns = {"user_id": "user_id", "item_id": "anime_id", "rating": "rating", "timestamp": None}
    answers = {"without_times": True, "unrated": -1}
    return {"RATINGS": columns, "ANSWERS": answers, "MIN_RATING": 8.0}, ["to 10, ", "not rated"]


def movielens_1m(folder):
    """Two colons, no line of names, Latin-1 titles."""
    users, items, likes, seconds = taste(seed=8)
    rows = [f"{u}::{i}::{1 + round(4 * v)}::{t}"
            for u, i, v, t in zip(users, items, likes, seconds, strict=True)]  # fmt: skip
    write(folder / "ratings.dat", rows)
    films = [f"{i}::Café {title} (1995)::Drama|War" for i, title in enumerate(titles())]
    write(folder / "movies.dat", films, "latin-1")
    columns = {"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3}
    named = {"item_id": 0, "title": 1, "genres": 2}
    return {"RATINGS": columns, "ITEMS": named}, ["'::'", "Café Notes"]


def library(folder):
    """Loans: days as they are written in Europe, no ratings, a spreadsheet's semicolons."""
    users, items, _, seconds = taste(seed=9)
    days = [f"{datetime.fromtimestamp(int(t), UTC):%d.%m.%Y}" for t in seconds]
    rows = [f"{u},0;{i};{day}" for u, i, day in zip(users, items, days, strict=True)]
    write(folder / "ratings.csv", ["Leser;Buch;Tag", *rows], "utf-8-sig")
    columns = {"user_id": "Leser", "item_id": "Buch", "rating": None, "timestamp": "Tag"}
    return {"RATINGS": columns}, ["every row counts as a like", "day first"]


FILES = {
    make.__name__: make
    for make in (goodreads, amazon, amazon_2023, book_crossing, lastfm_counts, lastfm_events, anime,
                 movielens_1m, library)
}  # fmt: skip


def thirty_rows(folder):
    """Too few for anything: three users with ten likes each."""
    rows = [f"{n // 10},{n % 10},5,{START + n}" for n in range(30)]
    write(folder / "ratings.csv", ["userId,movieId,rating,timestamp", *rows])
    return {}


def million(folder, n_users=30_000, n_items=6_000, n_rows=1_000_000):
    """A million ratings of thirty thousand users, on which the template was run by hand."""
    rng = np.random.default_rng(0)
    home = rng.integers(20, size=n_users)
    activity = rng.pareto(1.5, n_users) + 1
    each = np.maximum(8, 1.5 * n_rows * activity / activity.sum()).astype(int)
    users = rng.permutation(np.repeat(np.arange(n_users), each))
    popular = np.exp(rng.normal(0, 1.2, n_items))
    group = rng.integers(20, size=n_items)
    items = rng.choice(n_items, len(users), p=popular / popular.sum())
    for g in range(20):
        own = np.flatnonzero(group == g)
        mine = np.flatnonzero((home[users] == g) & (rng.random(len(users)) < 0.5))
        items[mine] = rng.choice(own, len(mine), p=popular[own] / popular[own].sum())
    pairs = np.unique(users * n_items + items)
    pairs = rng.permutation(pairs)[:n_rows]
    users, items = np.divmod(pairs, n_items)
    stars = np.clip(np.round(3 + (group[items] == home[users]) + rng.normal(0, 0.8, len(pairs))),
                    1, 5).astype(int)  # fmt: skip
    came = rng.random(n_users) * 3e8
    seconds = (START + came[users] + rng.exponential(2e6, len(pairs))).astype(int)
    lines = [f"{u},{i},{s},{t}" for u, i, s, t in zip(users, items, stars, seconds, strict=True)]
    write(folder / "ratings.csv", ["userId,movieId,rating,timestamp", *lines])
    words = ["lake", "winter", "paper", "iron", "garden", "signal", "harbour", "north", "glass",
             "river", "silence", "engine", "market", "salt", "mirror", "tower", "orchard", "storm",
             "letter", "night"]  # fmt: skip
    named = [f"{i},The {words[group[i]]} {n},{words[group[i]]}" for i, n in
             enumerate(rng.integers(1000, size=n_items))]  # fmt: skip
    write(folder / "items.csv", ["movieId,title,genres", *named])
    return {}
