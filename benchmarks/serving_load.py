"""What locust asks of the service: one question after the other, by every one of its clients.

`bench_serving` starts it: BENCH_BODIES names a file with a request's body on each line, BENCH_PATH
the endpoint.
"""

import itertools
import os
from pathlib import Path

from locust import FastHttpUser, constant, task

BODIES = Path(os.environ["BENCH_BODIES"]).read_text().splitlines()
PATH, STARTS = os.environ["BENCH_PATH"], itertools.count(step=37)


class Client(FastHttpUser):
    """One that waits for nothing but its answers."""

    wait_time = constant(0)

    def on_start(self):
        """Begin at another place than the others."""
        start = next(STARTS) % len(BODIES)
        self.bodies = itertools.cycle(BODIES[start:] + BODIES[:start])

    @task
    def ask(self):
        """One question, the next of its round."""
        headers = {"Content-Type": "application/json"}
        self.client.post(PATH, data=next(self.bodies), headers=headers)
