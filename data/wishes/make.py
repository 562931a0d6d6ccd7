"""Check the texts and labels of this folder, put whole themes into tuning or test, write checksums.

python data/wishes/make.py              # after a change of wishes.csv or second_labels.csv
python data/wishes/make.py --agreement  # how far the two labellings agree
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import pandas as pd

from recsys_tutorial._files import whole
from recsys_tutorial.datasets import label_agreement, load_wishes

HERE = Path(__file__).resolve().parent
FILES = ("wishes.csv", "second_labels.csv")
TUNING_SHARE = 0.4


def parts_of(texts: pd.DataFrame) -> dict[str, str]:
    """The part of each theme. Themes that name the same film stay together."""
    themes_of = defaultdict(set)
    for theme, liked, disliked, about in texts[["theme", "liked", "disliked", "about"]].to_numpy():
        words = f"{liked} {disliked} {' '.join('film:' + n for n in about.split())}".split()
        for word in words:
            if word.startswith("film:"):
                themes_of[word].add(theme)
    group = {theme: {theme} for theme in texts["theme"]}
    for themes in themes_of.values():
        joined = set().union(*(group[theme] for theme in themes))
        group.update(dict.fromkeys(joined, joined))
    groups = {min(joined): joined for joined in group.values()}
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    parts, wanted = {}, TUNING_SHARE * len(group)
    for name in order:
        few = sum(part == "tuning" for part in parts.values()) + len(groups[name]) <= wanted
        parts.update(dict.fromkeys(groups[name], "tuning" if few else "test"))
    return parts


def main(argv: list[str] | None = None) -> None:
    """Write the column of parts and the manifest, or print the agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--folder", type=Path, default=HERE)
    options = parser.parse_args(argv)
    folder = options.folder
    if options.agreement:
        texts, second = load_wishes(folder)
        table = label_agreement(texts, second)
        print(table.to_string(index=False, float_format="%.2f"))
        both = texts.merge(second, on="wish_id", suffixes=("", "_second"))
        same = (both["liked"] == both["liked_second"]) & (
            both["disliked"] == both["disliked_second"]
        )
        print(f"all labels equal: {same.sum()} of {len(both)} texts")
        print(same.groupby(both["kind"]).agg(["sum", "size"]).to_string())
        return
    texts = pd.read_csv(folder / FILES[0], keep_default_na=False, dtype=str)
    texts["split"] = texts["theme"].map(parts_of(texts))
    with whole(folder / FILES[0]) as path:
        path.write_text(texts.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    with whole(folder / "manifest.json") as path:
        path.write_text(json.dumps({"files": digests}, indent=2) + "\n", encoding="utf-8")
    load_wishes(folder)
    print(texts.groupby(["split", "kind"]).size().unstack().to_string())


if __name__ == "__main__":
    main()
