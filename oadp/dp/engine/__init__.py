"""Run a detector: training, checkpoints, prediction over a dataset."""
