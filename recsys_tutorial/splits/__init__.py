"""Ways to hold data out: at random, each user's last items, new users in time, again and again.

Which of them a result was measured on decides what it means; chapter 1 measures how much each
flatters the same models. The course's leaderboard stands on `rolling_split`.

Many ratings share a second with another of the same user (on MovieLens latest-small 32 %), in no
order that means anything. Wherever time decides, a hash orders them (`seed=` draws another order),
never the item id: that would be an order by age of the film, which a sequence model can learn.
"""

from recsys_tutorial.splits._tables import in_time, to_matrix
from recsys_tutorial.splits.frames import leave_last_out, random_split, to_split
from recsys_tutorial.splits.groups import group_split, hold_out_by_group
from recsys_tutorial.splits.new_users import new_user_split
from recsys_tutorial.splits.orders import shuffled_times
from recsys_tutorial.splits.parts import Holdout, Split
from recsys_tutorial.splits.rolling import Rolling, SteadyRows, rolling_split

__all__ = [
    "Holdout",
    "Rolling",
    "Split",
    "SteadyRows",
    "group_split",
    "hold_out_by_group",
    "in_time",
    "leave_last_out",
    "new_user_split",
    "random_split",
    "rolling_split",
    "shuffled_times",
    "to_matrix",
    "to_split",
]
