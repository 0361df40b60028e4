"""The truth test: random histories, faults, crashes; every bucket against a plain group-by."""
