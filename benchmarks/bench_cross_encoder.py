"""CrossEncoder.score_pairs beside sentence-transformers' CrossEncoder: same weights, same texts.

The second comparison is of the package with itself: the user's keys and values computed once
(``attention="prefix"``) against the whole sequence for every pair. What is gained there is bought
with another mask, so the scores are another model's.
"""

import tempfile

import numpy as np
import torch
import transformers

from benchmarks.harness import THREADS, Row, compare_speed, limited_threads
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.pretrained import text_encoder
from recsys_tutorial.splits import new_user_split

N_USERS, N_CANDIDATES = 4, 30


def same_weights(ours, folder: str):
    """The network of `ours` as sentence-transformers reads it."""
    from sentence_transformers import CrossEncoder

    config = transformers.AutoConfig.from_pretrained(text_encoder(), num_labels=1)
    theirs = transformers.BertForSequenceClassification(config)
    theirs.bert.load_state_dict(ours.bert.state_dict(), strict=False)
    theirs.bert.pooler.dense.load_state_dict(ours.pooler.state_dict())
    theirs.classifier.load_state_dict(ours.classifier.state_dict())
    theirs.save_pretrained(folder)
    ours.layout.tokenizer.save_pretrained(folder)
    return CrossEncoder(folder, device="cpu", max_length=256, activation_fn=torch.nn.Identity())


def real_pairs() -> tuple[list[str], list[str]]:
    """Test users with the most popular films they have not been shown, as chapter 7 writes them."""
    from recsys_tutorial.evaluation import rank
    from recsys_tutorial.models import Popularity
    from recsys_tutorial.models.pair_layout import item_texts, short_titles, user_texts

    movielens = load_movielens()
    split = new_user_split(movielens.ratings, movielens.items)
    history = split.test.history[:N_USERS]
    users = user_texts(history, short_titles(split.items["title"].tolist()))
    scores = Popularity().fit(split.train).score(history)
    ranked = rank(scores, split.test.seen[:N_USERS], N_CANDIDATES)
    texts = item_texts(split.items["title"].tolist(), split.items["genres"].tolist())
    return [u for u in users for _ in range(N_CANDIDATES)], [texts[c] for c in ranked.ravel()]


def run() -> list[Row]:
    from recsys_tutorial.models.cross_encoder import CrossEncoder

    size = {"max_user_tokens": 190, "device": "cpu"}  # nobody is cut: the peer cuts otherwise
    full = CrossEncoder(**size)
    with torch.no_grad():
        full.classifier.weight.mul_(50)  # scores of about 1, so that 1e-4 means something
    prefix = CrossEncoder(attention="prefix", **size)
    users, items = real_pairs()
    pairs = list(zip(users, items, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        theirs = same_weights(full, folder)

        def ours():
            return full.score_pairs(users, items)

        def peer():
            return theirs.predict(pairs, show_progress_bar=False)

        with limited_threads(THREADS):
            np.testing.assert_allclose(ours(), peer(), atol=1e-4)
        layout = full.layout
        n_tokens = layout.users(users).lengths[layout.users(users).rows] + 3
        n_tokens = n_tokens + layout.items(items).lengths[layout.items(items).rows]
        case = f"{len(pairs)} pairs of {n_tokens.mean():.0f} tokens"
        rows = compare_speed(
            f"score {case}", {"recsys_tutorial": ours, "sentence-transformers": peer}, 1.0, repeat=3
        )
        return rows + compare_speed(
            f"users read once, {case}",
            {"prefix": lambda: prefix.score_pairs(users, items), "the whole sequence": ours},
            1.3,
            repeat=3,
        )
