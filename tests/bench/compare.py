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

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")).resolve()
WORK = TARGET / "bench"
PYTHON = WORK / "venv" / "bin" / "python"
NODE = WORK / "node"

PYTHON_PEERS = ["seq", "pool", "dest", "stream"]
# The packages that the peers use directly.
PYTHON_PACKAGES, NODE_PACKAGES = ["google-genai", "boto3", "requests", "orjson"], ["@aws-sdk/client-s3"]
ALL = ["ours", "floor", *PYTHON_PEERS, "node"]
GB, MB, MIB = 1e9, 1e6, 2**20
# Further file sizes for our own collector, which show that its memory does not grow with the file.
OTHER_SIZES = [100_000_000, 2_000_000_000]
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
    parser.add_argument("--runs", type=int, default=3, help="runs of each candidate; medians are printed")
    parser.add_argument("--quick", action="store_true", help="only show that it works: one run of ours and of the floor on 10 MB")
    parser.add_argument("--profile", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if unknown := set(chosen.only) - set(ALL):
        parser.error(f"unknown candidate: {', '.join(sorted(unknown))}")
    chosen.other_sizes = OTHER_SIZES
    if chosen.quick:
        chosen.bytes, chosen.only, chosen.runs, chosen.other_sizes = 10_000_000, ["ours", "floor"], 1, []
    return chosen


def prepare_peers(python, node):
    """Installs the pinned packages that the peers in Python and in Node.js need, unless they are installed."""
    if python:
        if not PYTHON.exists():
            subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
        wanted = HERE / "requirements.txt"
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted], check=True)
    if node:
        NODE.mkdir(parents=True, exist_ok=True)
        # npm writes the second file when it is done. It takes long even if everything is installed.
        lock, done = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
        is_installed = done.exists() and lock.read_bytes() == (HERE / "peers" / lock.name).read_bytes()
        for path in [*(HERE / "peers").glob("package*.json"), *(HERE / "peers").glob("*.mjs")]:
            (NODE / path.name).write_bytes(path.read_bytes())
        if not is_installed:
            done.unlink(missing_ok=True)
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=NODE, check=True)


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
        places = ["--gemini", at["gemini"], "--aws", at["aws"], "--authority", at["authority"]]
        return [binaries / "bench", "floor", *places, "--dataset", dataset], {}
    if name == "node":
        return ["node", "collect.mjs", dataset], peer | {"NODE_EXTRA_CA_CERTS": at["authority"]}
    return [PYTHON, HERE / "peers" / "py_collect.py", name, dataset], peer


def measure(name, dataset, binaries, services):
    """Runs a candidate once. Returns its CPU seconds, its elapsed seconds and its peak memory in
    MiB."""
    services.ask(f"begin {dataset}")
    words, environment = command(name, dataset, binaries, services.addresses)
    log = WORK / f"{name}.log"
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(words, env=os.environ | environment, cwd=NODE if name == "node" else None,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
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


def dataset_of(size, binaries):
    name = f"images-{size}"
    subprocess.run([binaries / "bench", "generate", "--folder", WORK, "--dataset", name, "--bytes", str(size)], check=True)
    return name, (WORK / f"{name}.jsonl").stat().st_size


def medians(runs, size):
    cpu, elapsed, peak = (statistics.median(column) for column in zip(*runs))
    return cpu / (size / GB), size / MB / elapsed, peak


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("| " + " | ".join(cells) + " |")
    print()


def version(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().replace("\n", ", ")


def print_versions(profile, python, node):
    """Prints the machine, the compiler, and the packages that the peers in Python and in Node.js use directly."""
    print(f"{os.cpu_count()} cores, {platform.system()} {platform.release()}; {version('rustc', '--version')}, profile {profile}")
    if python:
        packages = f"from importlib.metadata import version as v; print(*(f'{{p}} {{v(p)}}' for p in {python}), sep=', ')"
        print(f"{version(PYTHON, '--version')}: {version(PYTHON, '-c', packages)}")
    if node:
        pins = json.loads((NODE / "package.json").read_text())["dependencies"]
        print(f"Node {version('node', '--version')}: {', '.join(f'{name} {pins[name]}' for name in node)}")
    print()


def main():
    chosen = arguments()
    binaries = TARGET / chosen.profile
    WORK.mkdir(parents=True, exist_ok=True)
    python, node = bool(set(chosen.only) & set(PYTHON_PEERS)), "node" in chosen.only
    prepare_peers(python, node)
    dataset, size = dataset_of(chosen.bytes, binaries)
    services = Services(binaries / "bench")
    print_versions(chosen.profile, python and PYTHON_PACKAGES, node and NODE_PACKAGES)

    runs = {name: [] for name in chosen.only}
    for _ in range(chosen.runs):
        for name in chosen.only:
            runs[name].append(measure(name, dataset, binaries, services))
    found = {name: medians(runs[name], size) for name in chosen.only}
    ours = found["ours"][0] if "ours" in found else None
    rows = [["candidate", "CPU s/GB", "× ours", "MB/s", "peak MiB"]]
    for name, (cpu, speed, peak) in found.items():
        ratio = f"{cpu / ours:.2f}" if ours else ""
        rows.append([NAMES[name], f"{cpu:.2f}", ratio, f"{speed:.0f}", f"{peak:.0f}"])
    print(f"A result file of {size / GB:.2f} GB, TLS both ways; medians of {chosen.runs} interleaved runs\n")
    table(rows)
    if ours and "floor" in found:
        print(f"ours costs {ours / found['floor'][0]:.2f} × the floor\n")

    if ours and chosen.other_sizes:
        rows = [["ours on", "CPU s/GB", "MB/s", "peak MiB"]]
        for other in chosen.other_sizes:
            dataset, size = dataset_of(other, binaries)
            cpu, speed, peak = medians([measure("ours", dataset, binaries, services) for _ in range(chosen.runs)], size)
            rows.append([f"{size / GB:.1f} GB", f"{cpu:.2f}", f"{speed:.0f}", f"{peak:.0f}"])
        table(rows)
    services.process.stdin.close()
    services.process.wait()


if __name__ == "__main__":
    main()
