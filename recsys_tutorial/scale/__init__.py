"""A catalogue, its users and a training on several machines, over Ray.

What one process does block after block, several do beside each other; the numbers are the same:

    with cluster(workers=2):  # on a cluster: cluster(address="auto")
        vectors = encode(texts, TextEncoder, "vectors")
        lists = rank_users(lambda: model, history, k=10)
        result = evaluate(lambda: model, holdout)
        towers, history = train(begin, n_examples, "run", epochs=10)

Ray Data gives blocks to workers and gives those of a worker that died to another one; Ray Train
begins a training again from its last checkpoint. Vectors go from a worker to a file of its own in
a folder that all machines see, never through Ray's memory: what is there when a run is broken off
is not computed again. `pip install "recsys-tutorial[scale]"`.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "workers": ["cluster"],
        "catalogue": ["encode"],
        "users": ["rank_users", "evaluate"],
        "fitting": ["train"],
    },
)
