"""Run folders, atomic files, progress bars and Weights & Biases."""
