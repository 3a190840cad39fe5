"""Runs every candidate on the same result file, in turn, and prints the cost of each. Called by
tests/bench/run."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from packages import HERE, NODE, PYTHON, TARGET, WORK, install

# The program that makes the result files and simulates the services.
BENCH = TARGET / "release" / "bench"

PYTHON_PEERS = ["seq", "pool", "dest", "stream"]
# The packages that the peers use directly.
PYTHON_PACKAGES, NODE_PACKAGES = ["google-genai", "boto3", "requests", "orjson"], ["@aws-sdk/client-s3"]
ALL = ["ours", "floor", *PYTHON_PEERS, "node"]
GB, MB, MIB = 1e9, 1e6, 2**20
# Further file sizes for our own collector, which show that its memory does not grow with the file. The
# first has one image, so it shows what starting costs.
OTHER_SIZES = [1, 100_000_000, 3_000_000_000]
# The forms of images, each with the candidates and the size of the table that compares them.
FORMS = {"png": "PNG of 1.2 to 2.8 MB", "jpeg": "JPEG of 0.5 to 0.7 MB"}
FORM_CANDIDATES, FORM_BYTES = ["ours", "floor", "stream", "node"], 100_000_000
# The shares of a core that Lambda gives a function with 128 and with 256 MB: one core is 1,769 MB
# (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, read 2026-11).
SHARES = {"1/14": 1 / 14, "1/7": 1 / 7}
SHARE_CANDIDATES, SHARE_BYTES = ["ours", "stream", "node"], 50_000_000
NAMES = {
    "ours": "**collect**",
    "floor": "the floor",
    "seq": "Python, as in the docs (`seq`)",
    "pool": "Python, 8 threads (`pool`)",
    "dest": "Python, to a file first (`dest`)",
    "stream": "Python, streaming (`stream`)",
    "node": "Node, AWS SDK v3",
}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run collector", description="Compares the collector with other programs.")
    parser.add_argument("--bytes", type=lambda text: int(float(text)), default=1_000_000_000, help="size of the result file")
    parser.add_argument("--only", type=lambda text: text.split(","), default=ALL, help=f"candidates to run, of {','.join(ALL)}")
    parser.add_argument("--runs", type=int, default=3, help="runs of ours and of the floor; medians are printed")
    parser.add_argument("--peer-runs", type=int, default=1, help="runs of the others, which differ far more than runs do")
    parser.add_argument("--quick", action="store_true", help="only show that it works: one run of ours and of the floor on 10 MB")
    parser.add_argument("--profile", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if unknown := set(chosen.only) - set(ALL):
        parser.error(f"unknown candidate: {', '.join(sorted(unknown))}")
    chosen.other_sizes, chosen.form_bytes, chosen.share_bytes = OTHER_SIZES, FORM_BYTES, SHARE_BYTES
    if chosen.quick:
        chosen.bytes, chosen.only, chosen.runs, chosen.other_sizes = 10_000_000, ["ours", "floor"], 1, []
        chosen.form_bytes = chosen.share_bytes = 10_000_000
    return chosen


class CpuShare:
    """A control group whose processes get a share of one core, by `cpu.max` of cgroup v2, or by the
    same settings of version 1."""

    PERIOD_US = 20_000

    def __init__(self, share):
        quota = round(share * self.PERIOD_US)
        unified = Path("/sys/fs/cgroup")
        if (unified / "cgroup.controllers").exists():
            root, settings = unified, {"cpu.max": f"{quota} {self.PERIOD_US}"}
            if "cpu" not in (root / "cgroup.subtree_control").read_text().split():
                (root / "cgroup.subtree_control").write_text("+cpu")
        else:
            root, settings = unified / "cpu", {"cpu.cfs_period_us": self.PERIOD_US, "cpu.cfs_quota_us": quota}
        self.group = root / f"darkroom-bench-{os.getpid()}"
        self.group.mkdir()
        try:
            for name, value in settings.items():
                (self.group / name).write_text(str(value))
        except OSError:
            self.group.rmdir()
            raise

    def enter(self):
        """Moves this process into the group."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        """Removes the group, whose processes must have ended."""
        self.group.rmdir()


class Services:
    """The process that simulates Gemini, S3, SQS and Lambda. It runs on the last core, where it
    disturbs the candidates least."""

    def __init__(self, binary):
        self.process = subprocess.Popen(
            [binary, "serve", "--folder", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        os.sched_setaffinity(self.process.pid, {max(os.sched_getaffinity(0))})
        self.addresses = json.loads(self.process.stdout.readline())

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("the services have ended")
        return json.loads(answer)


def command(name, dataset, binaries, at):
    """Returns a candidate's command line, and the variables to add to its environment."""
    trust = {"SSL_CERT_FILE": at["authority"]}
    peer = trust | {"DLBASE": at["gemini"], "S3": at["aws"], "CA": at["authority"], "TMPFILE": str(WORK / "dest.jsonl")}
    if name == "ours":
        return [binaries / "collect"], trust | {
            "AWS_LAMBDA_RUNTIME_API": at["runtime_api"],
            "AWS_LAMBDA_FUNCTION_NAME": "collect",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_ENDPOINT_URL": at["aws"],
            "AWS_REGION": "us-east-1",
            "BUCKET": at["bucket"],
            "GEMINI_API_KEY": "unused",
            "GEMINI_BASE_URL": at["gemini"],
        } | at["environment"]
    if name == "floor":
        return [binaries / "floor", dataset, at["gemini"], at["aws"], at["authority"]], {}
    if name == "node":
        return ["node", "collect.mjs", dataset], peer | {"NODE_EXTRA_CA_CERTS": at["authority"]}
    return [PYTHON, HERE / "peers" / "py_collect.py", name, dataset], peer


