#!/usr/bin/python3
"""Checks docs/shipped-bugs.md: each bug has a row, and each row a test that is named after it.

A row is | bug | whose, and what it was | proof |. The proof is one or more tests in backticks, of
which one has Bug and the number in its name; or "does not apply: " and why; or both, for what is near
a bug that cannot happen here. A test that is named after a bug stands in the bug's row.
"""

import re
import sys

import test_names

TABLE = test_names.ROOT / "docs" / "shipped-bugs.md"
LAST_BUG = 60
NAMED_AFTER = re.compile(r"bug(\d+)(?!\d)", re.IGNORECASE)


def check(text, known):
    """(problems, tests named, rows of what does not apply)."""
    problems, found, not_here, of_bug = [], set(), 0, {}
    expected = 1
    for number, _, cells in test_names.rows(text, "bug"):
        where = f"docs/shipped-bugs.md:{number}"
        if len(cells) != 3:
            problems.append(f"{where}: {len(cells)} columns, not bug, what it was, proof")
            continue
        if cells[0] != str(expected):
            problems.append(f"{where}: bug {cells[0]} where bug {expected} should be")
            return problems, found, not_here
        named, excused, wrong = test_names.proof(cells[2], "does not apply", known)
        problems += [f"{where}: {what}" for what in wrong]
        not_here += excused
        of_bug[expected] = named
        found.update(named)
        if not excused and not any(str(expected) in NAMED_AFTER.findall(name) for name in named):
            problems.append(f"{where}: no test has Bug{expected} in its name")
        expected += 1
    if expected <= LAST_BUG:
        problems.append(f"docs/shipped-bugs.md: bug {expected} has no row")
    for name in sorted(known):
        for bug in NAMED_AFTER.findall(name):
            if name not in of_bug.get(int(bug), ()):
                problems.append(f"docs/shipped-bugs.md: the row of bug {bug} does not name {name}")
    return problems, found, not_here


def main():
    problems, found, not_here = check(TABLE.read_text(encoding="utf-8"), test_names.tests())
    print("\n".join(problems))
    print(f"{LAST_BUG} bugs, {not_here} of which do not apply as they were, {len(found)} tests, "
          f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
