"""Side-by-side timings against peer libraries: `python -m benchmarks` or `make bench`."""
