"""Training data: a bank of poses and small renders, and the batches drawn from it."""
