"""What is trained, given to those who use it: a funnel of stages, as a service, in a browser.

`funnel` has the stages and their log, `watching` what tells whether they still do what they did.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "funnel": [
            "FilmTables",
            "LogRanker",
            "Visits",
            "candidate_features",
            "diverse_lists",
            "film_tables",
            "list_quality",
        ],
        "watching": ["Alarm", "list_overlap", "population_stability", "sequential_radius"],
    },
)
