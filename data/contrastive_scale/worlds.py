"""What the scripts of this folder share: two worlds, one small model, and its opponents.

A world has parts (windows in time for films; one part for packages). A part knows its likes, draws
examples, and judges a model by the users who are not in it. The model is that of
`notebooks/09_contrastive_at_scale.ipynb`: two linear heads, a cosine over a temperature, and a
learned weight of the logarithm of popularity.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, relu

from recsys_tutorial import evaluation, splits
from recsys_tutorial.datasets import film_texts, load_movielens, load_packages
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.geometry import alignment, uniformity
from recsys_tutorial.hard_negatives import HardNegatives
from recsys_tutorial.models import EASE
from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives
from recsys_tutorial.training import train

N_NEGATIVES, BATCH = 8, 512
TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
SEEDS = (0, 1, 2)
FADING_LIST, FADING_EASE, EASE_REG = 2_000, 16_000, 200.0  # chapter 1's choices


def components(vectors: np.ndarray, n: int = 128) -> np.ndarray:
    """First principal components of standardised vectors, as rows of length 1."""
    a = vectors.astype(np.float64)
    a = (a - a.mean(0)) / np.maximum(a.std(0), 1e-6)
    basis = np.linalg.eigh(a.T @ a)[1][:, ::-1][:, :n]
    basis *= np.sign(basis[np.abs(basis).argmax(0), np.arange(n)])  # the same sign everywhere
    a = a @ basis
    return a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)


class Towers(nn.Module):
    """score = cosine(U x_u, V x_i [+ free vector]) / temperature + w log(1 + n_i)."""

    def __init__(self, world, seed: int, temperature: float):
        super().__init__()
        torch.manual_seed(seed)
        x, free = world.x, world.free
        self.user = nn.Linear(world.user_dim, world.dim, bias=False).to(x.dtype)
        self.item = nn.Linear(x.shape[1], world.dim, bias=False).to(x.dtype)
        self.free = nn.Parameter(0.1 * torch.randn(len(x), world.dim).to(x.dtype)) if free else None
        self.prior = nn.Parameter(torch.tensor(1.0).to(x.dtype))
        self.temperature, self.x = temperature, x
        self.log_n = torch.zeros(len(x), 1).to(x.dtype)

    def users(self, inputs: Tensor) -> Tensor:
        """Vectors of users, temperature and prior folded in."""
        z = normalize(self.user(inputs), dim=1) / self.temperature
        return torch.cat([z, self.prior.expand(len(z), 1)], 1)  # (n, dim + 1)

    def raw(self, rows) -> Tensor:
        """Vectors of items, of any length."""
        v = self.item(self.x[rows])
        return v if self.free is None else v + self.free[rows]

    def items(self, rows=slice(None)) -> Tensor:
        """Vectors of items, of length 1, and the prior."""
        return torch.cat([normalize(self.raw(rows), dim=1), self.log_n[rows]], 1)


@dataclass
class Part:
    """Likes that are known, how users are read, and who is judged."""

    train: sparse.csr_matrix
    log_n: np.ndarray  # (n_items,), the prior
    inputs: object  # (users, hidden items) -> Tensor, what the user head reads
    everyone: Tensor  # (n_users, user_dim), nothing hidden
    judge: object  # model -> Series per user
    even: bool  # each user counts the same, or each like does
    teacher: object  # () -> ndarray (n_users, n_items), scores that do not use the like itself

    def __post_init__(self):
        n = np.diff(self.train.indptr)
        self.n_liked, self.rows = n, np.repeat(np.arange(len(n)), n)
        able = n > 1
        self.known = torch.from_numpy(self.train.toarray() > 0)
        self.pool = np.flatnonzero(able[self.rows])  # likes that may be asked for
        self.some = np.flatnonzero(able)
        weight = 1.0 / (able.sum() * n[self.rows[self.pool]]) if self.even else 1 / len(self.pool)
        q = np.zeros(self.train.shape[1])
        np.add.at(q, self.train.indices[self.pool], weight)
        self.q = np.maximum(q, 1e-9)  # of one draw

    def examples(self, rng, n: int):
        """Users (n,) and a like of each."""
        if self.even:
            u = rng.choice(self.some, n)
            place = self.train.indptr[u] + (rng.random(n) * self.n_liked[u]).astype(int)
        else:
            place = rng.choice(self.pool, min(n, len(self.pool)), replace=False)
            u = self.rows[place]
        return u, self.train.indices[place].astype(np.int64)


class Films:
    """The course's windows; a user is the sum of what they liked."""

    name, user_dim, dim, free, refresh = "films", 128, 32, False, 20
    first, later = 120, 16  # steps in the first window and in each later one

    def __init__(self):
        movielens = load_movielens()
        self.rolling = splits.rolling_split(movielens.ratings, movielens.items)
        self.items = self.rolling.test[0].items
        self.features = components(TextEncoder().encode(film_texts(self.items)))
        self.x = torch.from_numpy(self.features).float()
        self.parts = {
            w: [self.part(s) for s in getattr(self.rolling, w)] for w in ("tuning", "test")
        }

    def part(self, split) -> Part:
        """One window."""
        n = np.asarray(split.faded(FADING_LIST, "likes").sum(axis=0)).ravel()
        sums = torch.from_numpy(split.train @ self.features).float()

        def judge(model) -> pd.Series:
            z = model.users(torch.from_numpy(split.test.history @ self.features).float())
            scores = (z @ model.items().T).numpy().round(5)
            return evaluation.evaluate(scores, split.test, (10,)).values("ndcg@10")

        def teacher():
            ease = EASE(EASE_REG).fit(split.train, np.exp(-split.user_ages("likes") / FADING_EASE))
            return ease.score(split.train)

        return Part(split.train, np.log1p(n), lambda u, i: sums[u] - self.x[i], sums, judge, False,
                    teacher)  # fmt: skip


