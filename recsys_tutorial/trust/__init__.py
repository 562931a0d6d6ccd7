"""What a recommender gives away, who can bend it, whom it serves, and how it forgets."""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "accountant": [
            "gaussian_delta",
            "gaussian_epsilon",
            "noise_for",
            "sampled_gaussian_epsilon",
        ],
        "counts": ["laplace_counts"],
        "diversity": [
            "calibrated",
            "dpp_greedy",
            "mmr",
            "order_scores",
            "taste_divergence",
        ],
        "fairness": ["capped_lists", "detectable_gap", "exposure_gini", "group_gaps"],
        "federated": [
            "federated_average",
            "likes_in_gradient",
            "masked_shares",
            "unmasked_sum",
        ],
        "histories": ["known_likes", "match_scores", "singled_out"],
        "membership": [
            "clopper_pearson",
            "hidden_score",
            "likelihood_ratio",
            "pooled_rates",
            "roc",
            "shadow_attack",
            "true_positive_rate",
        ],
        "private": ["PrivateTowers", "clipped_sum"],
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
