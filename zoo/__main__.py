"""`python -m zoo` is the command `zoo`."""

from zoo import cli

if __name__ == "__main__":
    cli.main()
