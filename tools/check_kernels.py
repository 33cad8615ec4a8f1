#!/usr/bin/env python3
"""Checks that the innermost kernels of an object file call nothing.

    check_kernels.py OBJECT NAME...    exit status 1 and one line per kernel that calls something, or is missing

What a call can see lies in memory: a kernel that makes one no longer keeps its sums in registers. Compilers leave
calls behind where a program is so large that they stop inlining; an object compiled with
--param inline-unit-growth=0 --param large-unit-insns=1 shows which ones that would be.
"""
import re
import subprocess
import sys


def calls_of(lines, names):
    """For each name how many calls the functions of that name make; None: the object has no function of that name."""
    calls = {name: None for name in names}
    kernel = None
    for line in lines:
        start = re.match(r"^[0-9a-f]+ <(.*)>:$", line)
        if start:
            kernel = next((name for name in names if re.search(rf"::{name}<", start.group(1))), None)
            if kernel and calls[kernel] is None:
                calls[kernel] = 0
        elif kernel and re.search(r"\s(callq?|bl|blr)\s", line):
            calls[kernel] += 1
    return calls


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    text = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", arguments[0]], check=True, capture_output=True,
                          text=True).stdout
    problems = []
    for name, calls in calls_of(text.splitlines(), arguments[1:]).items():
        if calls is None:
            problems.append(f"{name}: not in {arguments[0]}")
        elif calls:
            problems.append(f"{name}: {calls} calls")
    print("\n".join(problems) or f"no calls in {', '.join(arguments[1:])}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
