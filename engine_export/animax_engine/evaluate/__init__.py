"""How good the chain and the network are, measured on real rigs and clips."""
