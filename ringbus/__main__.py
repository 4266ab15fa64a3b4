"""`python -m ringbus` is `ringbus`."""

from ringbus.cli import main

if __name__ == "__main__":
    main()
