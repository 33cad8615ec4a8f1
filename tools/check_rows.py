#!/usr/bin/env python3
"""Checks that every row of a result file has exactly the named fields.

    check_rows.py FILE FIELD,FIELD,...
    check_rows.py --self-test
"""
import json
import pathlib
import sys


def problem(rows, fields):
    """What is wrong, or nothing."""
    if not rows:
        return "there is no row"
    for i, row in enumerate(rows):
        missing, unknown = sorted(fields - set(row)), sorted(set(row) - fields)
        if missing or unknown:
            return f"row {i}: missing {', '.join(missing) or 'nothing'}, not asked for {', '.join(unknown) or 'nothing'}"
    return ""


def self_test():
    assert problem([], {"a"}) == "there is no row"
    assert problem([{"a": 1, "b": 2}], {"a", "b"}) == ""
    assert problem([{"a": 1}, {"b": 1}], {"a"}) == "row 1: missing a, not asked for b"
    print("check_rows.py: self-test passed")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))["rows"]
    found = problem(rows, set(sys.argv[2].split(",")))
    if found:
        sys.exit(f"{sys.argv[1]}: {found}")
    print(f"{sys.argv[1]}: {len(rows)} rows")
    return None


if __name__ == "__main__":
    main()
