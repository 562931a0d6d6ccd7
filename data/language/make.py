"""Chapter 14's measurements with the language model, on one core; what is done is not done again.

    PYTHONPATH=. python data/language/make.py rerank
    PYTHONPATH=. python data/language/make.py rerank 60 1200    # 60 units, at most 1,200 s

The parts are the functions named in PARTS. A part's units, users or texts, come in the order of a
hash, so that the first ones are a random sample; each writes its rows when it is done, and a run
that was broken off goes on with the next unit. `hashes` writes the manifest.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import math
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial import datasets, splits
from recsys_tutorial._files import cache_dir
from recsys_tutorial.course import fading_ease
from recsys_tutorial.language import LanguageModel, LanguageModelRanker, TitleTrie, fill
from recsys_tutorial.language.prompts import LEAD, one_line
from recsys_tutorial.ranking import rank

HERE = Path(__file__).parent
N_LIKES, N_CANDIDATES = 8, 30
BEGAN = time.time()


# -- what all parts share


@cache
def model() -> LanguageModel:
    return LanguageModel(device="cpu", progress=False)


@cache
def world():
    """Ratings, films, windows; titles with the year, and texts with the genres behind them."""
    ratings, items = datasets.load_movielens()
    texts = datasets.film_texts(items)
    titles = [one_line(text.rpartition(". ")[0] or text) for text in texts]
    likes = ratings[ratings["rating"] >= 4].groupby("item_id").size()
    likes = items["item_id"].map(likes).fillna(0).to_numpy(int)
    return ratings, items, splits.rolling_split(ratings, items), titles, texts, likes


def hashed(names) -> list:
    """Names in the order of their hashes."""
    return sorted(names, key=lambda name: hashlib.sha256(f"14 {name}".encode()).hexdigest())


def table(name: str) -> pd.DataFrame:
    path = HERE / f"{name}.csv.gz"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def save(frame: pd.DataFrame, name: str) -> None:
    packed = {"method": "gzip", "mtime": 0}
    frame.to_csv(
        HERE / f"{name}.csv.gz", index=False, float_format="%.4f", compression=packed,
        lineterminator="\n",
    )  # fmt: skip


def run(name: str, key: str, units: list, work, every: int = 4) -> None:
    """Rows of each unit that is not there yet; work(unit) -> list of dict."""
    found = table(name)
    done = set(found[key]) | set(found[key].astype(str)) if len(found) else set()
    left, rows, tokens = [u for u in units if u not in done][:N_UNITS], [], 0
    began = time.time()
    for n, unit in enumerate(left, 1):
        COUNT.clear()
        rows += [{key: unit} | row for row in work(unit)]
        tokens += sum(COUNT)
        late = time.time() - BEGAN > LIMIT
        if n % every == 0 or n == len(left) or late:
            found, rows = pd.concat([found, pd.DataFrame(rows)]), []
            save(found, name)
            seconds = time.time() - began
            line = f"{name}: {found[key].nunique()} of {len(units)}, {n} now; {tokens} tokens"
            print(f"{line} in {seconds:.0f} s, {tokens / seconds:.0f} a second", flush=True)
        if late:
            sys.exit(3)


COUNT: list[int] = []


def read(prompts: list[str], endings: list[str]) -> list[np.ndarray]:
    """The model's token log-likelihoods; tokens that it read are counted."""
    values = model().token_log_likelihoods(prompts, endings)
    n_prompts = sum(len(model().tokens(prompt)) for prompt in dict.fromkeys(prompts))
    COUNT.append(n_prompts + sum(map(len, values)))
    return values


PRIORS: dict[tuple[str, str], float] = {}


def without_reason(prompt: str, endings: list[str]) -> np.ndarray:
    """`scores`, where the same endings come again: each is read once."""
    new = [e for e in dict.fromkeys(endings) if (prompt, e) not in PRIORS]
    if new:
        PRIORS.update({(prompt, e): v for e, v in zip(new, scores(prompt, new), strict=True)})
    return np.array([PRIORS[prompt, e] for e in endings])


