#!/usr/bin/python3
"""Every check of the repository, in order; the last line says how many passed and failed.

A step that cannot run has failed. Results of steps that only read sources are remembered in
build/check/ under a hash of what they read.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "check"
JOBS = int(os.environ.get("SLUICE_JOBS", os.cpu_count() or 1))
SOURCE_TOPS = ("dataplane", "crypto", "controlplane", "pktgen", "tests")
PRODUCT_TOPS = SOURCE_TOPS[:-1]
HARD_LINES = 800
FUZZ_SECONDS = int(os.environ.get("SLUICE_FUZZ_SECONDS", "5"))
TAIL = 40


class Outcome:
    def __init__(self, passed=0, failed=0, text=""):
        self.passed, self.failed, self.text = passed, failed, text

    def __add__(self, other):
        return Outcome(self.passed + other.passed, self.failed + other.failed,
                       "\n".join(t for t in (self.text, other.text) if t))


def command(*words, timeout=3600, env=None, log=None):
    """(exit code, output). Output also goes to the log file while it comes."""
    log = log or WORK / "last.log"
    with open(log, "wb") as file:
        child = subprocess.Popen([str(w) for w in words], cwd=ROOT, stdin=subprocess.DEVNULL,
                                 stdout=file, stderr=subprocess.STDOUT,
                                 env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            code = 124
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(20)
            raise
    text = pathlib.Path(log).read_text(errors="replace")
    return code, text + (f"\nended after {timeout} s" if code == 124 else "")


def simple(*words, **options):
    code, text = command(*words, **options)
    return Outcome(1, 0) if code == 0 else Outcome(0, 1, text)


def files(tops, *suffixes):
    return sorted(path for top in tops for path in (ROOT / top).rglob("*")
                  if path.suffix in suffixes and path.is_file())


def digest(*parts):
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else str(part).encode())
        hasher.update(b"\0")
    return hasher.hexdigest()


class Remembered:
    """Hashes of inputs that passed before."""

    def __init__(self, name):
        self.file = WORK / f"{name}.json"
        self.known = set(json.loads(self.file.read_text())) if self.file.exists() else set()
        self.used = set()

    def good(self, key):
        if key in self.known:
            self.used.add(key)
        return key in self.known

    def add(self, key):
        self.used.add(key)

    def save(self):
        self.file.write_text(json.dumps(sorted(self.used)))


# -- sources


def check_format():
    sources = files(SOURCE_TOPS, ".h", ".cpp")
    return simple("clang-format-19", "--dry-run", "-Werror", *sources)


def check_sizes():
    long = [f"{path.relative_to(ROOT)}: {lines} lines, the limit is {HARD_LINES}"
            for path in files(SOURCE_TOPS + ("tools",), ".h", ".cpp", ".py")
            if (lines := len(path.read_text(errors="replace").splitlines())) > HARD_LINES]
    return Outcome(0, 1, "\n".join(long)) if long else Outcome(1, 0)


def check_layers():
    return simple("/usr/bin/python3", "tools/lint_layers.py")


def check_docs():
    return simple("/usr/bin/python3", "tools/gen_docs.py", "--check") + \
        simple("/usr/bin/python3", "tools/lint_rfc_map.py") + \
        simple("/usr/bin/python3", "tools/lint_shipped_bugs.py")


def check_shell():
    scripts = [ROOT / name for name in ("check", "demo", ".ci/run")]
    for folder in ("tools", "tests/bench", "tests/system"):
        scripts += [p for p in sorted((ROOT / folder).iterdir()) if p.is_file() and
                    p.open("rb").readline().startswith((b"#!/bin/bash", b"#!/bin/sh"))]
    return simple("shellcheck", *scripts)


def compile_flags(build):
    """Flags of one translation unit per library folder, without output and input."""
    database = json.loads((ROOT / "build" / build / "compile_commands.json").read_text())
    flags = {}
    for entry in database:
        source = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        relative = pathlib.Path(source).relative_to(ROOT)
        words = [w for w in shlex.split(entry["command"]) if w != "ccache"][1:]
        kept, skip = [], False
        for word in words:
            if skip:
                skip = False
            elif word in ("-o", "-MF", "-MQ", "-MT"):
                skip = True
            elif word not in ("-c", "-MD", "-MMD", entry["file"]) and \
                    not word.startswith("-fsanitize"):
                kept.append(word)
        flags[relative] = (entry["directory"], kept)
    return flags


def folder_flags(flags, header):
    """The flags of a source in the header's library: of the deepest folder that holds both, the one
    that may include most (a folder may hold more than one library)."""
    folder = header.parent
    while folder != folder.parent:
        near = [value for source, value in flags.items() if source.is_relative_to(folder)]
        if near:
            return max(near, key=lambda value: sum(w.startswith("-I") for w in value[1]))
        folder = folder.parent
    return None


def check_headers():
    """Each header compiles when it is the only one included."""
    configured = simple("tools/build", "asan", "--configure")
    if configured.failed:
        return configured
    flags = compile_flags("asan")
    headers = [h.relative_to(ROOT) for h in files(PRODUCT_TOPS, ".h")]
    everything = digest(*[(ROOT / h).read_bytes() for h in headers],
                        *[p.read_bytes() for p in files(PRODUCT_TOPS, ".def")])
    memory = Remembered("headers")

    def one(header):
        found = folder_flags(flags, header)
        if found is None:
            return f"{header}: no source of its library is built"
        directory, words = found
        key = digest(header, everything, " ".join(words))
        if memory.good(key):
            return ""
        result = subprocess.run(
            ["g++", *words, "-fsyntax-only", "-iquote", str(ROOT / header.parent), "-x", "c++",
             "-"], cwd=directory, input=f'#include "{ROOT / header}"\n', text=True, capture_output=True,
            check=False)
        if result.returncode == 0:
            memory.add(key)
        return result.stderr if result.returncode else ""

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        problems = [p for p in pool.map(one, headers) if p]
    memory.save()
    return Outcome(0, 1, "\n".join(problems)) if problems else Outcome(1, 0)


def check_tidy():
    """clang-tidy over data plane, crypto and control plane, as the fuzz build's clang sees them."""
    flags = compile_flags("fuzz")
    sources = [s for s in flags if s.parts[0] in PRODUCT_TOPS]
    if not sources:
        return Outcome(0, 1, "nothing to look at: the fuzz build has no sources")
    headers = digest(*[h.read_bytes() for h in files(PRODUCT_TOPS, ".h", ".def")],
                     (ROOT / ".clang-tidy").read_bytes())
    memory = Remembered("tidy")

    def one(source):
        key = digest(source, (ROOT / source).read_bytes(), headers, " ".join(flags[source][1]))
        if memory.good(key):
            return ""
        result = subprocess.run(["clang-tidy-19", "--quiet", "-p", "build/fuzz", str(source)],
                                cwd=ROOT, text=True, capture_output=True, check=False)
        if result.returncode == 0:
            memory.add(key)
            return ""
        return result.stdout + result.stderr[-2000:]

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        problems = [p for p in pool.map(one, sorted(sources)) if p]
    memory.save()
    return Outcome(0, 1, "\n".join(problems)) if problems else Outcome(1, 0)


