"""Clicks in a real shop under two policies with known probabilities: the Open Bandit Dataset."""

import gzip
import io
import os

import pandas as pd

from recsys_tutorial._checks import check_one_of
from recsys_tutorial.datasets._snapshots import read_snapshot

CAMPAIGNS, POLICIES = ("all", "men", "women"), ("random", "bts")


def load_open_bandit(
    campaign: str, policy: str, folder: str | os.PathLike | None = None
) -> pd.DataFrame:
    """Load one log of the small release (Saito et al. 2020): 10,000 impressions in a week.

    A fashion shop showed three items side by side, chosen at random or by Bernoulli Thompson
    sampling, to different visitors in the same week, and logged the probability of each choice.

    Parameters
    ----------
    campaign : str, "all", "men" or "women": which items, 80, 34 or 46
    policy : str, "random" or "bts", who chose the items
    folder : str or path-like, optional; by default the copy that comes with the package

    Returns
    -------
    DataFrame, a row for each impression in the order of time:
        second : int, since Sunday 24 November 2019, 0:00 UTC
        item_id : int, from 0
        position : int, 1 to 3
        click : int, 0 or 1
        propensity : float, the probability with which the policy put this item there

    Raises
    ------
    DataFileError
        A ValueError that names a file that is missing or differs from its checksum.
    ValueError
        For a campaign or a policy that there is not.

    Examples
    --------
    >>> log = load_open_bandit("men", "random")
    >>> len(log), int(log["click"].sum())
    (10000, 46)
    """
    check_one_of(CAMPAIGNS, campaign=campaign)
    check_one_of(POLICIES, policy=policy)
    (packed,) = read_snapshot("open_bandit", ["logs.csv.gz"], folder)
    logs = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    chosen = logs[(logs["campaign"] == campaign) & (logs["policy"] == policy)]
    return chosen.drop(columns=["campaign", "policy"]).reset_index(drop=True)
