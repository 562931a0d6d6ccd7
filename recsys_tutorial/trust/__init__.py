"""What a recommender gives away, who can bend it, whom it serves, and how it forgets."""

from recsys_tutorial._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "shilling": [
            "KINDS",
            "fake_profiles",
            "holds_target",
            "neighbour_suspicion",
            "pca_suspicion",
        ],
        "unlearning": ["ForgettingEASE", "downdated", "forget_by_sweeps"],
    },
)
