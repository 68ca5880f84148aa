#!/usr/bin/python3
"""Runs benchmarks in their shortest form and looks at what they write. No figure is judged."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Command, contenders, figures of each, and exit codes: a benchmark that judges may find it slow here.
BENCHES = [
    (("tests/bench/side-by-side", "--quick", "--no-build"), ("nginx", "haproxy", "sluice"),
     ("requests_per_second", "p50_us", "p99_us", "core_us_per_request"), (0,)),
    (("tests/bench/crypto", "--no-build"), ("wolfssl", "sluice", "openssl"),
     ("aes128gcm_seal_gb_per_s", "aes128gcm_open_gb_per_s"), (0, 1)),
    (("tests/bench/tcp-port", "--quick", "--no-build"), ("sluice",),
     ("one_flow_sender_gbit_per_s_of_core", "accepts_per_s_of_core", "idle_connections",
      "flood_new_client_success_rate"), (0,)),
]


def positive(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def wrong_with(result, contenders, figures):
    """Where it is not {"machine":{…},"contenders":{NAME:{FIGURE:number}},"ratios":{NAME:number}}."""
    wrong = [f"{key} is missing or empty" for key in ("machine", "contenders", "ratios")
             if not isinstance(result.get(key), dict) or not result[key]]
    if wrong:
        return wrong
    wrong += [f"ratio {name} is {value!r}" for name, value in result["ratios"].items()
              if not positive(value)]
    return wrong + [f"{name} has no figure {figure}" for name in contenders for figure in figures
                    if not positive(result["contenders"].get(name, {}).get(figure))]


def main():
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for command, contenders, figures, codes in BENCHES:
            file = pathlib.Path(folder, pathlib.Path(command[0]).name + ".json")
            run = subprocess.run([ROOT / command[0], *command[1:], "--json", file], check=False,
                                 capture_output=True, text=True)
            if run.returncode not in codes or not file.exists():
                wrong = [f"exit code {run.returncode}", run.stdout, run.stderr]
            else:
                wrong = wrong_with(json.loads(file.read_text()), contenders, figures)
            print("\n".join([f"{' '.join(command)}: {'wrong' if wrong else 'ok'}", *wrong]), flush=True)
            failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
