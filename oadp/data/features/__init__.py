"""Files of CLIP features: records, stores, conversion."""
