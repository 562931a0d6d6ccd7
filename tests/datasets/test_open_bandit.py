"""The real log: what it holds, how damage is told, and estimates equal to those of obp."""

import importlib.util
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import DataFileError, data_dir, load_open_bandit
from recsys_tutorial.feedback import doubly_robust, importance_weights, ips, snips

FOLDER = data_dir() / "open_bandit"
N_ITEMS = {"all": 80, "men": 34, "women": 46}


@pytest.mark.parametrize("campaign", N_ITEMS)
@pytest.mark.parametrize("policy", ["random", "bts"])
def test_logs_are_whole(campaign, policy):
    log = load_open_bandit(campaign, policy)
    assert len(log) == 10_000 and log.index.tolist() == list(range(10_000))
    assert list(log) == ["second", "item_id", "position", "click", "propensity"]
    assert log["second"].is_monotonic_increasing
    assert log["second"].between(0, 7 * 86_400 - 1).all()
    assert set(log["item_id"]) == set(range(N_ITEMS[campaign]))
    assert set(log["position"]) == {1, 2, 3}
    assert set(log["click"]) == {0, 1}
    assert log["propensity"].between(1e-7, 1).all()
    if policy == "random":  # 1e-9: the file keeps ten digits
        np.testing.assert_allclose(log["propensity"], 1 / N_ITEMS[campaign], rtol=1e-9)


def test_thompson_sampling_prefers_what_it_says():
    """Items of large propensity are shown more often: the columns belong together."""
    log = load_open_bandit("men", "bts")
    by = log.groupby("item_id")["propensity"].agg(["mean", "size"])
    assert by.corr().iloc[0, 1] > 0.8


@pytest.mark.parametrize("campaign", N_ITEMS)
def test_estimates_equal_those_of_obp(campaign):
    reference = json.loads((FOLDER / "obp_reference.json").read_text())[campaign]
    random, bts = (load_open_bandit(campaign, policy) for policy in ("random", "bts"))
    size = (3, N_ITEMS[campaign])
    counts, clicks = np.zeros(size), np.zeros(size)
    place = (bts["position"] - 1, bts["item_id"])
    np.add.at(counts, place, 1)
    np.add.at(clicks, place, bts["click"])
    policy = counts / counts.sum(axis=1, keepdims=True)
    q = (clicks + 500 * bts["click"].mean()) / (counts + 500)
    position, item = random["position"].to_numpy() - 1, random["item_id"].to_numpy()
    reward = random["click"].to_numpy(float)
    w = importance_weights(policy[position, item], random["propensity"].to_numpy())
    found = {
        "ips": ips(reward, w).value,
        "snips": snips(reward, w).value,
        "doubly_robust": doubly_robust(reward, w, item, policy[position], q[position]).value,
    }
    # Estimates are about 0.005: 1e-10 is rounding, and any other weighting moves them by 1e-5.
    for name, value in found.items():
        assert abs(value - reference[name]) < 1e-10, name


def test_unknown_names():
    with pytest.raises(ValueError, match="campaign must be 'all', 'men' or 'women', got 'kids'"):
        load_open_bandit("kids", "bts")
    with pytest.raises(ValueError, match="policy must be 'random' or 'bts', got 'ucb'"):
        load_open_bandit("men", "ucb")


@pytest.mark.parametrize("name", ["logs.csv.gz", "manifest.json"])
def test_missing_and_damaged_files(tmp_path, name):
    for file in ("logs.csv.gz", "manifest.json"):
        shutil.copy(FOLDER / file, tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataFileError, match="damaged"):
        load_open_bandit("men", "bts", tmp_path)
    path.unlink()
    with pytest.raises(DataFileError, match="missing"):
        load_open_bandit("men", "bts", tmp_path)


def test_make_keeps_order_and_columns(tmp_path):
    spec = importlib.util.spec_from_file_location("make_open_bandit", FOLDER / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    csv = (
        ",timestamp,item_id,position,click,propensity_score,user_feature_0\n"
        "0,2019-11-24 00:01:00.5+00:00,3,1,0,0.25,x\n"
        "1,2019-11-24 00:00:30+00:00,2,3,1,0.5,y\n"
    )
    table = make.table_of(csv.encode(), "men", "bts")
    expected = [["men", "bts", 30, 2, 3, 1, 0.5], ["men", "bts", 60, 3, 1, 0, 0.25]]
    assert table.to_numpy().tolist() == expected
    other = tmp_path / "other.whl"
    other.write_bytes(b"not it")
    with pytest.raises(SystemExit, match="sha256 differs"):
        make.main([str(other), "--out", str(tmp_path)])
    assert not (tmp_path / "logs.csv.gz").exists()
    assert isinstance(table, pd.DataFrame)
