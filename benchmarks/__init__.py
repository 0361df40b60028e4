"""What the functions cost: `make bench`, or `python -m benchmarks [--quick] [--json PATH]`.

Nothing here is a test, and no test depends on a time. Times are CPU times of one process where not
said otherwise, medians of interleaved repeats, and what is compared is compared within one run.
"""
