#!/usr/bin/python3
"""Checks docs/rfc-map.md: every test it names exists, every row has a test or a reason.

A row is | section | requirement | proof |. The proof is one or more tests in backticks, as
`Suite.Name` of GoogleTest or `test_file.py::test_name` of the system tests; or "left out: " and why;
or both, for a requirement met in part. Of RFC 9293 each MUST of its appendix B has a row.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAP = ROOT / "docs" / "rfc-map.md"
LAST_MUST = 69  # of RFC 9293, appendix B
GTEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
PYTEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def tests():
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.cpp")):
        for suite, name in GTEST.findall(path.read_text(encoding="utf-8")):
            found.add(f"{suite}.{name}")
    for path in sorted((ROOT / "tests" / "system").glob("test_*.py")):
        for name in PYTEST.findall(path.read_text(encoding="utf-8")):
            found.add(f"{path.name}::{name}")
    return found


def check(text, known):
    """(problems, rows, rows left out)."""
    problems, rows, left_out, musts, chapter = [], 0, 0, {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        where = f"docs/rfc-map.md:{number}"
        if line.startswith("## "):
            chapter = line[3:]
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == "section":
            continue
        if len(cells) != 3:
            problems.append(f"{where}: {len(cells)} columns, not section, requirement, proof")
            continue
        rows += 1
        named = re.findall(r"`([^`]+)`", cells[2])
        reason = re.search(r"left out: (.+)", cells[2])
        if not named and not reason:
            problems.append(f"{where}: neither a test nor a reason")
        if reason:
            left_out += 1
        for name in named:
            if name not in known and (re.fullmatch(r"\w+\.\w+", name) or "::" in name or not reason):
                problems.append(f"{where}: there is no test {name}")
        if "9293" in chapter:
            for must in re.findall(r"MUST-(\d+)", cells[0]):
                musts.setdefault(int(must), number)
    for must in range(1, LAST_MUST + 1):
        if must not in musts:
            problems.append(f"docs/rfc-map.md: MUST-{must} of RFC 9293 has no row")
    return problems, rows, left_out


def main():
    problems, rows, left_out = check(MAP.read_text(encoding="utf-8"), tests())
    print("\n".join(problems))
    print(f"{rows} requirements, {left_out} of them left out or met in part, "
          f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
