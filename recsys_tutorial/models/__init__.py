"""Recommenders: each has `fit(train)` and `score(history)`, as `protocols.Recommender` says.

The exceptions are `CrossEncoder`, which scores pairs of texts (a recommender's second stage), and
`NeighbourVotes`, which scores users by what is known of them without likes.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "baselines": ["ItemKNN", "Popularity"],
        "biased_mf": ["BiasedMF"],
        "bpr": ["BPR"],
        "content": ["Blend", "ContentKernel", "attention_scores", "unit_rows"],
        "implicit_als": ["ImplicitALS"],
        "generative": ["GenerativeRetriever"],
        "cross_encoder": ["CrossEncoder", "hash_of_users"],
        "ease": ["EASE"],
        "interaction": [
            "GMF",
            "MLP",
            "ConvNCF",
            "FactorizationMachine",
            "FeatureCrosses",
            "NeuMF",
        ],
        "attention": ["BestPartners", "PairAttention", "TargetAttention", "late_interaction"],
        "candidate_lists": ["CandidateLists", "held_out_lists", "training_lists"],
        "deep_cross": ["DCN", "CrossNetwork", "MMoE", "SharedBottom", "fit_probabilities"],
        "interaction_ranker": ["InteractionRanker"],
        "pair_layout": ["PairLayout", "item_texts", "liked_together", "short_titles", "user_texts"],
        "markov": ["MarkovChain"],
        "neighbours": ["NeighbourVotes"],
        "reading": ["Reading"],
        "sequential": ["AttentionBlock", "HSTUBlock", "SASRec"],
        "two_tower": ["TwoTower"],
    },
)