def scores(prompt: str, endings: list[str]) -> np.ndarray:
    return np.array([v.sum() for v in read([prompt] * len(endings), endings)])


# -- what a title is worth without a reason


def prior() -> None:
    """What a title is worth behind "A film:": films with 10 likes and more, and all candidates."""
    _, items, _, titles, _, likes = world()
    columns = set(np.flatnonzero(likes >= 10))
    for name in ("rerank", "tuning"):
        columns |= set(candidate_columns(name))
    ids, there = items["item_id"].to_numpy(), table("prior")
    done = set(there["item_id"]) if len(there) else set()
    left = [c for c in sorted(columns) if ids[c] not in done]
    batches = {int(ids[left[k]]): left[k : k + 24] for k in range(0, len(left), 24)}

    def work(batch):
        of = batches[batch]
        values = read([fill("title")] * len(of), [f"{LEAD}{titles[c]}\n" for c in of])
        return [
            {"item_id": ids[c], "log_p": v.sum(), "n_tokens": len(v)}
            for c, v in zip(of, values, strict=True)
        ]

    run("prior", "batch", list(batches), work, 4)


def candidate_columns(name: str) -> np.ndarray:
    found = table(name)
    place = pd.Series(np.arange(len(world()[1])), index=world()[1]["item_id"])
    return place[found["item_id"].unique()].to_numpy() if len(found) else np.zeros(0, int)


# -- does it know the data


def csv_line(row) -> str:
    title = f'"{row.title}"' if "," in row.title else row.title
    return f"{row.item_id},{title},{row.genres}"


def second_half(name: str) -> str:
    """The last words of a title: half of them, rounded down."""
    words = name.split(" ")
    return " ".join(words[math.ceil(len(words) / 2) :])


def sampled_films() -> list[int]:
    """Columns: of films with 100 likes and more, 30 to 99, 10 to 29; the same number of each."""
    _, items, _, _, _, likes = world()
    ids, ones = items["item_id"].to_numpy(), items["title"].str.count(" ").to_numpy() >= 2
    groups = [(100, 10**6), (30, 100), (10, 30)]
    by_group = [
        hashed(ids[(likes >= low) & (likes < high) & ones & items["year"].notna().to_numpy()])[:45]
        for low, high in groups
    ]
    found = [x for same in itertools.zip_longest(*by_group) for x in same if x is not None]
    place = {item: row for row, item in enumerate(ids)}
    return [place[x] for x in found]


