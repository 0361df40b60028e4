"""What is counted and how it adds up. Pure: no I/O, no clock, no environment."""
