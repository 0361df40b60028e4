"""Fakes that behave as the real API does (tests/contract replays its recorded exchanges)."""
