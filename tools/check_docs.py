#!/usr/bin/env python3
"""Checks that the documentation's code compiles and its links lead somewhere.

    check_docs.py REPOSITORY_DIR

In README.md and docs/, every C++ block follows a line <!-- from PATH --> and stands in that file, which
the build compiles, or a line <!-- program -->, and is a program that tests/build compiles and runs; leading white space does not count. Relative links must exist, on every page. CONTRIBUTING.md's table of rooms is that of check_layers.py.
"""
import re
import sys
from pathlib import Path

import check_layers


def normalised(text):
    return "\n".join(line.strip() for line in text.strip().splitlines())


def check(page, root):
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(root)
    is_manual = name.parts[0] in ("README.md", "docs")
    for match in re.finditer(r"(?:<!-- from (\S+) -->\n|<!-- (program) -->\n)?```cpp\n(.*?)```", text, re.DOTALL):
        source, program, block = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        if program is not None or (source is None and not is_manual):
            continue
        if source is None:
            yield f"{name}:{line}: a C++ block without a line <!-- from PATH -->"
        elif not (root / source).is_file():
            yield f"{name}:{line}: {source} does not exist"
        elif normalised(block) not in normalised((root / source).read_text(encoding="utf-8")):
            yield f"{name}:{line}: the block does not stand in {source}"
    for match in re.finditer(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        target = match.group(1)
        if "://" in target or target.startswith("mailto:"):
            continue
        if not (page.parent / target).exists():
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: the link {target} leads nowhere"


def rooms(root):
    page = root / "CONTRIBUTING.md"
    table = {}
    for room, allowed in re.findall(r"^\| `(\w+)/` \| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE):
        table[room] = set(re.findall(r"`([^`]+)`", allowed))
    for room in sorted(table.keys() | check_layers.ALLOWED.keys()):
        if table.get(room) != check_layers.ALLOWED.get(room):
            yield f"{page.name}: what {room}/ may include is not what check_layers.py allows"


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    root = Path(sys.argv[1]).resolve()
    pages = sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))
    for folder in ("examples", "bench", "tests"):
        pages += sorted((root / folder).rglob("*.md"))
    if not pages:
        print(f"no pages below {root}", file=sys.stderr)
        return 2
    problems = [problem for page in pages for problem in check(page, root)] + list(rooms(root))
    print("\n".join(problems) if problems else f"{len(pages)} pages checked")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
