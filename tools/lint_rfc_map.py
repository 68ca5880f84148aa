#!/usr/bin/python3
"""Checks docs/rfc-map.md: every test it names exists, every row has a test or a reason.

A row is | section | requirement | proof |. The proof is one or more tests in backticks; or
"left out: " and why; or both, for a requirement met in part. Of RFC 9293 each MUST of its appendix B
has a row.
"""

import re
import sys

import test_names

MAP = test_names.ROOT / "docs" / "rfc-map.md"
LAST_MUST = 69  # of RFC 9293, appendix B


def check(text, known):
    """(problems, rows, rows left out)."""
    problems, rows, left_out, musts = [], 0, 0, {}
    for number, chapter, cells in test_names.rows(text, "section"):
        where = f"docs/rfc-map.md:{number}"
        if len(cells) != 3:
            problems.append(f"{where}: {len(cells)} columns, not section, requirement, proof")
            continue
        rows += 1
        _, excused, wrong = test_names.proof(cells[2], "left out", known)
        problems += [f"{where}: {what}" for what in wrong]
        left_out += excused
        if "9293" in chapter:
            for must in re.findall(r"MUST-(\d+)", cells[0]):
                musts.setdefault(int(must), number)
    for must in range(1, LAST_MUST + 1):
        if must not in musts:
            problems.append(f"docs/rfc-map.md: MUST-{must} of RFC 9293 has no row")
    return problems, rows, left_out


def main():
    problems, rows, left_out = check(MAP.read_text(encoding="utf-8"), test_names.tests())
    print("\n".join(problems))
    print(f"{rows} requirements, {left_out} of them left out or met in part, "
          f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
