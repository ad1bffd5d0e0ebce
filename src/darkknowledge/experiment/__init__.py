"""One training: data, networks, losses, the loop, and who runs many of them."""
