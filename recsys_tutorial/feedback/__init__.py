"""A picture shop with visitors whose clicks are simulated, and what learns from the clicks."""

from recsys_tutorial.feedback.bandits import Greedy, LinUCB, ThompsonSampling
from recsys_tutorial.feedback.learners import ItemRates, LinearTastes
from recsys_tutorial.feedback.lists import random_lists, with_chance
from recsys_tutorial.feedback.logs import choice, click_law, first_days
from recsys_tutorial.feedback.off_policy import (
    doubly_robust,
    importance_weights,
    ips,
    snips,
)
from recsys_tutorial.feedback.online import OnlineTowers, run_ways
from recsys_tutorial.feedback.pictures import Pictures, load_pictures
from recsys_tutorial.feedback.runs import load_runs, make_policies, run_seed
from recsys_tutorial.feedback.shop import Shop

__all__ = [
    "Greedy",
    "ItemRates",
    "LinUCB",
    "LinearTastes",
    "OnlineTowers",
    "Pictures",
    "Shop",
    "ThompsonSampling",
    "choice",
    "click_law",
    "doubly_robust",
    "first_days",
    "importance_weights",
    "ips",
    "load_pictures",
    "load_runs",
    "make_policies",
    "random_lists",
    "run_seed",
    "run_ways",
    "snips",
    "with_chance",
]