# -- builds and tests


def build(kind, *targets):
    """Warnings are errors, so a build that passes is clean."""
    def step():
        words = [t() if callable(t) else t for t in targets]
        flat = [w for word in words for w in (word if isinstance(word, list) else [word])]
        return simple("tools/build", kind, *flat, timeout=3000)
    return step


def targets_of(kind, pattern):
    """Names of the executables of a build whose name matches."""
    def names():
        if simple("tools/build", kind, "--configure").failed:
            return []
        result = subprocess.run(["meson", "introspect", "--targets", f"build/{kind}"], cwd=ROOT,
                                text=True, capture_output=True, check=True)
        return [t["name"] for t in json.loads(result.stdout)
                if t["type"] == "executable" and re.search(pattern, t["name"])]
    return names


def meson_tests(kind, *arguments, timeout=1500):
    """`meson test`; counts GoogleTest cases where an executable has them, else executables."""
    reports = WORK / f"reports-{kind}-{arguments[-1] if arguments else 'all'}"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    code, text = command(
        "meson", "test", "-C", f"build/{kind}", "--no-rebuild", "--print-errorlogs",
        "--num-processes", JOBS, "--timeout-multiplier", "4", *arguments, timeout=timeout,
        env={"GTEST_OUTPUT": f"xml:{reports}/",
             "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
             "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
             "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"})
    summary = {name: int(n) for name, n in
               re.findall(r"^(Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout):\s+(\d+)",
                          text, re.MULTILINE)}
    bad = sum(summary.get(n, 0) for n in ("Fail", "Unexpected Pass", "Timeout", "Skipped"))
    good = summary.get("Ok", 0) + summary.get("Expected Fail", 0)
    cases = failures = 0
    for report in reports.glob("*.xml"):
        try:
            suite = ET.parse(report).getroot()
        except ET.ParseError:
            continue
        cases += int(suite.get("tests", 0))
        failures += int(suite.get("failures", 0)) + int(suite.get("errors", 0)) + \
            int(suite.get("disabled", 0))
    with_cases = len(list(reports.glob("*.xml")))
    passed = cases - failures + max(0, good - with_cases)
    failed = max(failures, bad)
    if code != 0 and failed == 0:
        failed = 1
    if passed + failed == 0:
        return Outcome(0, 1, f"no tests in {arguments}\n{text}")
    return Outcome(passed, failed, text if failed else "")


