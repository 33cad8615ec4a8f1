"""What the checkers of headers have in common: their command line."""
import pathlib
import sys


def main(usage, violations, self_test):
    """Runs the checker's own test, or prints the violations below an include folder and fails if there are any."""
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) == 2 and pathlib.Path(sys.argv[1], "adr").is_dir():
        found = list(violations(sys.argv[1]))
        sys.exit("\n".join(found) if found else 0)
    else:
        sys.exit(usage)
