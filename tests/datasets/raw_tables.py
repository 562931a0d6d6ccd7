"""Tables as somebody exported them: what the tests of reading and of cleaning share."""

import pandas as pd


def raw(*rows, columns=("user_id", "item_id", "rating", "timestamp")):
    return pd.DataFrame(rows, columns=columns, dtype=str)


HEAD = b"userId,movieId,rating,timestamp\n"


def written(tmp_path, text, name="ratings.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path
