"""The table of the once-trained models is read and compared with, and never written."""

import numpy as np
import pandas as pd

from recsys_tutorial import frozen_leaderboard, leaderboard
from recsys_tutorial._paths import data_dir
from recsys_tutorial.evaluation import Evaluation


def test_a_row_is_compared_and_the_file_stays(monkeypatch):
    monkeypatch.setenv("RECSYS_TUTORIAL_RECORD", "1")
    path = data_dir() / "leaderboard_frozen.csv"
    before = path.read_bytes()
    row = frozen_leaderboard.load().set_index("model").loc["EASE"]
    values = {m: np.full(194, row[m]) for m in leaderboard.METRICS}
    index = pd.Index(np.arange(194), name="user_id")
    same = Evaluation(pd.DataFrame(values, index=index), np.zeros((194, 20), int), 0.5)
    assert "ndcg@10 was" not in frozen_leaderboard.record(1, "EASE", same)  # its interval was
    other = Evaluation(same.per_user + 0.01, same.ranked, 0.5)
    assert "ndcg@10 was" in frozen_leaderboard.record(1, "EASE", other)
    assert "not on the leaderboard" in frozen_leaderboard.record(1, "nobody", same)
    assert path.read_bytes() == before
    assert not path.with_name("leaderboard_frozen_users.csv").exists()


def test_the_table_is_best_first_and_blind_to_later_chapters():
    table = frozen_leaderboard.table(2)
    assert set(table["chapter"]) == {1, 2} and table.index.tolist() == [*range(1, 7)]
    assert table["ndcg@10"].is_monotonic_decreasing
    assert len(frozen_leaderboard.table()) == len(frozen_leaderboard.load()) > 15
