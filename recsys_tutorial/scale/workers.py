"""Ray for a block of code, and work that its workers do block by block."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from recsys_tutorial._checks import check_at_least

__all__ = ["cluster"]


def ray_with_parts():
    """Ray with its parts; ImportError that says what to install."""
    try:
        import ray
        import ray.data
        import ray.train.torch
    except ImportError as error:
        wanted = 'pip install "recsys-tutorial[scale]"'
        raise ImportError(f"several machines need Ray: {wanted}") from error
    return ray


@contextlib.contextmanager
def cluster(
    workers: int = 2, *, address: str | None = None, store_bytes: int = 2**29
) -> Iterator[None]:
    """Ray for the block: workers of this machine, or those of a cluster.

    Parameters
    ----------
    workers : int >= 1, processes of a core each; a cluster has its own number
    address : "auto" on a machine of a cluster (`ray up` prints others), None for this machine alone
    store_bytes : int, shared memory for what workers are given, on this machine alone
    """
    check_at_least(1, workers=workers)
    ray = ray_with_parts()
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    own = {"num_cpus": workers, "object_store_memory": store_bytes, "include_dashboard": False}
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    where = {"address": address, "runtime_env": {"env_vars": threads}}
    ray.init(**where, **quiet, **({} if address else own))
    ray.data.DataContext.get_current().enable_progress_bars = False  # `each_block` has one
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


class _Worker:
    """What an actor of Ray Data is: a model made once, and asked for one block after the other."""

    def __init__(self, make: Callable, work: Callable, given: tuple):
        self.made, self.work = make(), work
        self.given = ray_with_parts().get(list(given))

    def __call__(self, batch: dict) -> dict:
        return self.work(self.made, int(batch["start"][0]), *self.given)


def each_block(
    starts: Sequence[int], make: Callable, work: Callable, given: tuple, *, what: str
) -> Iterator[dict]:
    """Yield work(make(), start, *given) for each start, as they are ready.

    Parameters
    ----------
    starts : sequence of int, each that of a block
    make : function -> what `work` needs; called once in each worker
    work : function (made, start, *given) -> dict of arrays with one row
    given : tuple, put into Ray's memory once for all workers of a machine
    what : str, shown beside the progress

    Yields
    ------
    dict, a row
    """
    if not len(starts):
        return
    ray = ray_with_parts()
    workers = min(len(starts), max(1, int(ray.cluster_resources().get("CPU", 1))))
    blocks = ray.data.from_items(
        [{"start": int(s)} for s in starts], override_num_blocks=len(starts)
    )
    done = blocks.map_batches(
        _Worker,
        fn_constructor_args=(make, work, tuple(map(ray.put, given))),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    with tqdm(total=len(starts), desc=what, unit="block", disable=None) as bar:
        for row in done.iter_rows():
            bar.update()
            yield row
