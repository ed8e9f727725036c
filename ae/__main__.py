"""`python -m ae` is the command `ae`."""

from ae.cli.main import main

if __name__ == "__main__":
    main()