def knowledge() -> None:
    """The true year, genres, second half and row of a film among altered ones; what it writes."""
    _, items, _, titles, _, _ = world()
    films = sampled_films()
    ids = items["item_id"].to_numpy()
    place = {ids[c]: c for c in films}
    genres = items["genres"].str.replace("|", ", ").to_numpy()
    kinds = sorted({genres[c] for c in films})

    def work(item_id):
        c = place[item_id]
        rng = np.random.default_rng(int(item_id))
        others = rng.permutation([f for f in films if f != c])
        name, _, year = titles[c].rpartition(" (")
        year = int(items["year"].iloc[c])
        near = [y for y in range(year - 5, year + 6) if y != year]
        other_genres = rng.permutation([kind for kind in kinds if kind != genres[c]])[:5]
        lists = [f" {kind}\n" for kind in (genres[c], *other_genres)]
        rows = [
            ("year", f"A film: {name} (", [f"{y})" for y in [year, *near]], None),
            ("genres", f"A film: {titles[c]}\nIts genres:", lists, "A film\nIts genres:"),
        ]
        ends = [second_half(titles[f].rpartition(" (")[0]) for f in others]
        ends = [e for e in dict.fromkeys(ends) if e][:5]
        second = second_half(name)
        first = name.removesuffix(second).rstrip()
        if second:
            halves = [f" {end} (" for end in (second, *ends)]
            rows.append(("second half", f"A film: {first}", halves, "A film:"))
        before = items.iloc[max(c - 2, 0) : c]
        head = "\n".join(["movieId,title,genres", *(csv_line(r) for r in before.itertuples())])
        alike = [csv_line(r).partition(",")[2] for r in items.iloc[[c, *others[:4]]].itertuples()]
        lines = [f"{line}\n" for line in alike]
        rows.append(("row", f"{head}\n{item_id},", lines, f"{head}\n{int(item_id) + 7000},"))
        found = []
        for question, prompt, endings, control in rows:
            values = scores(prompt, endings)
            nothing = np.full(len(endings), np.nan)
            base = without_reason(control, endings) if control else nothing
            found += [
                {"question": question, "option": k, "log_p": v, "log_p_control": b, "wrote": ""}
                for k, (v, b) in enumerate(zip(values, base, strict=True))
            ]
        if second:
            n_tokens = len(model().tokens(second)) + 2
            wrote = model().generate([f"A film: {first}"], max_tokens=n_tokens)
            found.append({"question": "writes", "option": 0, "log_p": 0.0, "log_p_control": 0.0,
                          "wrote": one_line(wrote[0] or "-")[:60]})  # fmt: skip
        return found

    run("knowledge", "item_id", [ids[c] for c in films], work, 9)


# -- users


def users(windows) -> dict[int, tuple]:
    """user_id -> (window, row), in the order of a hash."""
    by_id = {u: (k, r) for k, s in enumerate(windows) for r, u in enumerate(s.test.user_ids)}
    return {u: by_id[u] for u in hashed(by_id)}


@cache
def first_stage(which: str, window: int):
    """A window's fading EASE; its scores of all test users; the best candidates."""
    rolling = world()[2]
    split = (rolling.test if which == "test" else rolling.tuning)[window]
    ease = fading_ease(split)
    values = ease.score(split.test.history)
    return split, ease, values, rank(values, split.test.seen, N_CANDIDATES)


def last_likes(split, row: int, n: int) -> list[str]:
    """Titles of a user's last likes, the latest at the end."""
    one = split.test.history_times[[row]]
    reader = LanguageModelRanker(model(), world()[3], None, n_likes=n)
    lines = reader.prompts(one.sign(), one)[0].split("\n")
    return [line[2:] for line in lines if line.startswith("- ")]


def likes_prompt(likes: list[str]) -> str:
    return fill("likes", likes=likes) if likes else fill("title")


def rerank(which: str = "test", name: str = "rerank") -> None:
    """Log p(title | last likes) of fading EASE's 30 best films."""
    _, items, rolling, titles, _, _ = world()
    ids = items["item_id"].to_numpy()
    windows = rolling.test if which == "test" else rolling.tuning
    of = users(windows)

    def work(user):
        window, row = of[user]
        split, _, values, top = first_stage(which, window)
        columns = [c for c in top[row] if c >= 0]
        prompt = likes_prompt(last_likes(split, row, N_LIKES))
        found = scores(prompt, [f"{LEAD}{titles[c]}\n" for c in columns])
        targets = set(split.test.targets[[row]].indices)
        n_tokens = sum(COUNT)
        return [
            {"window": window, "item_id": ids[c], "place": p, "ease": values[row, c], "log_p": v,
             "liked": int(c in targets), "n_targets": len(targets), "n_tokens": n_tokens}
            for p, (c, v) in enumerate(zip(columns, found, strict=True))
        ]  # fmt: skip

    run(name, "user_id", list(of), work)


def tuning() -> None:
    rerank("tuning", "tuning")


# -- what it writes


@cache
def catalogue(window: int) -> TitleTrie:
    """All films that somebody liked before a window."""
    train = world()[2].test[window].train
    known = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
    return TitleTrie(model().tokenizer, [world()[3][c] for c in known])


