"""Counts what the works of the program `guard` take under valgrind, and compares the counts with
those in guard.csv. Called by tests/bench/guard."""

import argparse
import csv
import os
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")).resolve()
PROGRAM = TARGET / "release" / "guard"
RECORDED = HERE / "guard.csv"

# The quantities that are counted, and by how much a count may differ from the recorded one, in either
# direction.
QUANTITIES = ["instructions", "allocations"]
TOLERANCE = 0.05
# Before counts are recorded, each work runs this many times, each in a separate process. If the counts
# of two runs differ by more than the spread, others can't be compared with them.
RECORDED_RUNS = 2
SPREAD = 0.01

# Why a count is refused.
TOO_MANY = "too many"
TOO_FEW = "fewer than recorded, so record the new number of"

# A null control is called `control/<work>/<quantity>`. It is compared with the recorded counts of the
# work, and must be refused because of the quantity.
CONTROL = "control/"

# The functions of the C library that allocate.
ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign"}

# Nothing of the caller's environment reaches the program. Debian's C library copies with `rep movsb`
# on some processors, and valgrind counts each byte of it.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS"}


def count(name):
    """Runs a work under valgrind. Returns its counts."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        command = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={profile}",
                   "--toggle-collect=guard::measured*", "--compress-strings=no", "--compress-pos=no", PROGRAM, name]
        run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"{name} failed under valgrind: {run.stdout}{run.stderr}")
        return parse(profile.read_text())


def parse(profile):
    """Returns the counts in a profile of callgrind
    (https://valgrind.org/docs/manual/cl-format.html, read 2026-11)."""
    instructions = int(re.search(r"^(?:summary|totals): (\d+)", profile, re.M)[1])
    calls = re.findall(r"^cfn=(\S+)\ncalls=(\d+)", profile, re.M)
    return {"instructions": instructions,
            "allocations": sum(int(number) for function, number in calls if function in ALLOCATORS)}


def measure(names, runs):
    """Returns the counts of each work, and exits if they depend on the run."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(count, [name for name in names for _ in range(runs)]))
    counts = {}
    for index, name in enumerate(names):
        own = counted[index * runs:(index + 1) * runs]
        for quantity in QUANTITIES:
            low, high = (bound(run[quantity] for run in own) for bound in (min, max))
            if high > low * (1 + SPREAD):
                sys.exit(f"{name} took {low} and then {high} {quantity}: the work is not the same in every run")
        counts[name] = own[0]
    return counts


def verdict(counted, recorded):
    """Returns why a count is refused, or None."""
    if counted > recorded * (1 + TOLERANCE):
        return TOO_MANY
    if counted < recorded * (1 - TOLERANCE):
        return TOO_FEW
    return None


def read_recorded():
    if not RECORDED.exists():
        return {}
    with RECORDED.open(newline="") as file:
        return {row["work"]: {quantity: int(row[quantity]) for quantity in QUANTITIES} for row in csv.DictReader(file)}


def write_recorded(counts):
    with RECORDED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["work", *QUANTITIES])
        writer.writerows([name, *(taken[quantity] for quantity in QUANTITIES)] for name, taken in counts.items())


def compared_with(name):
    """Returns the work with whose recorded counts a work is compared."""
    return name.removeprefix(CONTROL).rpartition("/")[0] if name.startswith(CONTROL) else name


def print_table(counts, recorded):
    width = max(map(len, counts))
    print(f"{'':{width}}  " + "  ".join(f"{quantity:>14} {'recorded':>12} {'ratio':>6}" for quantity in QUANTITIES))
    for name, taken in counts.items():
        cells = []
        for quantity in QUANTITIES:
            known = recorded.get(compared_with(name), {}).get(quantity)
            ratio = f"{taken[quantity] / known:.3f}" if known else "-"
            cells.append(f"{taken[quantity]:>14,} {'-' if known is None else f'{known:,}':>12} {ratio:>6}")
        print(f"{name:{width}}  " + "  ".join(cells))
    print()


def problems(counts, recorded):
    """Returns what is wrong, one line each."""
    works = [name for name in counts if not name.startswith(CONTROL)]
    found = [f"{name} is not recorded" for name in works if name not in recorded]
    found += [f"{name} is recorded, but does not exist" for name in recorded if name not in works]
    for name in works:
        for quantity, known in recorded.get(name, {}).items():
            if why := verdict(counts[name][quantity], known):
                found.append(f"{name}: {why} {quantity}")
    for name in counts:
        known = recorded.get(compared_with(name))
        quantity = name.rpartition("/")[2]
        if name.startswith(CONTROL) and known and verdict(counts[name][quantity], known[quantity]) != TOO_MANY:
            found.append(f"{name} was accepted, so the guard would not notice that the work takes more {quantity}")
    return found


def is_comparable():
    """Whether this machine takes the recorded number of instructions: valgrind shows programs the same
    processor on every x86-64 machine with AVX2, and another one without."""
    return platform.machine() == "x86_64" and " avx2 " in Path("/proc/cpuinfo").read_text()


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/guard", description="Compares counts of instructions and allocations.")
    parser.add_argument("--record", action="store_true", help="write the counts to tests/bench/guard.csv")
    chosen = parser.parse_args()
    names = subprocess.run([PROGRAM, "list"], capture_output=True, text=True, check=True).stdout.split()
    counts = measure(names, RECORDED_RUNS if chosen.record else 1)
    works = {name: taken for name, taken in counts.items() if not name.startswith(CONTROL)}
    if chosen.record and not is_comparable():
        sys.exit("record on an x86-64 machine with AVX2, because the counts of others are different")
    if chosen.record:
        write_recorded(works)
    if is_comparable():
        recorded = read_recorded()
    else:
        print("This is not an x86-64 machine with AVX2. Only the controls are compared, with the counts of this run.\n")
        recorded = works
    print_table(counts, recorded)
    if found := problems(counts, recorded):
        print("\n".join(found))
        print(f"\nA count may differ by {TOLERANCE:.0%}. If the change is intended, or the compiler is another one, run "
              "`tests/bench/guard --record` and commit tests/bench/guard.csv.")
        sys.exit(1)
    print(f"All counts are within {TOLERANCE:.0%} of the recorded ones, and the slower variants were refused.")


if __name__ == "__main__":
    main()
