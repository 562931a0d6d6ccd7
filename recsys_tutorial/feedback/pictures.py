"""The catalogue of the picture shop: what its models may see, and what decides the clicks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_tutorial._files import data_dir
from recsys_tutorial.datasets.clipart import load_clipart

N_LOOKS = 10  # six hues, grey, ink, shades, detail: see data/simulation/README.md
MIN_PICTURES = 25  # themes and keywords with fewer pictures are no traits


@dataclass(frozen=True)
class Pictures:
    """The shop's catalogue.

    Attributes
    ----------
    item_id : ndarray (n_items,) int64, as in `load_clipart().items`
    features : ndarray (n_items, 32) float64: principal components of MiniLM's vector of title and
        keywords and DINOv2's of the picture, variance 1 each, the most important first
    traits : ndarray (n_items, n_traits) float64: 1, themes and keywords (0 or 1), looks
        (variance 1)
    trait_names : list of str
    """

    item_id: np.ndarray
    features: np.ndarray
    traits: np.ndarray
    trait_names: list[str]

    @property
    def theme(self) -> np.ndarray:
        """(n_items,) int: the number of each picture's theme, -1 for one without."""
        themes = self.traits[:, self.columns("theme")]
        return np.where(themes.any(axis=1), themes.argmax(axis=1), -1)

    def columns(self, kind: str) -> np.ndarray:
        """Which traits are of a kind.

        Parameters
        ----------
        kind : str, "theme", "keyword" or "look"

        Returns
        -------
        int ndarray (n_of_the_kind,), columns of `traits`
        """
        return np.array([i for i, n in enumerate(self.trait_names) if n.startswith(kind + ":")])


def load_pictures() -> Pictures:
    """The 2,176 clip-art candidates with their features, looks, themes and keywords.

    The numbers were computed once and rounded (data/simulation/make_pictures.py), so that a
    simulation repeats on every machine.

    Returns
    -------
    Pictures
    """
    with np.load(data_dir() / "simulation" / "pictures.npz") as stored:
        item_id, features, looks = (stored[key] for key in ("item_id", "features", "looks"))
    items = load_clipart().items.set_index("item_id").loc[item_id]
    theme = items["category"].str.partition("/")[0]
    themes = _frequent(pd.get_dummies(theme), "theme:")
    keywords = _frequent(items["keywords"].str.get_dummies("|"), "keyword:")
    looks = (looks - looks.mean(axis=0)) / looks.std(axis=0)  # (n_items, N_LOOKS)
    names = ["constant", *themes.columns, *keywords.columns, *(f"look:{i}" for i in range(N_LOOKS))]
    traits = np.column_stack([np.ones(len(items)), themes, keywords, looks])
    return Pictures(item_id, features / 1000.0, traits, names)


def _frequent(columns: pd.DataFrame, prefix: str) -> pd.DataFrame:
    return columns.loc[:, columns.sum() >= MIN_PICTURES].add_prefix(prefix)
