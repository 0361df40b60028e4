"""An emulator of AWS with the real templates deployed to it, and what can be done to it."""
