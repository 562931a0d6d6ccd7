"""The versions that `make demo` serves: trained once on the films, judged, written as artefacts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recsys_tutorial.course import MODELS, fading_likes
from recsys_tutorial.datasets import film_texts, load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import evaluate_rolling, mean_interval
from recsys_tutorial.pretrained import WeightsNotFound
from recsys_tutorial.serving.service.artefacts import Artefact, load_artefact, save_artefact
from recsys_tutorial.splits import Rolling, rolling_split

ENCODER = "all-MiniLM-L6-v2"
# {version: (the leaderboard's row, what of it its class is given again when it is loaded)}
VERSIONS = {
    "fading-ease": ("fading EASE", ("reg",)),
    "fading-als": ("fading ImplicitALS", ("factors", "reg", "alpha")),
    "fading-popularity": ("fading popularity", ()),
}


def train_artefacts(
    folder: Path, rolling: Rolling | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Train the versions and write them; those that are there and sound stay.

    Each is the leaderboard's model of the last test window: trained on everything that was known
    when its users came, with the NDCG@10 over all test windows beside it.

    Parameters
    ----------
    folder : Path, of the service; versions go to `versions` in it
    rolling : Rolling or None for MovieLens' small release
    say : callable str -> None, told what is done

    Returns
    -------
    list of Path, a folder for each version
    """
    root, made, vectors = Path(folder) / "versions", [], None
    for name, (row, kept) in VERSIONS.items():
        if _sound(root / name):
            made.append(root / name)
            continue
        rolling = rolling or rolling_split(*load_movielens())
        last = rolling.test[-1]
        if vectors is None:
            say(f"reading {len(last.items):,} films with {ENCODER}")
            vectors = (_text_vectors(film_texts(last.items), say),)
        say(f"training {name}: {len(rolling.test)} windows in time")
        model, about = _last_model(row, rolling)
        settings = {setting: getattr(model, setting) for setting in kept}
        say(f"  NDCG@10 {about['ndcg@10']:.3f} over {about['n_users']} users")
        artefact = Artefact(
            name, model, last.items[["item_id", "title", "genres"]], fading_likes(last), settings,
            vectors[0], None if vectors[0] is None else ENCODER, about,
        )  # fmt: skip
        made.append(save_artefact(root, artefact))
    return made


def _sound(folder: Path) -> bool:
    try:
        load_artefact(folder)
    except ValueError:
        return False
    return True


def _last_model(row: str, rolling: Rolling) -> tuple[object, dict]:
    """The row's model of the last window, and what is to be known about it."""
    begun, models = MODELS[row].fit(), []

    def fit(split):
        models[:] = [begun(split)]
        return models[0]

    values = evaluate_rolling(fit, rolling.test).values("ndcg@10").to_numpy()
    low, high = mean_interval(values)
    last = rolling.test[-1]
    until = datetime.fromtimestamp(int(last.start), UTC).date().isoformat()
    about = {
        "row": row,
        "n_training_users": int(last.train.shape[0]),
        "n_training_likes": int(last.train.nnz),
        "known_until": until,
        "ndcg@10": round(float(values.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "n_users": len(values),
    }
    return models[0], about


def _text_vectors(texts: list[str], say: Callable[[str], None]) -> np.ndarray | None:
    """Vectors of the films' texts; None where there are no weights, and search counts words."""
    try:
        return TextEncoder(ENCODER, device="cpu").encode(texts).astype(np.float32)
    except WeightsNotFound as error:
        say(f"search will count words: {str(error).splitlines()[0]}")
        return None
