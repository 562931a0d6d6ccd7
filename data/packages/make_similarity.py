"""A similarity of descriptions that a tower learned: neighbours vote in its space, three seeds.

    python data/packages/make_similarity.py | tee data/packages/similarity.log   # some minutes

It writes similarity_tuning.csv and similarity.csv.gz. The tower is that of `make_results.py`, with
the rate that its tuning users chose. Its user vectors, of length 1, stand beside those that it
reads, of length 1: the cosine is the mean of a learned and an untrained one. Numbers of neighbours
and powers are chosen on the tuning maintainers with the first seed, among as many as the untrained
similarities have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))

from make_results import (
    HERE,
    SEEDS,
    VOTES,
    WEIGHTS,
    believed,
    choose,
    fit_tower,
    frequent,
    mix,
    packages,
    readings,
    save,
    scorer,
    split_of,
    standard,
)

from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.leaderboard import METRICS
from recsys_tutorial.models import NeighbourVotes
from recsys_tutorial.models.content import unit_rows


def main() -> None:
    """Tune with the first seed, then evaluate test users with each."""
    split = split_of("maintainers")
    known, validation, test = split.train_user_ids, split.validation, split.test
    tried = pd.read_csv(HERE / "tower_tuning.csv").query("model == 'BERT tower'")
    rate = float(tried.loc[tried["ndcg@10"].idxmax(), "setting"])
    users = readings(split)["MiniLM + words"]
    texts = packages["description"].to_numpy()[frequent(split)].tolist()
    items = TextEncoder().encode(texts)
    items = standard(items, items)
    rows, values = [], {}

    for seed in SEEDS:
        model = fit_tower(split, users, items, rate, seed)
        score = scorer(model, split, users)

        def space(ids: np.ndarray, model=model) -> np.ndarray:
            learned = model.encode_users(users[ids])[:, :-1]  # without the prior's coordinate
            return np.hstack([unit_rows(learned), unit_rows(users[ids])])

        of_known = space(known)

        def votes(setting: tuple, part, of_known=of_known, space=space) -> np.ndarray:
            voting = NeighbourVotes(of_known, *setting).fit(split.train)
            return voting.score(space(part.user_ids)).astype(np.float32)

        if seed == 0:
            setting = choose(
                "learned neighbours", VOTES, lambda s, v=votes: v(s, validation), split, rows
            )
            pair = believed(score(validation)), votes(setting, validation)
            weight = choose(
                "tower + learned neighbours", WEIGHTS, lambda w, p=pair: mix(*p, w), split, rows
            )
            save(pd.DataFrame(rows, columns=["model", "setting", "ndcg@10"]),
                 "similarity_tuning.csv")  # fmt: skip
        voted = votes(setting, test)
        scores = {"learned neighbours": voted}
        scores["tower + learned neighbours"] = mix(believed(score(test)), voted, weight)
        for name, of in scores.items():
            for task, part in {"half": test, "wish": test.without_history()}.items():
                found = evaluate(of, part)
                for metric in METRICS:
                    values[f"{name}|{task}|{seed}|{metric}"] = found.values(metric).round(5)
                print(f"test {task} {name} {seed}: {found['ndcg@10']:.4f}", flush=True)
        save(pd.DataFrame(values).rename_axis("user_id").reset_index(), "similarity.csv.gz")


if __name__ == "__main__":
    main()