def suite(kind, name):
    return lambda: meson_tests(kind, "--suite", name)


def tsan_tests():
    """What threads share: the lock-free state and the channels."""
    names = targets_of("tsan", f"^({'|'.join(THREADED)})$")()
    if len(names) != len(THREADED):
        return Outcome(0, 1, f"expected {THREADED}, found {names}")
    return meson_tests("tsan", *names)


def fuzz():
    """Every fuzz target for a few seconds over its seeds."""
    names = targets_of("fuzz", r"^fuzz_")()
    if not names:
        return Outcome(0, 1, "no fuzz targets")
    built = simple("tools/build", "fuzz", *names, timeout=3000)
    if built.failed:
        return built

    def one(name):
        binary = next((ROOT / "build/fuzz").rglob(name))
        corpus = WORK / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        folder = binary.parent.relative_to(ROOT / "build/fuzz")
        seeds = ROOT / folder / "seeds" / name.removeprefix("fuzz_")
        places = [corpus] + ([seeds] if seeds.is_dir() else [])
        code, text = command(binary, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10",
                             "-rss_limit_mb=2048", f"-artifact_prefix={WORK}/crash-{name}-",
                             *places, timeout=FUZZ_SECONDS + 240, log=WORK / f"{name}.log",
                             env={"ASAN_OPTIONS": "detect_leaks=1"})
        return Outcome(1, 0) if code == 0 else Outcome(0, 1, f"{name}\n" + last_lines(text))

    unused = [f"{path.relative_to(ROOT)} belongs to no target"
              for path in sorted((ROOT / "tests/fuzz").glob("*/seeds/*"))
              if f"fuzz_{path.name}" not in names]
    start = Outcome(0, 1, "\n".join(unused)) if unused else Outcome()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return sum(pool.map(one, names), start)


def junit(name, *words, timeout=1500, env=None):
    """A command that runs pytest; its report counts. What is skipped was not tested: failed."""
    report = WORK / f"{name}.xml"
    report.unlink(missing_ok=True)
    code, text = command(*words, f"--junitxml={report}", timeout=timeout, env=env)
    if not report.exists():
        return Outcome(0, 1, text or f"pytest ended with {code}")
    root = ET.parse(report).getroot()
    totals = root if root.tag == "testsuite" else root[0]
    count, bad = int(totals.get("tests", 0)), sum(
        int(totals.get(n, 0)) for n in ("failures", "errors", "skipped"))
    if count == 0 or (code != 0 and bad == 0):
        bad = max(bad, 1)
    return Outcome(max(0, count - bad), bad, text if bad else "")


