"""What a constant kernel predicts of training, and whether it may be trusted."""