class Packages:
    """Descriptions that ask for packages; whole maintainers are held out."""

    name, user_dim, dim, free, refresh = "packages", 384, 64, True, 100
    first, later = 400, 0

    def __init__(self):
        sources, packages, needs = load_packages()
        split = splits.group_split(needs, packages, sources["group"].to_numpy())
        self.split, known = split, split.train_user_ids
        self.columns = np.flatnonzero(np.bincount(split.train.indices) >= 3)
        reader = TextEncoder()
        lines = reader.encode(sources["description"].tolist()).astype(np.float64)
        spread = np.maximum(lines[known].std(0), 1e-2)
        lines = torch.from_numpy((lines - lines[known].mean(0)) / spread).float()
        self.lines, self.reader = lines, reader
        asked = reader.encode(packages["description"].to_numpy()[self.columns].tolist())
        self.x = torch.from_numpy(components(asked)).float()
        likes = split.train[:, self.columns].tocsr()
        self.likes = likes
        self.parts = {"tuning": [self.part(split.validation)], "test": [self.part(split.test)]}

    def part(self, holdout, likes=None, lines=None) -> Part:
        """The users of a holdout, by their description alone."""
        wish = holdout.without_history()
        likes = self.likes if likes is None else likes
        lines = self.lines[self.split.train_user_ids] if lines is None else lines
        n = np.asarray(self.likes.sum(axis=0)).ravel()

        def judge(model) -> pd.Series:
            s = model.users(self.lines[wish.user_ids]) @ model.items().T
            return pd.Series(ndcg(s.numpy(), wish.targets[:, self.columns], wish.targets),
                             wish.user_ids)  # fmt: skip

        def teacher():
            v = normalize(self.reader_vectors(), dim=1)
            votes = np.zeros(likes.shape, dtype=np.float32)
            for start in range(0, len(v), 1000):
                c = v[start : start + 1000] @ v.T
                c[torch.arange(len(c)), torch.arange(start, start + len(c))] = -1  # not oneself
                best, who = c.topk(100, 1)
                w = best.clamp(min=0) ** 4
                near = sparse.csr_matrix(
                    (w.numpy().ravel(), who.numpy().ravel(), np.arange(len(c) + 1) * 100),
                    (len(c), len(v)),
                )
                votes[start : start + 1000] = (near @ likes).toarray()
            return votes

        return Part(likes, np.log1p(n), lambda u, i: lines[u], lines, judge, True, teacher)

    def reader_vectors(self) -> Tensor:
        """Vectors of the training projects' descriptions."""
        return self.lines[self.split.train_user_ids]


