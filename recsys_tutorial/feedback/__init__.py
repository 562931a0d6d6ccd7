"""A picture shop with visitors whose clicks are simulated, and what learns from the clicks."""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "arrivals": ["first_days"],
        "bandits": ["Greedy", "LinUCB", "ThompsonSampling"],
        "learners": ["ItemRates", "LinearTastes"],
        "lists": ["random_lists", "with_chance"],
        "logs": ["choice", "click_law"],
        "off_policy": ["doubly_robust", "importance_weights", "ips", "snips"],
        "online": ["OnlineTowers"],
        "pictures": ["Pictures", "load_pictures"],
        "runs": ["load_runs", "make_policies", "run_seed"],
        "sessions": ["Sessions", "planted_sessions"],
        "shop": ["Shop"],
        "ways": ["run_ways"],
    },
)
