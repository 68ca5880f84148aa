"""Writes a C++ source with a text file as openapi_document(). Usage: embed.py IN OUT"""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as source:
    text = json.dumps(json.load(source), separators=(",", ":"))
chunks = [text[i : i + 4000] for i in range(0, len(text), 4000)]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    out.write('#include "controlplane/rest.h"\nnamespace sluice::control {\n')
    out.write("std::string_view openapi_document() {\n  static constexpr char kText[] =\n")
    for chunk in chunks:
        out.write('      R"~~(' + chunk + ')~~"\n')
    out.write("      ;\n  return {kText, sizeof kText - 1};\n}\n}  // namespace sluice::control\n")
