"""The detectors: classifiers of text embeddings, heads, distillation losses."""