def ndcg(scores: np.ndarray, targets: sparse.csr_matrix, all_targets: sparse.csr_matrix, k=10):
    """NDCG@k per row; targets that are not among the columns count in the ideal."""
    best = torch.from_numpy(scores.round(5)).topk(k, 1).indices.numpy()
    gain = np.take_along_axis(targets.toarray() > 0, best, 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    n = np.minimum(np.diff(all_targets.indptr), k)
    return (gain * discount).sum(1) / np.cumsum(discount)[n - 1]


# --- What the model is held against ---------------------------------------------------------------


class Mined:
    """Hard negatives from a window of ranks; guards: a margin, or a teacher who must agree."""

    def __init__(self, part: Part, depth, skip=0, margin=None, denoise=None):
        self.hard = HardNegatives(part.train, depth=depth, skip=skip)
        self.uniform, self.margin = UniformNegatives(part.train), margin
        self.denoise, self.drawn, self.fallen = denoise, 0, 0
        self.teacher = part.teacher() if denoise else None

    def refresh(self, users, items):
        """Search again."""
        self.hard.refresh(users, items)
        self.vectors = users, items

    def draw(self, u, i, rng):
        """(n, N_NEGATIVES); uniform where no item is left."""
        wide = self.uniform.draw(u, rng, N_NEGATIVES)
        items = self.hard.items_[u]
        able = items >= 0
        if self.margin is not None:
            positive = (self.vectors[0][u] * self.vectors[1][i]).sum(1, keepdims=True)
            able &= self.hard.scores_[u].round(6) <= positive.round(6) - self.margin
        if self.denoise:
            at = self.teacher[u, i][:, None] * self.denoise
            able &= self.teacher[u[:, None], np.maximum(items, 0)] < at
        n = able.sum(1, keepdims=True)
        order = np.argsort(~able, axis=1, kind="stable")
        r = rng.integers(np.maximum(n, 1), size=wide.shape)
        found = np.take_along_axis(items, np.take_along_axis(order, r, 1), 1)
        self.drawn, self.fallen = self.drawn + len(n), self.fallen + int((n == 0).sum())
        return np.where(n > 0, found, wide)


def plain(s: Tensor) -> Tensor:
    """The positive in column 0 against the others."""
    return cross_entropy(s, torch.zeros(len(s), dtype=torch.long))


def debiased(s: Tensor, temperature: float, tau_plus: float, beta: float = 0.0) -> Tensor:
    """Chuang et al. 2020; with beta the negatives weigh e^(beta s), normalised (Robinson)."""
    positive, negative = s[:, 0].exp(), s[:, 1:].exp()
    weight = (beta * s[:, 1:].detach()).softmax(1)
    mean = (negative * weight).sum(1)
    mean = (mean - tau_plus * positive) / (1 - tau_plus)
    mean = mean.clamp(min=float(np.exp(-1 / temperature)))
    return -(positive / (positive + N_NEGATIVES * mean)).log().mean()


def sampled(how: dict, part: Part, model: Towers, state: dict):
    """A loss with a few negatives for each example."""
    samplers = {
        "uniform": lambda: UniformNegatives(part.train),
        "popular": lambda: PopularityNegatives(part.train, alpha=1.0),
    }
    names = how["from"]
    made = {n: samplers[n]() for n in names if n in samplers}
    mined = Mined(part, **how["mine"]) if "hard" in names else None
    if mined:
        state["mined"] = mined
    step = iter(range(10**9))

    def search(m):
        with torch.no_grad():
            mined.refresh(m.users(part.everyone).double().numpy(), m.items().double().numpy())

    if mined and how.get("miner"):  # once, by another model
        search(state["miner"])

    def log_q(u, items):
        parts = [np.log(w) + made[n].log_q(u, items) for n, w in names.items()]
        return np.logaddexp.reduce(parts)

    def loss(m, rows, rng):
        if mined and not how.get("miner") and next(step) % how["refresh"] == 0:
            search(m)
        u, i = part.examples(rng, BATCH)
        draws = [made[n].draw(u, rng, N_NEGATIVES) if n in made else mined.draw(u, i, rng)
                 for n in names]  # fmt: skip
        which = rng.choice(len(draws), p=list(names.values()), size=draws[0].shape)
        both = np.column_stack([i, np.choose(which, draws)])
        some, place = np.unique(both, return_inverse=True)
        v = m.items(some)[place.reshape(both.shape)]  # (batch, 1 + n_negatives, dim + 1)
        s = torch.einsum("bd,bnd->bn", m.users(part.inputs(u, i)), v)
        if how.get("correct") == "all":
            s = s - torch.from_numpy(log_q(u, both)).to(s)
        if how.get("correct") == "sum":  # the negatives stand for all items
            expected = log_q(u, both[:, 1:]) + np.log(N_NEGATIVES)
            s = torch.cat([s[:, :1], s[:, 1:] - torch.from_numpy(expected).to(s)], 1)
        if "tau_plus" in how:
            return debiased(s, m.temperature, how["tau_plus"], how.get("beta", 0.0))
        if "hardness" in how:
            s = torch.cat([s[:, :1], s[:, 1:] + how["hardness"] * s[:, 1:].detach()], 1)
        return plain(s)

    return loss


def in_batch(how: dict, part: Part, model: Towers, state: dict):
    """The items of the batch, each once, are the candidates; known likes are left out."""
    size = how.get("batch", BATCH)
    correction = {
        "none": np.zeros(len(part.q)),
        "q": np.log(part.q),
        "inclusion": np.log(-np.expm1((size - 1) * np.log1p(-part.q))),
    }[how["correct"]]

    def loss(m, rows, rng):
        u, i = part.examples(rng, size)
        some, place = np.unique(i, return_inverse=True)
        v, shift = m.items(some), torch.from_numpy(correction[some]).to(part.everyone.dtype)
        known, own = part.known[u][:, some], torch.from_numpy(place)
        if how.get("several"):  # all are asked for, and hidden from the history
            z = m.users(part.everyone[u] - known.to(m.x) @ m.x[some])
            s = (z @ v.T - shift).log_softmax(1)
            return -((s * known).sum(1) / known.sum(1)).mean()
        z = m.users(part.inputs(u, i))
        s = z @ v.T - shift  # (batch, n_candidates)
        known[torch.arange(len(u)), own] = False
        return cross_entropy(s.masked_fill(known, -1e30), own)

    return loss


def queued(how: dict, part: Part, model: Towers, state: dict):
    """A small batch and a memory of items that earlier batches encoded."""
    size, memory, slow = how["batch"], how["memory"], how.get("slow")
    if slow and "slow" not in state:
        state["slow"] = copy_of(model)
    state.setdefault("queue", (np.zeros(0, int), torch.zeros(0, model.x.shape[0])))
    log_q = np.log(part.q)

    def loss(m, rows, rng):
        old, kept = state["queue"]
        u, i = part.examples(rng, size)
        v = m.items(i)
        everything, ids = v, i
        if len(old):
            kept = torch.cat([kept, m.log_n[old]], 1)  # popularity is never stale
            everything, ids = torch.cat([v, kept]), np.concatenate([i, old])
        s = m.users(part.inputs(u, i)) @ everything.T - torch.from_numpy(log_q[ids]).to(v)
        left_out = part.known[u][:, ids]
        left_out[torch.arange(len(u)), torch.arange(len(u))] = False
        if memory:
            with torch.no_grad():
                new = v[:, :-1]
                if slow:
                    for a, b in zip(state["slow"].parameters(), m.parameters(), strict=True):
                        a.lerp_(b, 1 - slow)
                    new = state["slow"].items(i)[:, :-1]
                kept = new if not len(old) else torch.cat([new, kept[:, :-1]])
                state["queue"] = np.concatenate([i, old])[:memory], kept[:memory].detach()
        return cross_entropy(s.masked_fill(left_out, -1e30), torch.arange(len(u)))

    return loss


def everything(how: dict, part: Part, model: Towers, state: dict):
    """No sampling: a softmax over all items that somebody likes."""
    some = np.unique(part.train.indices)
    at = np.full(part.train.shape[1], -1)
    at[some] = np.arange(len(some))

    def loss(m, rows, rng):
        u, i = part.examples(rng, BATCH)
        known, own = part.known[u][:, some], torch.from_numpy(at[i])
        known[torch.arange(len(u)), own] = False
        s = m.users(part.inputs(u, i)) @ m.items(some).T
        return cross_entropy(s.masked_fill(known, -1e30), own)

    return loss


def without_negatives(how: dict, part: Part, model: Towers, state: dict):
    """Alignment of pairs, and something that keeps vectors apart."""

    def loss(m, rows, rng):
        u, i = part.examples(rng, BATCH)
        a, b = m.user(part.inputs(u, i)), m.raw(i)
        u, v = normalize(a, dim=1), normalize(b, dim=1)
        if how["apart"] == "uniformity":
            return alignment(u, v) + uniformity(u) + uniformity(v)
        if how["apart"] == "nothing":
            return alignment(u, v)
        total = 25 * ((a - b) ** 2).mean()  # VICReg's three terms, with its weights
        for x in (a, b):
            x = x - x.mean(0)
            cov = x.T @ x / (len(x) - 1)
            total = total + 25 * relu(1 - (cov.diagonal() + 1e-4).sqrt()).mean()
            total = total + (cov**2).sum().sub((cov.diagonal() ** 2).sum()) / len(cov)
        return total

    return loss


UNIFORM = {"kind": "sampled", "from": {"uniform": 1.0}}
KINDS = {"sampled": sampled, "in batch": in_batch, "queue": queued, "all": everything,
         "no negatives": without_negatives}  # fmt: skip


def run(world, which: str, how: dict, tau: float, seed: int, cache: dict, scale: int = 1):
    """Train from part to part; return (values per user, facts of each part, the last model)."""
    key = (which, tau, seed, scale)
    if (how.get("miner") == "trained" or how.get("hold")) and key not in cache:
        run(world, which, UNIFORM, tau, seed, cache, scale)
    model, state, values, facts = Towers(world, seed, tau), {}, [], []
    for number, part in enumerate(world.parts[which]):
        model.log_n = torch.from_numpy(part.log_n)[:, None].to(model.x.dtype)
        how_now = {"refresh": world.refresh, **how}
        if how.get("miner") == "untrained":
            state["miner"] = Towers(world, seed + 1000, tau)  # with the prior at w = 1
            state["miner"].log_n = model.log_n
        elif how.get("miner"):
            state["miner"] = cache[key][number]
        if how.get("hold"):  # w as uniform negatives leave it
            model.prior.requires_grad_(False)
            model.prior.copy_(cache[key][number].prior.detach())
        loss = KINDS[how["kind"]](how_now, part, model, state)
        steps = scale * (world.later if number else world.first)
        # w is a single number that has far to go
        train(
            model,
            loss,
            BATCH,
            epochs=1,
            batches=lambda rng, n=steps: [np.arange(BATCH)] * n,
            learning_rate={"": world_rate(world), "prior": 0.06},
            seed=seed + 100 * number,
        )
        with torch.no_grad():
            values.append(part.judge(model))
        mined = state.pop("mined", None)
        facts.append({"w": float(model.prior.detach()), "steps": steps,
                      "fallback": mined.fallen / mined.drawn if mined else np.nan})  # fmt: skip
        if how is UNIFORM:
            cache.setdefault(key, []).append(copy_of(model))
    return pd.concat(values), facts, model


def copy_of(model: Towers) -> Towers:
    """The features are shared, not copied."""
    return copy.deepcopy(model, {id(model.x): model.x})


def world_rate(world) -> float:
    return 3e-3 if world.name == "films" else 1e-2
