"""Policies let loose on the same simulated shop, and the score kept day by day.

The module is a little long, so that settings, runs and the form of the stored tables are together.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from recsys_tutorial._files import data_dir
from recsys_tutorial.feedback.bandits import Greedy, LinUCB, ThompsonSampling
from recsys_tutorial.feedback.learners import ItemRates, LinearTastes
from recsys_tutorial.feedback.policies import IdModel, Oracle, Popularity, Random
from recsys_tutorial.feedback.shop import Pictures, Shop, load_pictures
from recsys_tutorial.feedback.ways import run_ways

# Three shops that differ in one thing each. Fixed, with the tastes in `shop`, before any
# policy was compared.
SETTINGS = {
    "steady": {},
    "drifting": {"swap": 0.05},
    "arriving": {"new_per_day": 40},
}
N_DAYS = 30
NEW = 3  # a picture is new on the day it arrives and the two days after

KEYS = ["setting", "policy", "seed"]  # of a repetition, in the tables

# The learner's settings and each policy's own, tuned on seeds that no comparison uses.
TUNED = {"reg": 0.1, "memory": 1.0, "prior": 2.0, "thompson": 0.1, "linucb": 0.1}
LEARNERS = 300  # shoppers of `learn_seed`


def make_policies(
    shop: Shop, seed: int, names: list[str] | None = None, **changes: float
) -> dict[str, object]:
    """The ten policies of the comparison, or some of them, for one shop.

    Parameters
    ----------
    shop : Shop, of which the policies see the pictures' features and the position bias; the oracle
        sees all
    seed : int, of the policies' own randomness
    names : list of str, which ones; all by default
    changes : float, other values than `TUNED`

    Returns
    -------
    dict of Policy, by name
    """
    value = {**TUNED, **changes}
    content, themes = theme_features(shop.pictures)
    n, e = shop.n_shoppers, shop.examination

    def known() -> tuple[ItemRates, LinearTastes]:
        tastes = LinearTastes(themes, n, e, reg=value["reg"], memory=value["memory"])
        return ItemRates(content, e, prior=value["prior"]), tastes

    makers: dict[str, Callable] = {
        "oracle": lambda s: Oracle(shop),
        "random": lambda s: Random(n, len(e), seed=s),
        "popularity": lambda s: Popularity(len(content), n, e, seed=s),
        "ID model": lambda s: IdModel(len(content), n, e, seed=s),
        "greedy": lambda s: Greedy(*known(), seed=s),
        "explore first": lambda s: Greedy(*known(), random_days=3, seed=s),
        "epsilon 0.05": lambda s: Greedy(*known(), epsilon=0.05, seed=s),
        "epsilon 0.2": lambda s: Greedy(*known(), epsilon=0.2, seed=s),
        "Thompson": lambda s: ThompsonSampling(*known(), scale=value["thompson"], seed=s),
        "LinUCB": lambda s: LinUCB(*known(), alpha=value["linucb"], seed=s),
    }
    return {name: makers[name](seed) for name in (makers if names is None else names)}


def theme_features(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """What the content policies know of pictures: a constant and encoder features, and a head.

    Tastes for themes are what shoppers differ in most, so the head is a ridge regression of the
    catalogue's theme on the encoder features: few numbers, of which a shopper's few clicks can say
    something. It also places pictures between themes.

    Parameters
    ----------
    pictures : Pictures

    Returns
    -------
    content : ndarray (n_items, 33);  themes : ndarray (n_items, 1 + n_themes)
    """
    x = np.column_stack([np.ones(len(pictures.features)), pictures.features])
    theme = pictures.traits[:, pictures.columns("theme")]
    head = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ theme)  # (33, n_themes)
    scores = x @ head
    return x, np.column_stack([np.ones(len(x)), scores - scores.mean(axis=0)])


def run(policies: Mapping[str, object], shop: Shop, n_days: int = N_DAYS) -> pd.DataFrame:
    """Let all policies serve the same shoppers on the same days.

    Parameters
    ----------
    policies : dict of Policy, by name
    shop : Shop, as new; its days go by
    n_days : int

    Returns
    -------
    DataFrame, a row for each day and policy:
        policy, day;
        clicks : expected clicks per shopper of the lists shown
        regret : the best lists' minus these
        pictures : share of the stock that anybody was shown
        themes : different themes in a list, mean over shoppers
        new : share of slots with a picture that arrived in the last `NEW` days (0: none did)
    """
    rows, theme = [], shop.pictures.theme
    for day in range(n_days):
        if day:
            shop.next_day()
        stock = np.flatnonzero(shop.stock)
        new = shop.new(NEW)
        best = shop.expected_clicks(shop.best()).mean()
        for name, policy in policies.items():
            shown = policy.choose(stock)
            policy.learn(shown, shop.clicks(shown))
            value = shop.expected_clicks(shown).mean()
            ordered = np.sort(theme[shown], axis=1)
            n_themes = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1).mean()
            rows.append([name, day, value, best - value, len(np.unique(shown)) / len(stock),
                         n_themes, new[shown].mean()])  # fmt: skip
    columns = ["policy", "day", "clicks", "regret", "pictures", "themes", "new"]
    return pd.DataFrame(rows, columns=columns)


def run_seed(
    setting: str, seed: int, names: list[str] | None = None, n_shoppers: int = 1000,
    pictures: Pictures | None = None, **changes: float,
) -> pd.DataFrame:  # fmt: skip
    """One repetition in one of the `SETTINGS`.

    Parameters
    ----------
    setting : str, a key of `SETTINGS`
    seed : int, of the shop and the policies
    names, changes : as for `make_policies`
    n_shoppers : int
    pictures : Pictures; those of `load_pictures` by default

    Returns
    -------
    DataFrame, `run`'s rows, with setting and seed
    """
    shop = Shop(pictures or load_pictures(), n_shoppers, seed, **SETTINGS[setting])
    return _labelled(run(make_policies(shop, seed, names, **changes), shop), setting, seed)


def learn_seed(seed: int) -> pd.DataFrame:
    """One repetition of `online.run_ways`, under drift.

    Parameters
    ----------
    seed : int, of the shop, lists and replay

    Returns
    -------
    DataFrame, `run_ways`' rows, the way as policy, with setting and seed
    """
    shop = Shop(load_pictures(), LEARNERS, seed, **SETTINGS["drifting"])
    return _labelled(run_ways(shop, seed).rename(columns={"way": "policy"}), "drifting", seed)


def _labelled(table: pd.DataFrame, setting: str, seed: int) -> pd.DataFrame:
    columns = ["setting", "seed", *table.columns]
    return table.assign(setting=setting, seed=seed)[columns]


def to_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Day by day from left to right, as the stored tables are.

    Parameters
    ----------
    table : DataFrame with setting, policy, seed, day and measures, as of `run_seed`

    Returns
    -------
    DataFrame, a row for each setting, policy, seed and measure, values with four decimals
    """
    measures = [name for name in table.columns if name not in (*KEYS, "day")]
    long = table.melt([*KEYS, "day"], measures, var_name="measure")
    wide = long.pivot(index=[*KEYS, "measure"], columns="day", values="value")
    return wide.round(4).reset_index().rename_axis(columns=None)


def load_runs(name: str = "runs") -> pd.DataFrame:
    """The stored repetitions (data/simulation/README.md).

    Parameters
    ----------
    name : str, "runs" for those of `run_seed`, "learning" for those of `learn_seed`

    Returns
    -------
    DataFrame, as the named function returns it
    """
    wide = pd.read_csv(data_dir() / "simulation" / f"{name}.csv")
    long = wide.melt([*KEYS, "measure"], var_name="day").astype({"day": int})
    table = long.pivot(index=[*KEYS, "day"], columns="measure", values="value")
    return table.reset_index().rename_axis(columns=None)