def by_probability(prompt: str, trie: TitleTrie, n_open: int = 32):
    """(log p, title) of a tree's titles behind a prompt, from the likeliest on; nothing is lost.

    A beginning is never less probable than what goes on from it. So the likeliest beginnings are
    opened first, `n_open` at a time, and a title is given out once no open one is above it.
    """
    tokens, ended = model().tokens(prompt), []
    shared, opened = model().read(tokens), [(0.0, [])]
    COUNT.append(len(tokens))
    while opened or ended:
        while ended and (not opened or ended[0][0] <= opened[0][0]):
            score, title = heapq.heappop(ended)
            yield -score, title
        best = [heapq.heappop(opened) for _ in range(min(n_open, len(opened)))]
        with torch.no_grad():
            following = model().next_log_probabilities(shared, [tail for _, tail in best])
        COUNT.append(sum(len(tail) for _, tail in best))
        for (score, tail), row in zip(best, following, strict=True):
            allowed = trie.allowed(tail)
            for t, x in zip(allowed, row[torch.tensor(allowed)].double().tolist(), strict=True):
                title = trie.title([*tail, t])
                if title is None:
                    heapq.heappush(opened, (score - x, [*tail, t]))
                else:
                    heapq.heappush(ended, (score - x, title))


def generation() -> None:
    """What a user's prompt is continued by: free, a beam of 3, the catalogue's likeliest titles."""
    _, _, rolling, titles, _, _ = world()
    of = users(rolling.test)

    def work(user):
        window, row = of[user]
        split = rolling.test[window]
        known = np.flatnonzero(np.asarray(split.train.sum(axis=0)).ravel())
        seen = {titles[c] for c in split.test.seen[[row]].indices}
        prompt = likes_prompt(last_likes(split, row, N_LIKES))
        targets = {titles[c] for c in split.test.targets[[row]].indices}
        free = [model().generate([asks])[0].strip() for asks in (prompt, prompt + "\n-")]
        narrow = model().generate([prompt], catalogue(window), n_beams=3)[0].strip()
        COUNT.append(3 * len(model().tokens(prompt)))
        COUNT.append(sum(len(model().tokens(x)) for x in (*free, narrow)))
        ordered = by_probability(prompt, catalogue(window))
        first = value, best = next(ordered)
        new = next(x for x in itertools.chain([first], ordered) if x[1].strip() not in seen)
        ways = {
            "free": (math.nan, free[0]),
            "free, as a list": (math.nan, free[1]),
            "beam of 3": (scores(prompt, [f"{LEAD}{narrow}\n"])[0], narrow),
            "likeliest": (value, best.strip()),
            "likeliest new": (new[0], new[1].strip()),
        }
        found = []
        for how, (log_p, wrote) in ways.items():
            wrote = one_line(wrote or "-")
            found.append(
                {"how": how, "wrote": wrote, "log_p": log_p,
                 "in_prompt": int(f"- {wrote}\n" in prompt),
                 "known": int(wrote in {titles[c] for c in known}),
                 "in_data": int(wrote in set(titles)), "liked": int(wrote in targets)}
            )  # fmt: skip
        return found

    run("generation", "user_id", list(of), work, 1)


# -- words: which film satisfies a text

MIN_LIKES, N_RIGHT, N_WRONG = 20, 6, 10


@cache
def questions() -> tuple[pd.DataFrame, dict[int, list[tuple[int, int]]]]:
    """Texts, and for each of them films of which the first satisfy it: (column, 1 or 0)."""
    ratings, items, _, _, _, likes = world()
    table_ = datasets.load_wishes().texts
    relevant = datasets.relevant_films(table_, items, ratings)
    known = likes >= MIN_LIKES
    found = {}
    for row, wish in enumerate(table_["wish_id"]):
        rng = np.random.default_rng(int(wish))
        yes, no = np.flatnonzero(relevant[row] & known), np.flatnonzero(~relevant[row] & known)
        if len(yes) < 2:
            continue
        yes = rng.choice(yes, min(N_RIGHT, len(yes)), replace=False)
        found[int(wish)] = [(c, 1) for c in yes] + [(c, 0) for c in rng.choice(no, N_WRONG, False)]
    return table_.set_index("wish_id"), found


