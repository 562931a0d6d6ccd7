"""The recommender as a service over HTTP: `make demo`, or this package with `python -m`.

`create_app` needs the extra `serve` (FastAPI, uvicorn, prometheus-client). What reads and writes
artefacts and feedback does not.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "app": ["create_app"],
        "artefacts": ["Artefact", "ArtefactError", "load_artefact", "save_artefact"],
        "comparison": ["ArmComparison", "compare_arms"],
        "deployment": ["Deployment", "in_candidate"],
        "engine": ["Engine", "Query"],
        "feedback_store": ["FeedbackStore", "StoreError"],
        "indexes": ["VectorIndex"],
        "local": ["LocalService"],
        "settings": ["Settings"],
        "training": ["train_artefacts"],
    },
)
