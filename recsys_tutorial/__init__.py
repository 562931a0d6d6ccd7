"""Recommender systems from matrix factorization to large pretrained models.

Every recommender in this package answers one question: given what these users liked so far,
how well would each item suit them?

    score(history) -> scores    # history: csr_matrix (n_users, n_items); scores: (n_users, n_items)

Start with `recsys_tutorial.datasets.load_movielens` and `recsys_tutorial.splits.new_user_split`.
"""

import warnings

from recsys_tutorial._imports import moved

__version__ = "0.1.0"

# Progress here is text on stderr by design; without ipywidgets tqdm would complain in notebooks.
warnings.filterwarnings("ignore", message="IProgress not found")

moved.install()
