"""What several test files share."""

import pytest

# Minutes: begun last, it would run alone while the other workers have nothing left to do.
FIRST = ("test_gpu_settings.py",)


def pytest_collection_modifyitems(items):
    """Begin with the longest file; the others stay in their order."""
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="module")
def one_thread():
    """The models of these tests are so small that threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bert():
    """The small BERT, loaded once and without the cache; who trains one makes one of their own."""
    from recsys_tutorial.encoders import TextEncoder

    encoder = TextEncoder(device="cpu", use_cache=False)
    yield encoder
    assert not encoder.changed and not encoder.n_trainable, "a test has trained everybody's BERT"


@pytest.fixture(scope="session")
def vit():
    """The small ViT for pictures of 56 x 56, likewise."""
    from recsys_tutorial.encoders import ImageEncoder

    encoder = ImageEncoder(image_size=56, device="cpu", use_cache=False)
    yield encoder
    assert not encoder.changed and not encoder.n_trainable, "a test has trained everybody's ViT"
