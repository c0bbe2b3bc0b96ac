"""Read, check and write data files: annotations, images, proposals, features and prompts."""