def measure(name, dataset, binaries, services, share=None):
    """Runs a candidate once, with all of the machine or with a share of a core. Returns its CPU
    seconds, its elapsed seconds and its peak memory in MiB."""
    services.ask(f"begin {dataset}")
    words, environment = command(name, dataset, binaries, services.addresses)
    log = WORK / f"{name}.log"
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(words, env=os.environ | environment, cwd=NODE if name == "node" else None,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   preexec_fn=share.enter if share else None)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.monotonic() - start
    outcome = services.ask("end")
    tally = outcome["tally"]
    right = tally["stored"] == tally["images"] and not (tally["wrong"] or tally["unknown"] or tally["repeated"])
    # A function does not exit on its own: the simulated runtime closes the connection after the
    # event. The phase of its shard shows whether the function succeeded.
    ended = outcome["phase"] == "done" if name == "ours" else status == 0
    if not (right and ended):
        sys.exit(f"{name} did not collect {dataset} correctly: {outcome}, exit status {status}; see {log}")
    return usage.ru_utime + usage.ru_stime, elapsed, usage.ru_maxrss / 1024


def dataset_of(size, form="png"):
    name = f"{form}-{size}"
    subprocess.run([BENCH, "generate", "--folder", WORK, "--dataset", name, "--form", form,
                    "--bytes", str(size)], check=True)
    return name, (WORK / f"{name}.jsonl").stat().st_size


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("| " + " | ".join(cells) + " |")
    print()


def version(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().replace("\n", ", ")


def print_versions(chosen):
    python = set(chosen.only) & set(PYTHON_PEERS)
    print_packages(chosen.profile, python and PYTHON_PACKAGES, "node" in chosen.only and NODE_PACKAGES)


def print_packages(profile, python, node):
    """Prints the machine, the compiler, and the versions of these packages for Python and for Node.js."""
    print(f"{os.cpu_count()} cores, {platform.system()} {platform.release()}; {version('rustc', '--version')}, profile {profile}")
    if python:
        packages = f"from importlib.metadata import version as v; print(*(f'{{p}} {{v(p)}}' for p in {python}), sep=', ')"
        print(f"{version(PYTHON, '--version')}: {version(PYTHON, '-c', packages)}")
    if node:
        pins = json.loads((NODE / "package.json").read_text())["dependencies"]
        print(f"Node {version('node', '--version')}: {', '.join(f'{name} {pins[name]}' for name in node)}")
    print()


def repeated(chosen, names, *place, **limits):
    """Runs the candidates in rounds, until each has had its runs. Returns the median of each of its
    columns."""
    measured = {name: [] for name in names}
    runs = {name: chosen.runs if name in ("ours", "floor") else chosen.peer_runs for name in names}
    for number in range(max(runs.values())):
        for name in names:
            if number < runs[name]:
                measured[name].append(measure(name, *place, **limits))
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in measured.items()}


