"""Trained models as a few small tables that a page in a browser ranks with.

`strongest` and `short_vectors` make the tables small, `films_files` takes what chapters trained,
`write_bundle` and `read_bundle` carry them with a manifest of checksums. Whoever reads the files
has the same models here, in NumPy, as the page has in JavaScript: `PageModels` and `page_list`, and
`PagePictures` of the tables of `pictures_files`.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "bundle": ["BundleError", "lines", "read_bundle", "write_bundle"],
        "films": ["PageModels", "films_files"],
        "lists": ["Wanted", "page_list", "reasons"],
        "pictures": ["PagePictures", "pictures_files"],
        "scorers": ["ContentScores", "NeighbourScores", "TowerScores"],
        "sequence": ["SequenceScores", "sequence_tables"],
        "tables": ["Neighbours", "ShortVectors", "item_weights", "short_vectors", "strongest"],
        "words": ["WordVectors", "distilled", "piece_vectors", "small_vocabulary", "word_pieces"],
    },
)
