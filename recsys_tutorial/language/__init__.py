"""Causal language models: what a text's next words are worth, and a recommender made of that."""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "adapter": ["add_adapter", "without_adapter"],
        "adapter_files": ["load_adapter", "save_adapter", "users_hash"],
        "answer_losses": ["answer_loss", "preference_loss"],
        "lessons": ["Lesson", "next_title_lessons", "verdict_lessons"],
        "model": ["LanguageModel"],
        "prompts": ["TEMPLATES", "fill"],
        "ranker": ["LanguageModelRanker"],
        "soft_tokens": ["SoftTokens", "add_soft_tokens"],
        "teaching": ["lesson_log_likelihoods", "teach"],
        "titles": ["TitleTrie"],
    },
)
