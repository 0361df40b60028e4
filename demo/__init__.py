"""The demonstration: the whole path on one machine, on an emulator of AWS."""
