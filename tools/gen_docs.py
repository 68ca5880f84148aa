#!/usr/bin/python3
"""Writes docs/metrics.md, errors.md and connection-events.md from the tables in dataplane/telemetry.

With --check nothing is written; exit code 1 when a document is not what would be written.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLES = ROOT / "dataplane" / "telemetry" / "include" / "telemetry"
NOTE = "<!-- Made by tools/gen_docs.py from {table}: change that file and run the program. -->\n"
RETRY = {"no": "no", "after": "after `retry_after_ms`", "when_safe": "when safe",
         "after_refresh": "after a new token"}


def split(arguments):
    """The arguments of one X(...) row; strings may hold commas and escaped quotes."""
    fields, field, quoted, escaped = [], "", False, False
    for character in arguments:
        if quoted:
            if escaped:
                field, escaped = field + character, False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
            else:
                field += character
        elif character == '"':
            quoted = True
        elif character == ",":
            fields.append(field.strip())
            field = ""
        else:
            field += character
    fields.append(field.strip())
    return fields


def rows(table):
    """(group or None, macro, fields) of each row; a comment line that starts with -- names a group."""
    group, pending = None, ""
    for line in (TABLES / table).read_text(encoding="utf-8").splitlines():
        heading = re.match(r"// -- (.*)", line)
        if heading:
            group = heading.group(1).strip()
        elif re.match(r"[XG]\(", line) or pending:
            # Adjacent strings of a folded row are one string.
            pending = re.sub(r'"\s*"', "", f"{pending} {line.strip()}") if pending else line.strip()
            if pending.endswith(")") and pending.count("(") <= pending.count(")"):
                yield group, pending[0], split(pending[2:-1])
                pending = ""


def metrics():
    text = ["# Metrics\n", NOTE.format(table="dataplane/telemetry/…/counters.def"),
            "`GET /metrics` on the metrics address and on the control socket (OpenMetrics), and "
            "`GET /v1/stats`. Counters are\nsummed over workers; what has no `_total` is a gauge. Every packet and call that is "
            "dropped or refused counts exactly one reason.\n"]
    last = object()
    for group, macro, fields in rows("counters.def"):
        _, metric, labels, explanation = fields[:4]
        if group != last:
            text.append(f"\n## {(group or 'general').capitalize()}\n\n"
                        "| metric | labels | meaning |\n|---|---|---|")
            last = group
        shown = f"`{labels}`" if labels else ""
        suffix = "" if macro == "G" else "_total"
        text.append(f"| `sluice_{metric}{suffix}` | {shown} | {explanation} |")
    return "\n".join(text) + "\n"


def errors():
    text = ["# Errors\n", NOTE.format(table="dataplane/telemetry/…/reasons.def"),
            "Every refusal is one record: `application/problem+json` with `type` "
            "`urn:sluice:error:CODE` and these facts.\n",
            "| code | status | JSON-RPC | retry | fault | title |", "|---|---|---|---|---|---|"]
    for _, _, fields in rows("reasons.def"):
        code, status, rpc, retry, fault, title = fields
        text.append(f"| `{code}` | {status} | {rpc} | {RETRY[retry]} | {fault} | {title} |")
    return "\n".join(text) + "\n"


def events():
    text = ["# Events of a connection\n", NOTE.format(table="dataplane/telemetry/…/connection_events.def"),
            "What a TCP connection remembers of itself: `GET /v1/connections/events`. Where the last column says so, the "
            "ring of the\nconnection is kept for later reading.\n",
            "| event | with | meaning | kept |", "|---|---|---|---|"]
    for _, _, fields in rows("connection_events.def"):
        name, value, unusual, explanation = fields
        shown = f"`{value}`" if value else ""
        text.append(f"| `{name}` | {shown} | {explanation} | {'yes' if unusual == 'yes' else ''} |")
    return "\n".join(text) + "\n"


def main():
    stale = []
    for name, make in (("metrics.md", metrics), ("errors.md", errors),
                       ("connection-events.md", events)):
        path, text = ROOT / "docs" / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv[1:]:
            stale.append(f"docs/{name} is stale: run tools/gen_docs.py")
        else:
            path.write_text(text, encoding="utf-8")
    print("\n".join(stale) or "up to date")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
