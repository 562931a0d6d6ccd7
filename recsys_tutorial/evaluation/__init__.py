"""Evaluate recommenders: full ranking, seen items masked, intervals, pairs, slices.

`evaluate` asks a model for scores a block of users at a time, ranks the whole catalogue, and keeps
one value per user and metric; `compare` asks whether a difference between two models on the same
users is more than luck; `slices` shows for whom and for what a model works. `mean_interval` is the
bootstrap of a mean, `group_interval` that of values that stand or fall together; `evaluate_rolling`
is for models that are made anew as time passes, and `claim` holds a chapter's prose to its numbers.
`auc`, `group_quality` and `reliability` judge the rows of a log.
"""

from recsys_tutorial.evaluation.comparison import Comparison, claim, compare
from recsys_tutorial.evaluation.full_ranking import METRICS, Evaluation, evaluate
from recsys_tutorial.evaluation.intervals import bootstrap_means, group_interval, mean_interval
from recsys_tutorial.evaluation.pointwise import (
    auc,
    calibration_error,
    group_quality,
    platt_scaling,
    reliability,
)
from recsys_tutorial.evaluation.rolling import evaluate_rolling
from recsys_tutorial.evaluation.slicing import rolling_slices, slices
from recsys_tutorial.ranking import rank

__all__ = [
    "METRICS",
    "Comparison",
    "Evaluation",
    "auc",
    "bootstrap_means",
    "calibration_error",
    "claim",
    "compare",
    "evaluate",
    "evaluate_rolling",
    "group_interval",
    "group_quality",
    "mean_interval",
    "platt_scaling",
    "rank",
    "reliability",
    "rolling_slices",
    "slices",
]