def compare_all(chosen, binaries, services):
    dataset, size = dataset_of(chosen.bytes)
    found = repeated(chosen, chosen.only, dataset, binaries, services)
    print(f"A result file of {size / GB:.2f} GB, TLS both ways; medians of {chosen.runs} runs of ours and of the "
          f"floor, and of {chosen.peer_runs} of the others\n")
    rows = [["candidate", "CPU s/GB", "× ours", "MB/s", "peak MiB"]]
    for name, (cpu, elapsed, peak) in found.items():
        ratio = f"{cpu / found['ours'][0]:.2f}" if "ours" in found else ""
        rows.append([NAMES[name], f"{cpu / (size / GB):.2f}", ratio, f"{size / MB / elapsed:.0f}", f"{peak:.0f}"])
    table(rows)
    if "ours" in found and "floor" in found:
        print(f"ours costs {found['ours'][0] / found['floor'][0]:.2f} × the floor\n")


def compare_sizes(chosen, binaries, services):
    """Prints what files of other sizes cost. A file with one image shows what starting costs."""
    rows = [["ours on", "CPU ms", "CPU s/GB", "MB/s", "peak MiB"]]
    for other in chosen.other_sizes:
        dataset, size = dataset_of(other)
        cpu, elapsed, peak = repeated(chosen, ["ours"], dataset, binaries, services)["ours"]
        label, per_gb = (f"{size / GB:.1f} GB", f"{cpu / (size / GB):.2f}") if other > 1 else ("one image", "")
        rows.append([label, f"{cpu * 1000:.0f}", per_gb, f"{size / MB / elapsed:.0f}", f"{peak:.0f}"])
    table(rows)


def compare_forms(chosen, binaries, services):
    """Prints what files with other images cost."""
    names = [name for name in FORM_CANDIDATES if name in chosen.only]
    rows = [["candidate", *(f"{label}: CPU s/GB" for label in FORMS.values())]]
    cells = {name: [] for name in names}
    for form in FORMS:
        dataset, size = dataset_of(chosen.form_bytes, form)
        for name, (cpu, _, _) in repeated(chosen, names, dataset, binaries, services).items():
            cells[name].append(f"{cpu / (size / GB):.2f}")
    print(f"By form of image, on {chosen.form_bytes / GB:.2g} GB\n")
    table(rows + [[NAMES[name], *cells[name]] for name in names])


def compare_shares(chosen, binaries, services):
    """Prints how long the candidates take with the share of a core that a small function has."""
    names = [name for name in SHARE_CANDIDATES if name in chosen.only]
    dataset, size = dataset_of(chosen.share_bytes, "jpeg")
    cells, peaks = {name: [] for name in names}, {}
    for share in SHARES.values():
        try:
            group = CpuShare(share)
        except OSError as error:
            print(f"Shares of a core are left out, because this machine does not let them be set: {error}\n")
            return
        try:
            found = repeated(chosen, names, dataset, binaries, services, share=group)
        finally:
            group.remove()
        for name, (_, elapsed, peak) in found.items():
            ratio = f"{elapsed / found['ours'][1]:.1f}" if "ours" in found else ""
            cells[name] += [f"{elapsed:.1f}", ratio]
            peaks[name] = max(peak, peaks.get(name, 0))
    print(f"With the share of a core that a small function has, on {size / GB:.2f} GB of JPEGs\n")
    columns = [column for label in SHARES for column in (f"{label} core: s", "× ours")]
    table([["candidate", *columns, "peak MiB"]] + [[NAMES[name], *cells[name], f"{peaks[name]:.0f}"] for name in names])


def main():
    chosen = arguments()
    binaries = TARGET / chosen.profile
    WORK.mkdir(parents=True, exist_ok=True)
    install(set(chosen.only) & set(PYTHON_PEERS), "node" in chosen.only)
    services = Services(BENCH)
    print_versions(chosen)
    compare_all(chosen, binaries, services)
    if "ours" in chosen.only and chosen.other_sizes:
        compare_sizes(chosen, binaries, services)
    if set(FORM_CANDIDATES) & set(chosen.only):
        compare_forms(chosen, binaries, services)
    if set(SHARE_CANDIDATES) & set(chosen.only):
        compare_shares(chosen, binaries, services)
    services.process.stdin.close()
    services.process.wait()


if __name__ == "__main__":
    main()
