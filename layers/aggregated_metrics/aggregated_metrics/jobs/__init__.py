"""What the functions do, with every port as an argument; `wiring` gives them the real ones."""
