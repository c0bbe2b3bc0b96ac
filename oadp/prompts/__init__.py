"""Category embeddings: what the detectors' classifiers compare image features with."""
