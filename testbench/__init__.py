"""The test bench: what tests, demo and benchmarks share, on top of the layer."""
