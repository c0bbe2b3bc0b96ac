"""What comes from a user's disk: images and annotations."""
