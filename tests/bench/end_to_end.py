"""Runs one job of many images with every candidate, end to end, and prints what it costs and what is lost under five
faults. Called by tests/bench/run."""

import argparse
import base64
import collections
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compare import HERE, NODE, PYTHON, TARGET, prepare_peers, print_versions, table

WORK = TARGET / "bench" / "end-to-end"
PEERS = HERE / "peers"
MODEL = "gemini-nano-banana-2.1"
# The command as users build it.
DARKROOM = TARGET / "release" / "darkroom"
BUCKET, AWS_LOG = "darkroom", "aws.jsonl"
# The packages that the peers use directly.
PYTHON_PACKAGES = ["batchwork-ai", "google-genai", "boto3", "requests"]
NODE_PACKAGES = ["ai", "@ai-sdk/google", "@aws-sdk/client-s3"]
MIB = 2**20
# How often a candidate is started until it ends without an error.
MAX_STARTS = 3
# Simulated batches take a second for the peers, which wait in real time. `darkroom run` skips waits, so its batches take
# as long as real ones.
PEER_SECONDS = ["--batch-seconds", "1"]
LATE_SECONDS = 5


@dataclass
class Candidate:
    """A program that makes the images of a manifest."""

    title: str
    # The script, without which the candidate is the darkroom command.
    script: str | None = None
    # The exit status with which it reports that images are missing. Any other status but 0 is an error.
    incomplete: int = 2

    def lines(self):
        """The lines of code that a user writes: those of the script that are neither empty nor a comment."""
        if self.script is None:
            return 0
        text = (PEERS / self.script).read_text()
        if self.script.endswith(".py"):
            text = text.split('"""', 2)[2]
        return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith(("#", "//")))


CANDIDATES = {
    "ours": Candidate("**darkroom run**", incomplete=1),
    "batchwork": Candidate("Batchwork (Python)", "batchwork_images.py"),
    "ai-sdk": Candidate("AI SDK", "ai_sdk.mjs"),
    "genai": Candidate("google-genai", "genai_batch.py"),
    "step-functions": Candidate("Step Functions sample", "step_functions.py"),
}


@dataclass
class Fault:
    """What goes wrong in a run."""

    title: str
    # The options of the simulated Gemini for the peers, and for our own command, whose time is simulated.
    options: list[str] = field(default_factory=list)
    simulated: list[str] | None = None
    # How long a user waits before the next start, in seconds.
    pause: float = 0
    # Whether the candidate is killed as soon as half of the images are stored.
    kill: bool = False


FAULTS = {
    "late": Fault("late output", ["--late-output", f"{LATE_SECONDS}s"], ["--late-output", "30m"], pause=LATE_SECONDS + 1),
    "lost-reply": Fault("lost reply", ["--fault", "create-batch:lost-reply:1"]),
    "crash": Fault("crash at 50 %", kill=True),
    "refusals": Fault("2 % refusals", ["--refuse", "2"]),
    "missing-lines": Fault("1 % missing lines", ["--missing", "1"]),
}
NO_FAULT = Fault("none")


@dataclass
class Result:
    """What one run of a candidate cost, and what it left behind."""

    seconds: float = 0
    cpu: float = 0
    # The CPU time of the simulated services, for candidates that have them in other processes.
    services_cpu: float = 0
    peak: float = 0
    starts: int = 0
    # Whether the last start ended without an error.
    ended: bool = False
    gemini: int = 0
    s3: int = 0
    stored: int = 0
    # Images that Gemini charged for, whose key has no such image in S3.
    lost: int = 0
    # Images that Gemini charged for although it had charged for an image of the same key.
    twice: int = 0
    # Objects whose content is not the image of their key.
    wrong: int = 0
    # Of the images that are not in S3, those that the candidate names.
    named: int = 0


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run end-to-end", description="Compares whole jobs, and what faults do to them.")
    parser.add_argument("--images", type=int, default=1000, help="images of the job")
    parser.add_argument("--runs", type=int, default=1, help="runs of each candidate without a fault; medians are printed")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CANDIDATES), help=f"candidates, of {','.join(CANDIDATES)}")
    parser.add_argument("--faults", type=lambda text: text.split(","), default=list(FAULTS), help=f"faults, of {','.join(FAULTS)}")
    parser.add_argument("--quick", action="store_true", help="only show that it works: 20 images and one fault")
    chosen = parser.parse_args()
    for given, known in [(chosen.only, CANDIDATES), (chosen.faults, FAULTS)]:
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if chosen.quick:
        chosen.images, chosen.runs, chosen.faults = 20, 1, ["lost-reply"]
    return chosen


