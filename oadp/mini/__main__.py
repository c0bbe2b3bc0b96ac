"""Run the embedded benchmark: ``python -m oadp.mini``."""

from .run import main

if __name__ == '__main__':
    main()