def system(kind, *arguments, workers="", name=""):
    """The system tests on the programs of one build."""
    env = {"SLUICE_BUILD": kind, **({"SLUICE_WORKERS": workers} if workers else {})}
    return lambda: junit(f"system-{name or kind}", "tests/system/run", "-q", *arguments, env=env)


def check_demo():
    """The demo shows what it says it shows, and leaves nothing behind."""
    return junit("demo", "/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c",
                 "tests/system/pytest.ini", "tests/system/demo_check.py")


def check_benches():
    """Benchmarks run, and what they write has the shape that others rely on."""
    return simple("/usr/bin/python3", "tools/bench_smoke.py", timeout=900)


PROGRAMS = ["sluiced", "sluicectl"]
THREADED = ["unit_state", "unit_state_stress", "unit_runtime"]
STEPS = [
    ("format", "clang-format 19", check_format),
    ("sizes", "no file over the line limit", check_sizes),
    ("layers", "includes follow the arrows", check_layers),
    ("docs", "generated documents are up to date, tests named in them exist", check_docs),
    ("shell", "shellcheck", check_shell),
    ("build-asan", "build, gcc, address and undefined sanitizers", build("asan")),
    ("headers", "headers are self-contained", check_headers),
    ("unit", "unit tests", suite("asan", "unit")),
    ("script", "TCP script tests", suite("asan", "script")),
    ("sim", "simulations", suite("asan", "sim")),
    ("build-tsan", "build, gcc, thread sanitizer: shared state and channels",
     build("tsan", *THREADED)),
    ("tsan", "shared state and channels under the thread sanitizer", tsan_tests),
    ("build-release", "build, gcc, release", build("release", *PROGRAMS, "wire", "bench_crypto", "bench_tcp_port")),
    ("system", "system tests on the release build", system("release")),
    ("system-two", "system tests with two workers",
     system("release", "-m", "two and not slow", workers="0,1", name="two")),
    ("system-asan", "system tests on the sanitizer build", system("asan", "-m", "asan")),
    ("demo-life", "the demo: whole, kept, failing, interrupted", check_demo),
    ("bench-smoke", "benchmarks run and write what they should", check_benches),
    ("build-fuzz", "build, clang 19, fuzz targets and the programs",
     build("fuzz", targets_of("fuzz", r"^fuzz_"), *PROGRAMS)),
    ("fuzz", f"fuzz targets, {FUZZ_SECONDS} s each", fuzz),
    ("tidy", "clang-tidy 19", check_tidy),
]


def last_lines(text):
    return "\n".join(text.splitlines()[-TAIL:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="steps, separated by commas")
    parser.add_argument("--skip", help="steps, separated by commas")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    names = [name for name, _, _ in STEPS]
    chosen = options.only.split(",") if options.only else names
    skipped = options.skip.split(",") if options.skip else []
    unknown = [n for n in chosen + skipped if n not in names]
    if unknown:
        parser.error(f"unknown step {', '.join(unknown)}; --list shows them")
    if options.list:
        for name, what, _ in STEPS:
            print(f"{name:<14} {what}")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    total, failures, began = Outcome(), [], time.monotonic()
    for name, what, step in STEPS:
        if name not in chosen or name in skipped:
            continue
        print(f"{name:<14} {what} ...", flush=True)
        start = time.monotonic()
        try:
            outcome = step()
        except Exception as error:  # a step that breaks has failed, the others still run
            outcome = Outcome(0, 1, f"{type(error).__name__}: {error}")
        total += Outcome(outcome.passed, outcome.failed)
        verdict = "ok" if outcome.failed == 0 else f"{outcome.failed} FAILED"
        print(f"{name:<14} {verdict}, {outcome.passed} passed, {time.monotonic() - start:.0f} s",
              flush=True)
        if outcome.failed:
            failures.append(name)
            print(last_lines(outcome.text), flush=True)
    print(f"{time.monotonic() - began:.0f} s"
          + (f"; failed: {', '.join(failures)}" if failures else ""))
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed or total.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