class Server:
    """A darkroom command that serves on loopback until it is stopped."""

    def __init__(self, words, log):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def words(self, last):
        """Returns the words that it has printed, as soon as one begins with `last`."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            words = self.log.read_text().split()
            if any(word.startswith(last) for word in words):
                return words
            time.sleep(0.02)
        sys.exit(f"a server has not started: see {self.log}")

    def cpu(self):
        """Returns the CPU time that it has used, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def gemini_server(folder, options):
    """Starts a simulated Gemini for programs that wait in real time. Returns the server and its address."""
    words = [DARKROOM, "gemini", "--state", folder / "gemini", "--port", "0", *PEER_SECONDS, *options]
    server = Server(words, folder / "gemini.log")
    return server, next(word for word in server.words("http://") if word.startswith("http://"))


def s3_server(folder):
    """Starts a stand-in for S3. Returns the server and the variables for its clients."""
    words = [DARKROOM, "serve", "--out", folder / "s3", "--port", "0", "--gemini-port", "0", "--aws-log", folder / AWS_LOG]
    server = Server(words, folder / "s3.log")
    return server, dict(word.split("=", 1) for word in server.words("AWS_SECRET_ACCESS_KEY=") if word.startswith("AWS_"))


@dataclass
class Setup:
    """How to start a candidate in a folder, and where to find what it did."""

    words: list
    environment: dict[str, str]
    servers: list[Server]
    # The state of the simulated Gemini, and the objects in the bucket.
    gemini: Path
    bucket: Path
    # The pattern of the images below the bucket.
    images: str


def set_up(candidate, fault, manifest, folder):
    # Our own command has the simulated services in its own process.
    if candidate.script is None:
        options = fault.options if fault.simulated is None else fault.simulated
        words = [DARKROOM, "run", manifest, "--out", folder / "out", "--aws-log", folder / AWS_LOG, *options]
        return Setup(words, {}, [], folder / "out" / ".darkroom" / "gemini", folder / "out" / BUCKET, "jobs/*/images/*")
    gemini, address = gemini_server(folder, fault.options)
    s3, environment = s3_server(folder)
    environment |= {"POLL_SECONDS": "1", "GEMINI_API_KEY": "any", "GEMINI_BASE_URL": address, "GOOGLE_GEMINI_BASE_URL": address,
                    "GOOGLE_GENERATIVE_AI_BASE_URL": f"{address}/v1beta"}
    program = [PYTHON, PEERS / candidate.script] if candidate.script.endswith(".py") else ["node", NODE / candidate.script]
    return Setup([*program, manifest, BUCKET], environment, [gemini, s3], folder / "gemini", folder / "s3" / BUCKET, "out/*")


