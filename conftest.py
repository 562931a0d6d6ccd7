"""Here, above tests/ and notebooks/, since both are compared under the same rules."""

pytest_plugins = ["tests.nbval_tolerance", "tests.progress"]
