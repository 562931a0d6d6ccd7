"""Read the data: MovieLens in any of GroupLens's formats, a table of one's own, the clip art."""

from recsys_tutorial._files import cache_dir, data_dir
from recsys_tutorial.datasets._delimited import DataFileError
from recsys_tutorial.datasets._download import DownloadError
from recsys_tutorial.datasets.cleaning import Cleaned, check_enough, clean
from recsys_tutorial.datasets.clipart import ClipArt, load_clipart
from recsys_tutorial.datasets.film_texts import film_texts
from recsys_tutorial.datasets.genre_queries import GenreQueries, genre_queries, learned_films
from recsys_tutorial.datasets.impressions import CONTEXT, impression_log
from recsys_tutorial.datasets.movielens import MovieLens, load_movielens
from recsys_tutorial.datasets.open_bandit import load_open_bandit
from recsys_tutorial.datasets.packages import Packages, load_packages
from recsys_tutorial.datasets.pictures import open_picture
from recsys_tutorial.datasets.wish_rules import relevant_films
from recsys_tutorial.datasets.wishes import Wishes, label_agreement, load_wishes

__all__ = [
    "CONTEXT",
    "Cleaned",
    "ClipArt",
    "DataFileError",
    "DownloadError",
    "GenreQueries",
    "MovieLens",
    "Packages",
    "Wishes",
    "cache_dir",
    "check_enough",
    "clean",
    "data_dir",
    "film_texts",
    "genre_queries",
    "impression_log",
    "label_agreement",
    "learned_films",
    "load_clipart",
    "load_movielens",
    "load_open_bandit",
    "load_packages",
    "load_wishes",
    "open_picture",
    "relevant_films",
]