def title_tokens(column: int) -> int:
    """Tokens of title and year alone: where they end, a period begins a token with the genres."""
    text = world()[4][column]
    return len(model().tokens(f"{LEAD}{text.rpartition('). ')[0]}"))


def about_films(prompt: str, columns: list[int]) -> list[tuple[float, float]]:
    """Log p of each film's title, and of title and genres, behind a prompt."""
    texts = world()[4]
    values = read([prompt] * len(columns), [f"{LEAD}{texts[c]}\n" for c in columns])
    return [(v[: title_tokens(c)].sum(), v.sum()) for c, v in zip(columns, values, strict=True)]


def film_prior() -> None:
    """What a title, and a title with genres, is worth without a text."""
    ids = world()[1]["item_id"].to_numpy()
    columns = sorted({c for of in questions()[1].values() for c, _ in of})

    def work(batch):
        of = [c for c in columns if ids[c] % 16 == batch]
        values = about_films(fill("title"), of)
        return [
            {"item_id": ids[c], "log_p_title": a, "log_p_all": b}
            for c, (a, b) in zip(of, values, strict=True)
        ]

    run("film_prior", "batch", list(range(16)), work, 4)


def asked(name: str, split: str, prompt_of) -> None:
    """Each text's films, behind what `prompt_of` makes of its words."""
    texts, of = questions()
    ids = world()[1]["item_id"].to_numpy()
    units = [w for w in hashed(of) if texts.loc[w, "split"] == split]

    def work(wish):
        columns = [c for c, _ in of[wish]]
        values = about_films(prompt_of(texts.loc[wish, "text"]), columns)
        return [
            {"item_id": ids[c], "right": right, "log_p_title": a, "log_p_all": b}
            for (c, right), (a, b) in zip(of[wish], values, strict=True)
        ]

    run(name, "wish_id", units, work, 8)


def wishes() -> None:
    asked("wishes", "test", lambda words: fill("wish", words=words))


def wishes_tuning() -> None:
    asked("wishes_tuning", "tuning", lambda words: fill("wish", words=words))


@cache
def shots() -> str:
    """Three tuning texts, one of each kind but reviews, each with a well-known right film."""
    texts, _ = questions()
    ratings, items, _, _, films, likes = world()
    lines = []
    for kind in ("wish", "exclusion", "comparison"):
        own = texts[(texts["split"] == "tuning") & (texts["kind"] == kind)]
        wish = hashed(own.index)[0]
        right = datasets.relevant_films(texts.loc[[wish]], items, ratings)[0]
        best = int(np.argmax(np.where(right, likes, -1)))
        lines.append(f"{fill('wish', words=texts.loc[wish, 'text'])}{LEAD}{films[best]}\n\n")
    return "".join(lines)


def examples() -> None:
    """The same with three solved texts before it."""
    asked("examples", "test", lambda words: shots() + fill("wish", words=words))


# -- its states as vectors


