"""Causal language models: what a text's next words are worth, and a recommender made of that."""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "model": ["LanguageModel"],
        "prompts": ["TEMPLATES", "fill"],
        "ranker": ["LanguageModelRanker"],
        "titles": ["TitleTrie"],
    },
)
