"""Tables in docs/ that name tests: the tests there are, and the rows of a table.

Tests are `Suite.Name` of GoogleTest, or `test_file.py::test_name` of the system tests.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
GTEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
PYTEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def tests():
    """The names of all tests in the sources."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.cpp")):
        for suite, name in GTEST.findall(path.read_text(encoding="utf-8")):
            found.add(f"{suite}.{name}")
    for path in sorted((ROOT / "tests" / "system").glob("test_*.py")):
        for name in PYTEST.findall(path.read_text(encoding="utf-8")):
            found.add(f"{path.name}::{name}")
    return found


def rows(text, head):
    """(line number, chapter, cells) of each row of the tables whose head's first cell is `head`."""
    chapter = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            chapter = line[3:]
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] != head:
            yield number, chapter, cells


def proof(cell, excuse, known):
    """(tests named, whether it says why there is none, what is wrong) of a row's last cell.

    `excuse` begins the reason for which no test, or none of everything, is there.
    """
    named = re.findall(r"`([^`]+)`", cell)
    excused = re.search(rf"{excuse}: (.+)", cell) is not None
    problems = [] if named or excused else ["neither a test nor a reason"]
    for name in named:
        if name not in known and (re.fullmatch(r"\w+\.\w+", name) or "::" in name or not excused):
            problems.append(f"there is no test {name}")
    return named, excused, problems
