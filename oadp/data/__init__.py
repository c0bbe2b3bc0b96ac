"""Files of data: feature records and their conversion."""
