"""What several test files share."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """The models of these tests are so small that threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