def hidden(name: str, texts: list[str], limit: int = 32) -> np.ndarray:
    """(n_texts, n_layers + 1, dim): means over each text's tokens after every layer, kept."""
    path = cache_dir() / "language" / f"{name}.npz"
    if path.exists():
        return np.load(path)["vectors"].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    network, found, began, n_tokens = model(), [None] * len(texts), time.time(), 0
    ids = [network.tokens(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: len(ids[row]))
    for start in range(0, len(order), limit):
        rows = order[start : start + limit]
        width = max(len(ids[r]) for r in rows)
        padded = torch.tensor([ids[r] + [0] * (width - len(ids[r])) for r in rows])
        there = torch.arange(width) < torch.tensor([len(ids[r]) for r in rows])[:, None]
        with torch.no_grad():
            states = network.model.base_model(
                input_ids=padded, attention_mask=there.long(), output_hidden_states=True,
                use_cache=False,
            ).hidden_states  # fmt: skip
        weight = there.float() / there.sum(1, keepdim=True)
        means = torch.stack([(s * weight[:, :, None]).sum(1) for s in states], 1)
        for r, vector in zip(rows, means, strict=True):
            found[r] = vector.numpy()
        n_tokens += int(there.sum())
    seconds = time.time() - began
    print(f"{name}: {len(texts)} texts, {n_tokens} tokens in {seconds:.0f} s", flush=True)
    vectors = np.stack(found)
    np.savez(path, vectors=vectors.astype(np.float16))
    return vectors


def states() -> None:
    """Vectors of the films with at least 20 likes, and of all texts, kept in the cache."""
    _, _, _, _, films, likes = world()
    hidden("wishes", questions()[0]["text"].tolist())
    hidden("films", [films[c] for c in np.flatnonzero(likes >= MIN_LIKES)])


LAYERS = (0, 5, 10, 15, 20, 25, 30)
REGS = (1, 0.3, 0.1, 0.03, 0.01, 0.003)


def layers() -> None:
    """A head on each layer's vectors, and a kernel of them on likes, beside MiniLM's.

    All are centred, cut to MiniLM's 384 dimensions by their principal components, and of length 1;
    a head has the same steps and penalties to choose from, by leaving out a third of the themes.
    """
    from sklearn.decomposition import PCA

    from recsys_tutorial.course import right_order, text_head
    from recsys_tutorial.encoders import TextEncoder
    from recsys_tutorial.models import unit_rows

    texts, of = questions()
    ratings, items, rolling, _, films, likes = world()
    known = np.flatnonzero(likes >= MIN_LIKES)
    relevant = datasets.relevant_films(texts.reset_index(), items, ratings)[:, known]
    encoder = TextEncoder(device="cpu", progress=False)
    said = hidden("wishes", texts["text"].tolist())
    shown = hidden("films", [films[c] for c in known])
    pairs = pd.DataFrame(
        [(w, np.searchsorted(known, c), r) for w, cs in of.items() for c, r in cs],
        columns=["wish_id", "column", "right"],
    )
    pairs = pairs[pairs["wish_id"].map(texts["split"]) == "test"].reset_index(drop=True)
    row = pd.Series(np.arange(len(texts)), index=texts.index)
    where = row[pairs["wish_id"]].to_numpy(), pairs["column"].to_numpy()
    learn = np.flatnonzero((texts["split"] == "tuning").to_numpy() & relevant.any(axis=1))
    fold = pd.factorize(texts["theme"])[0] % 3

    def vectors(name):
        if name == "MiniLM":
            return encoder.encode(texts["text"].tolist()), encoder.encode([films[c] for c in known])
        return said[:, int(name)], shown[:, int(name)]

    def work(name):
        u, v = (x.astype(np.float64) for x in vectors(name))
        u, v = u - u[learn].mean(0), v - v.mean(0)
        if u.shape[1] > 384:
            turn = PCA(384, svd_solver="full").fit(np.vstack([u[learn], v])).components_.T
            u, v = u @ turn, v @ turn
        u, v = unit_rows(u), unit_rows(v)
        quality = []
        for reg in REGS:
            kept = []
            for k in range(3):
                a, b = learn[fold[learn] != k], learn[fold[learn] == k]
                s = u[b] @ text_head(u[a], v, relevant[a], reg, 60) @ v.T
                yes = relevant[b].astype(int).ravel()
                flat = pd.DataFrame({"text": np.repeat(b, len(known)), "right": yes})
                kept.append(right_order(flat, s.ravel(), "text"))
            quality.append(pd.concat(kept).mean())
        reg = REGS[int(np.argmax(np.round(quality, 4)))]
        head = text_head(u[learn], v, relevant[learn], reg, 60)
        found = []
        for how, s in (("cosine", u @ v.T), ("head", u @ head @ v.T)):
            by_text = right_order(pairs, s[where], "wish_id")
            found += [{"how": how, "unit": k, "value": x} for k, x in by_text.items()]
        kernel = v @ v.T
        for split in rolling.test:
            test = split.test
            history, targets = test.history[:, known], test.targets[:, known]
            s = history @ kernel
            top = rank(np.asarray(s), test.seen[:, known], 10)
            gain = np.take_along_axis(targets.toarray() > 0, top, 1) / np.log2(np.arange(2, 12))
            n = np.minimum(np.diff(targets.indptr), 10)
            best = np.cumsum(1 / np.log2(np.arange(2, 12)))
            for r in np.flatnonzero((n > 0) & (np.diff(history.indptr) > 0)):
                value = gain[r].sum() / best[n[r] - 1]
                found.append({"how": "likes", "unit": int(test.user_ids[r]), "value": value})
        print(name, "penalty", reg, np.round(quality, 3), flush=True)
        COUNT.append(0)
        return found

    run("layers", "layer", [*map(str, LAYERS), "MiniLM"], work, 1)


# -- how firm are its answers


def choices() -> list[int]:
    """Users with a liked film among the first stage's best, in the order of a hash."""
    rolling = world()[2]
    found = []
    for user, (window, row) in users(rolling.test).items():
        split, _, _, top = first_stage("test", window)
        liked = np.isin(top[row], split.test.targets[[row]].indices)
        if liked.any() and (~liked).sum() >= 9:
            found.append(user)
    return found


def shared_length(one: list[int], other: list[int]) -> int:
    """How many tokens two texts that differ begin with alike."""
    return next(k for k, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1)


def positions() -> None:
    """Which letter it gives: 4 films in all 24 orders, 10 films in 8 random ones."""
    _, items, rolling, titles, _, _ = world()
    ids = items["item_id"].to_numpy()
    of = users(rolling.test)

    def work(user):
        window, row = of[user]
        split, _, _, top = first_stage("test", window)
        liked = np.isin(top[row], split.test.targets[[row]].indices)
        right, wrong = top[row][liked], top[row][~liked]
        rng, found = np.random.default_rng(int(user)), []
        likes = last_likes(split, row, N_LIKES)
        for n in (4, 10):
            films = [right[0], *wrong[: n - 1]]
            orders = list(itertools.permutations(range(n))) if n == 4 else [
                tuple(rng.permutation(n)) for _ in range(8)
            ]  # fmt: skip
            prompts = [
                fill("choice", likes=likes, options=[titles[films[k]] for k in order])
                for order in orders
            ]
            tokens = [model().tokens(p) for p in prompts]
            n_same = min(shared_length(t, tokens[0]) for t in tokens[1:])
            shared = model().read(tokens[0][:n_same])
            letters = [model().tokens(f" {letter}")[0] for letter in "ABCDEFGHIJ"[:n]]
            COUNT.append(n_same)
            for o, (order, ids_) in enumerate(zip(orders, tokens, strict=True)):
                with torch.no_grad():
                    row_ = model().next_log_probabilities(shared, [ids_[n_same:]])[0]
                COUNT.append(len(ids_) - n_same)
                values = row_[letters].double().numpy()
                found += [
                    {"n": n, "order": o, "letter": place, "film": int(k), "item_id": ids[films[k]],
                     "log_p": v}
                    for place, (k, v) in enumerate(zip(order, values, strict=True))
                ]  # fmt: skip
        return found

    run("positions", "user_id", choices(), work, 2)


N_FIRM = 12


def sensitivity() -> None:
    """The first 12 candidates again: likes in other orders, other numbers, other words."""
    _, items, rolling, titles, _, _ = world()
    ids = items["item_id"].to_numpy()
    of = users(rolling.test)
    names = list(of)

    def work(user):
        window, row = of[user]
        split, _, _, top = first_stage("test", window)
        columns = [c for c in top[row][:N_FIRM] if c >= 0]
        likes = last_likes(split, row, 24)
        last = likes[-N_LIKES:]
        rng = np.random.default_rng(int(user))
        other_window, other_row = of[names[(names.index(user) + 1) % len(names)]]
        other = last_likes(rolling.test[other_window], other_row, N_LIKES)
        variants = {
            "as it was": likes_prompt(last),
            "reversed": likes_prompt(last[::-1]),
            "shuffled": likes_prompt([last[k] for k in rng.permutation(len(last))]),
            "2 likes": likes_prompt(last[-2:]),
            "24 likes": likes_prompt(likes),
            "reworded": fill("likes, reworded", likes=last),
            "one line": fill("likes, one line", words="; ".join(last)),
            "another user's likes": likes_prompt(other),
        }
        found = []
        for variant, prompt in variants.items():
            values = scores(prompt, [f"{LEAD}{titles[c]}\n" for c in columns])
            found += [
                {"variant": variant, "item_id": ids[c], "log_p": v}
                for c, v in zip(columns, values, strict=True)
            ]
        return found

    run("sensitivity", "user_id", [u for u in names if enough(u, of)], work, 2)


def enough(user, of) -> bool:
    """Whether a user has at least 8 likes to be read."""
    window, row = of[user]
    return world()[2].test[window].test.history[[row]].nnz >= N_LIKES


# -- packages from their descriptions


@cache
def projects():
    """New projects, and what MiniLM's neighbours propose: the best 30 packages of each."""
    from recsys_tutorial.encoders import TextEncoder
    from recsys_tutorial.models import NeighbourVotes

    sources, packages, needs = datasets.load_packages()
    new = splits.group_split(needs, packages, sources["group"].to_numpy())
    lines = sources["description"].tolist()
    vectors = TextEncoder(device="cpu", progress=False).encode(lines)
    votes = NeighbourVotes(vectors[new.train_user_ids], 50, 4.0).fit(new.train)
    values = votes.score(vectors[new.test.user_ids])
    return new, packages["package"].tolist(), lines, values, rank(values, new.test.history, 30)


def packages() -> None:
    """Log p(package | description), and without it."""
    new, names, lines, values, top = projects()
    rows = {int(u): r for r, u in enumerate(new.test.user_ids)}

    def work(user):
        row = rows[user]
        columns = [c for c in top[row] if c >= 0 and values[row, c] > 0]
        endings = [f"{LEAD}{names[c]}\n" for c in columns]
        found = scores(fill("project", words=lines[user]), endings)
        base = without_reason(fill("package"), endings)
        targets = set(new.test.targets[[row]].indices)
        return [
            {"column": c, "place": p, "votes": values[row, c], "log_p": v, "log_p_control": b,
             "needed": int(c in targets), "n_targets": len(targets)}
            for p, (c, v, b) in enumerate(zip(columns, found, base, strict=True))
        ]  # fmt: skip

    run("packages", "user_id", [int(u) for u in hashed(rows)], work)


def hashes() -> None:
    """sha256 of every file, for the test that reads them."""
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(HERE.glob("*.gz"))}
    (HERE / "manifest.json").write_text(json.dumps(found, indent=1) + "\n")


PARTS = {
    f.__name__: f for f in (
        prior, knowledge, generation, film_prior, wishes, wishes_tuning, examples, states,
        layers, rerank, tuning, positions, sensitivity, packages, hashes,
    )
}  # fmt: skip
what, *numbers = sys.argv[1:] or [""]
N_UNITS = int(numbers[0]) if numbers else None
LIMIT = float(numbers[1]) if len(numbers) > 1 else math.inf

if __name__ == "__main__":
    if what not in PARTS:
        sys.exit(__doc__)
    PARTS[what]()