def start(setup, folder, log, is_half_done):
    """Starts a candidate and waits for it, or kills it as soon as `is_half_done` holds. Returns its exit status, the
    elapsed seconds, and what it used."""
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(setup.words, env=os.environ | setup.environment, cwd=folder,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    while is_half_done and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if is_half_done():
            process.kill()
            break
        time.sleep(0.005)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - began, usage


def run(name, fault, manifest, expected, folder):
    """Runs a candidate in a new folder, again after each error, and examines what it left behind."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "work"
    work.mkdir(parents=True)
    candidate, result = CANDIDATES[name], Result()
    setup = set_up(candidate, fault, manifest, folder)

    def is_half_done():
        return sum(1 for _ in setup.bucket.glob(setup.images)) >= len(expected) // 2

    try:
        while not result.ended and result.starts < MAX_STARTS:
            if result.starts:
                time.sleep(fault.pause)
            kill = fault.kill and not result.starts
            result.starts += 1
            log = folder / f"start-{result.starts}.log"
            status, seconds, usage = start(setup, work, log, is_half_done if kill else None)
            if kill and status != -signal.SIGKILL:
                sys.exit(f"{name} ended before half of its images were stored: see {log}")
            result.ended = status in (0, candidate.incomplete)
            result.seconds += seconds
            result.cpu += usage.ru_utime + usage.ru_stime
            result.peak = max(result.peak, usage.ru_maxrss * 1024)
        result.services_cpu = sum(server.cpu() for server in setup.servers)
    finally:
        for server in setup.servers:
            server.stop()
    examine(result, candidate, setup, expected, folder, log)

    # A run leaves up to 300 MB. What a failed one leaves is kept.
    if result.ended:
        shutil.rmtree(setup.gemini)
        shutil.rmtree(setup.bucket)
    return result


def examine(result, candidate, setup, expected, folder, log):
    """Counts the requests, and compares the images in S3 with those that Gemini charged for."""
    counters = json.loads((setup.gemini / "counters" / "counters.json").read_text())
    result.gemini = sum(counters["requests"].values())
    result.s3 = sum(json.loads(line)["service"] == "s3" for line in (folder / AWS_LOG).open())

    # The name of an object is its key and the suffix of its format.
    stored = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in setup.bucket.glob(setup.images)}
    right = {key for key, digest in stored.items() if expected.get(key) == digest}
    absent = set(expected) - right
    charged = charged_images(setup.gemini)
    result.stored, result.wrong = len(right), len(stored) - len(right)
    result.lost = len(absent & set(charged))
    result.twice = sum(count - 1 for count in charged.values())

    # Our own command lists missing images in a document, the scripts print them.
    if candidate.script is None:
        lists = [path.read_text() for path in setup.bucket.glob("jobs/*/retry.jsonl")]
        named = {json.loads(line)["key"] for text in lists for line in text.splitlines()}
    else:
        named = set(log.read_text().replace(":", " ").split())
    result.named = len(absent & named)


def charged_images(state):
    """Returns for each key how many images the simulated Gemini charged for, from its own records."""
    for line in (state / "requests.jsonl").open():
        if json.loads(line)["call"] != "batch-line":
            sys.exit("a candidate made a single request, which this benchmark does not count")
    charged = collections.Counter()
    for document in (state / "batches").glob("*.json"):
        batch = json.loads(document.read_text())
        if batch["fate"] or batch["cancelled"] or batch["deleted"]:
            sys.exit(f"a candidate canceled or deleted batch {batch['id']}, which this benchmark does not count")
        lines = (state / "inputs" / batch["id"]).read_bytes()
        for row in json.loads((state / "rows" / batch["id"]).read_text()):
            if row["outcome"] == "missing" or "image" in row["outcome"]:
                line = json.loads(lines[row["offset"] : row["offset"] + row["length"]])
                charged[line.get("key") or line["metadata"]["key"]] += 1
    return charged


def expected_images(prompts):
    """Returns the SHA-256 of each key's image, from a batch without faults. An image of the simulated Gemini depends only
    on its key and its request, so it is the same in each batch."""
    folder = WORK / "expected"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    server, address = gemini_server(folder, [])
    requests = [
        {"request": {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": {"responseModalities": ["IMAGE"]}},
         "metadata": {"key": key}}
        for key, prompt in prompts.items()
    ]
    batch = {"displayName": "expected", "inputConfig": {"requests": {"requests": requests}}}
    name = ask(f"{address}/v1beta/models/{MODEL}:batchGenerateContent", {"batch": batch})["name"]
    while "response" not in (operation := ask(f"{address}/v1beta/{name}")):
        time.sleep(0.2)
    server.stop()
    shutil.rmtree(folder)
    results = operation["response"]["inlinedResponses"]["inlinedResponses"]
    return {result["metadata"]["key"]: digest_of(result["response"]) for result in results}


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"x-goog-api-key": "any", "content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def digest_of(response):
    [part] = [part for part in response["candidates"][0]["content"]["parts"] if "inlineData" in part]
    return hashlib.sha256(base64.b64decode(part["inlineData"]["data"])).hexdigest()


def medians(results):
    return Result(**{name: statistics.median(getattr(result, name) for result in results) for name in Result.__dataclass_fields__})


def cost_table(costs):
    rows = [["candidate", "code lines", "seconds", "CPU s", "with services", "peak MiB", "Gemini requests", "S3 requests"]]
    for name, cost in costs.items():
        candidate = CANDIDATES[name]
        own = "" if candidate.script is None else f"{cost.cpu:.1f}"
        rows.append([candidate.title, str(candidate.lines()), f"{cost.seconds:.1f}", own, f"{cost.cpu + cost.services_cpu:.1f}",
                     f"{cost.peak / MIB:.0f}", f"{cost.gemini:.0f}", f"{cost.s3:.0f}"])
    table(rows)


def fault_table(title, results, expected):
    rows = [[title, "starts", "stored", "lost", "paid twice", "wrong", "named"]]
    for name, result in results.items():
        starts = str(result.starts) if result.ended else f"{result.starts}, all failed"
        absent = len(expected) - result.stored
        named = f"{result.named} of {absent}" if absent else ""
        rows.append([CANDIDATES[name].title, starts, str(result.stored), str(result.lost), str(result.twice), str(result.wrong), named])
    table(rows)


def summary_table(costs, faults):
    rows = [["candidate", "code lines", "CPU s", "peak MiB", *(FAULTS[fault].title for fault in faults)]]
    for name, cost in costs.items():
        cells = [f"{results[name].starts} / {results[name].lost} / {results[name].twice}" for results in faults.values()]
        candidate = CANDIDATES[name]
        rows.append([candidate.title, str(candidate.lines()), f"{cost.cpu + cost.services_cpu:.1f}", f"{cost.peak / MIB:.0f}", *cells])
    table(rows)


def main():
    chosen = arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    scripts = [CANDIDATES[name].script or "" for name in chosen.only]
    python = any(script.endswith(".py") for script in scripts) and PYTHON_PACKAGES
    node = any(script.endswith(".mjs") for script in scripts) and NODE_PACKAGES
    prepare_peers(python, node)
    print_versions("release", python, node)
    prompts = {f"image-{number:04}": f"A tile with the number {number}" for number in range(chosen.images)}
    manifest = WORK / "manifest.csv"
    manifest.write_text("key,prompt\n" + "".join(f"{key},{prompt}\n" for key, prompt in prompts.items()))
    expected = expected_images(prompts)

    # Candidates alternate, one at a time.
    runs = {name: [] for name in chosen.only}
    for _ in range(chosen.runs):
        for name in chosen.only:
            result = run(name, NO_FAULT, manifest, expected, WORK / name)
            if (result.stored, result.wrong, result.twice, result.starts) != (len(expected), 0, 0, 1) or not result.ended:
                sys.exit(f"{name} did not make all images: {result}; see {WORK / name}")
            runs[name].append(result)
    print(f"{chosen.images} images of 1K, from a manifest to S3\n")
    costs = {name: medians(results) for name, results in runs.items()}
    cost_table(costs)

    # No time is measured here, so two runs share the machine.
    with ThreadPoolExecutor(2) as pool:
        tasks = {
            fault: {name: pool.submit(run, name, FAULTS[fault], manifest, expected, WORK / f"{name}-{fault}") for name in chosen.only}
            for fault in chosen.faults
        }
        faults = {fault: {name: task.result() for name, task in running.items()} for fault, running in tasks.items()}
    for fault, results in faults.items():
        fault_table(FAULTS[fault].title, results, expected)
    print("In short; for each fault, the starts, the lost images, and the images paid for twice\n")
    summary_table(costs, faults)


if __name__ == "__main__":
    main()
