"""The shop's real pictures, read once."""

import pytest

from recsys_tutorial.feedback import load_pictures


@pytest.fixture(scope="session")
def pictures():
    return load_pictures()
