"""What every command shares: the command line, and errors as sentences."""
