"""The datasets and pipeline steps of training and evaluation."""
