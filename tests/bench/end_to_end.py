"""Runs one job of many images with every candidate, end to end, and prints what it costs and what is lost under five
faults. Called by tests/bench/run."""

import argparse
import base64
import collections
import hashlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compare import print_packages, table
from packages import HERE, NODE, PYTHON, TARGET, install

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
EXPECTED_AT_ONCE = 20
# Nothing else of the environment is passed on. A key of the real Gemini or of AWS would be used.
ENVIRONMENT = {name: os.environ[name] for name in ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR"] if name in os.environ}
# How often a candidate is started until it ends without an error.
MAX_STARTS = 3
# How often a candidate is run until a fault happens as it should.
MAX_TRIES = 40
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
    # The share of the requests, in percent, whose answer has no image. It is drawn at random for each batch, whose names
    # differ, so a run counts only if exactly this share was drawn.
    failing: int = 0

    def requests(self, images):
        """Returns the number of requests without an image."""
        return max(1, round(images * self.failing / 100)) if self.failing else 0


FAULTS = {
    "late": Fault("late output", ["--late-output", f"{LATE_SECONDS}s"], ["--late-output", "30m"], pause=LATE_SECONDS + 1),
    "lost-reply": Fault("lost reply", ["--fault", "create-batch:lost-reply:1"]),
    "crash": Fault("crash at 50 %", kill=True),
    "refusals": Fault("2 % refusals", ["--refuse", "2"], failing=2),
    "missing-lines": Fault("1 % missing lines", ["--missing", "1"], failing=1),
}
NO_FAULT = Fault("none")


@dataclass
class Job:
    """A manifest, and the SHA-256 of the image of each of its keys."""

    manifest: Path
    expected: dict[str, str]


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
    # Requests to Gemini, and to S3 and SQS.
    gemini: int = 0
    aws: int = 0
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
    parser.add_argument("--images", type=int, default=1000, help="images of the job without faults")
    parser.add_argument("--fault-images", type=int, default=100, help="images of the job with a fault, which are among the others")
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
    chosen.fault_images = min(chosen.fault_images, chosen.images)
    return chosen


class Children:
    """The processes that this program has started. None of them outlives it."""

    def __init__(self):
        self.lock, self.processes, self.is_ending = threading.Lock(), [], False

    def start(self, words, output, environment={}, **options):
        with self.lock:
            if self.is_ending:
                sys.exit("nothing is started any more")
            process = subprocess.Popen(words, env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, **options)
            self.processes.append(process)
        return process

    def end(self):
        """Kills those that are still running, and lets none start."""
        with self.lock:
            self.is_ending = True
        for process in self.processes:
            process.kill()
            process.wait()


CHILDREN = Children()


class Server:
    """A darkroom command that serves on loopback until it is stopped."""

    def __init__(self, words, log):
        self.log = log
        with log.open("wb") as output:
            self.process = CHILDREN.start(words, output)

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


def set_up(candidate, fault, seed, manifest, folder):
    """Starts the services that a candidate needs, with a fault."""
    seed = ["--seed", str(seed)]
    # Our own command has the simulated services in its own process.
    if candidate.script is None:
        options = fault.options if fault.simulated is None else fault.simulated
        words = [DARKROOM, "run", manifest, "--out", folder / "out", "--aws-log", folder / AWS_LOG, *seed, *options]
        return Setup(words, {}, [], folder / "out" / ".darkroom" / "gemini", folder / "out" / BUCKET, "jobs/*/images/*")
    gemini, address = gemini_server(folder, [*seed, *fault.options])
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
        process = CHILDREN.start(setup.words, output, setup.environment, cwd=folder)
    while is_half_done and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if is_half_done():
            process.kill()
            break
        time.sleep(0.005)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - began, usage


def run(name, fault, job, folder, seed=0):
    """Runs a candidate in a new folder, again after each error, and examines what it left behind. Returns nothing if the
    fault has not happened as it should."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "work"
    work.mkdir(parents=True)
    candidate, result = CANDIDATES[name], Result()
    setup = set_up(candidate, fault, seed, job.manifest, folder)

    def is_half_done():
        return sum(1 for _ in setup.bucket.glob(setup.images)) >= len(job.expected) // 2

    try:
        while not result.ended and result.starts < MAX_STARTS:
            if result.starts:
                time.sleep(fault.pause)
            kill = fault.kill and not result.starts
            result.starts += 1
            log = folder / f"start-{result.starts}.log"
            status, seconds, usage = start(setup, work, log, is_half_done if kill else None)
            # A busy machine may notice too late that the candidate is half done.
            if kill and status != -signal.SIGKILL:
                return None
            result.ended = status in (0, candidate.incomplete)
            result.seconds += seconds
            result.cpu += usage.ru_utime + usage.ru_stime
            result.peak = max(result.peak, usage.ru_maxrss * 1024)
        result.services_cpu = sum(server.cpu() for server in setup.servers)
    finally:
        for server in setup.servers:
            server.stop()
    charged, failed = generated_images(setup.gemini)
    if failed != fault.requests(len(job.expected)):
        return None
    examine(result, candidate, setup, job.expected, charged, folder, log)

    # A run leaves up to 300 MB. What a failed one leaves is kept.
    if result.ended:
        shutil.rmtree(setup.gemini)
        shutil.rmtree(setup.bucket)
    return result


def run_with_fault(name, fault, job):
    folder = WORK / f"{name}-{fault}"
    for seed in range(MAX_TRIES):
        if result := run(name, FAULTS[fault], job, folder, seed):
            return result
    sys.exit(f"the fault {fault} did not happen in {MAX_TRIES} runs of {name}: see {folder}")


def examine(result, candidate, setup, expected, charged, folder, log):
    """Counts the requests, and compares the images in S3 with those that Gemini charged for."""
    counters = json.loads((setup.gemini / "counters" / "counters.json").read_text())
    result.gemini = sum(counters["requests"].values())
    paths = [json.loads(line)["path"] for line in (folder / AWS_LOG).open()]
    # `darkroom serve` lists the bucket when it starts. The scripts do not.
    result.aws = len(paths) if candidate.script is None else sum(path != f"/{BUCKET}/" for path in paths)

    # The name of an object is its key and the suffix of its format.
    stored = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in setup.bucket.glob(setup.images)}
    right = {key for key, digest in stored.items() if expected.get(key) == digest}
    absent = set(expected) - right
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


def generated_images(state):
    """Returns for each key how many images the simulated Gemini charged for, and the number of requests of the first batch
    whose answer has no image, from its own records."""
    for line in (state / "requests.jsonl").open():
        if json.loads(line)["call"] != "batch-line":
            sys.exit("a candidate made a single request, which this benchmark does not count")
    charged, failed = collections.Counter(), []
    batches = [json.loads(path.read_text()) for path in (state / "batches").glob("*.json")]
    for batch in sorted(batches, key=lambda batch: batch["number"]):
        if batch["fate"] or batch["cancelled"] or batch["deleted"]:
            sys.exit(f"a candidate canceled or deleted batch {batch['id']}, which this benchmark does not count")
        lines = (state / "inputs" / batch["id"]).read_bytes()
        rows = json.loads((state / "rows" / batch["id"]).read_text())
        failed.append(sum("image" not in row["outcome"] for row in rows))
        for row in rows:
            if row["outcome"] == "missing" or "image" in row["outcome"]:
                line = json.loads(lines[row["offset"] : row["offset"] + row["length"]])
                charged[line.get("key") or line["metadata"]["key"]] += 1
    return charged, failed[0]


def expected_images(prompts):
    """Returns the SHA-256 of each key's image, from batches without faults. An image of the simulated Gemini depends only on
    its key and its request, so it is the same in each batch."""
    folder = WORK / "expected"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    server, address = gemini_server(folder, ["--live-batches", str(len(prompts))])
    keys, names = list(prompts), []
    # A batch is read as a whole. This program must remain small: see `compare`.
    for first in range(0, len(keys), EXPECTED_AT_ONCE):
        requests = [
            {"request": {"contents": [{"role": "user", "parts": [{"text": prompts[key]}]}], "generationConfig": {"responseModalities": ["IMAGE"]}},
             "metadata": {"key": key}}
            for key in keys[first : first + EXPECTED_AT_ONCE]
        ]
        batch = {"displayName": "expected", "inputConfig": {"requests": {"requests": requests}}}
        names.append(ask(f"{address}/v1beta/models/{MODEL}:batchGenerateContent", {"batch": batch})["name"])
    expected = {}
    for name in names:
        while "response" not in (operation := ask(f"{address}/v1beta/{name}")):
            time.sleep(0.2)
        results = operation["response"]["inlinedResponses"]["inlinedResponses"]
        expected |= {result["metadata"]["key"]: digest_of(result["response"]) for result in results}
    server.stop()
    shutil.rmtree(folder)
    return expected


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
    rows = [["candidate", "code lines", "seconds", "CPU s", "with services", "peak MiB", "Gemini requests", "S3 and SQS requests"]]
    for name, cost in costs.items():
        candidate = CANDIDATES[name]
        own = "" if candidate.script is None else f"{cost.cpu:.1f}"
        rows.append([candidate.title, str(candidate.lines()), f"{cost.seconds:.1f}", own, f"{cost.cpu + cost.services_cpu:.1f}",
                     f"{cost.peak / MIB:.0f}", f"{cost.gemini:.0f}", f"{cost.aws:.0f}"])
    table(rows)


def fault_table(title, results, expected):
    rows = [[title, "starts", "stored", "lost", "paid twice", "wrong", "named"]]
    for name, result in results.items():
        starts = str(result.starts) if result.ended else f"{result.starts}, all failed"
        absent = len(expected) - result.stored
        named = f"{result.named} of {absent}" if absent else ""
        counts = [result.stored, result.lost, result.twice, result.wrong]
        rows.append([CANDIDATES[name].title, starts, *map(str, counts), named])
    table(rows)


def in_short(fault, result, expected):
    """Returns what a fault has cost, in a few words."""
    absent = len(expected) - result.stored
    counts = {
        "starts": result.starts if result.starts > 1 + fault.kill else 0,
        "lost": result.lost,
        "refused": absent - result.lost,
        "paid twice": result.twice,
        "wrong": result.wrong,
        "not named": absent - result.named,
    }
    words = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(words if result.ended else ["failed", *words]) or "–"


def summary_table(costs, faults, expected):
    rows = [
        ["", *(CANDIDATES[name].title for name in costs)],
        ["lines of user code", *(str(CANDIDATES[name].lines()) for name in costs)],
        ["seconds", *(f"{cost.seconds:.1f}" for cost in costs.values())],
        ["CPU seconds, with the services", *(f"{cost.cpu + cost.services_cpu:.1f}" for cost in costs.values())],
        ["peak memory, MiB", *(f"{cost.peak / MIB:.0f}" for cost in costs.values())],
        ["requests to Gemini", *(f"{cost.gemini:.0f}" for cost in costs.values())],
        ["requests to S3 and SQS", *(f"{cost.aws:.0f}" for cost in costs.values())],
    ]
    for name, results in faults.items():
        fault = FAULTS[name]
        rows.append([fault.title, *(in_short(fault, result, expected) for result in results.values())])
    table(rows)


def new_job(name, prompts, images):
    """Writes the manifest of a job."""
    manifest = WORK / f"{name}.csv"
    manifest.write_text("key,prompt\n" + "".join(f"{key},{prompt}\n" for key, prompt in prompts.items()))
    return Job(manifest, {key: images[key] for key in prompts})


def compare(chosen, pool):
    prompts = {f"image-{number:04}": f"A tile with the number {number}" for number in range(chosen.images)}
    images = expected_images(prompts)
    job = new_job("manifest", prompts, images)
    small = new_job("faults", dict(list(prompts.items())[: chosen.fault_images]), images)

    # Candidates alternate, one at a time.
    runs = {name: [] for name in chosen.only}
    for _ in range(chosen.runs):
        for name in chosen.only:
            result = run(name, NO_FAULT, job, WORK / name)
            if (result.stored, result.wrong, result.twice, result.starts) != (len(prompts), 0, 0, 1) or not result.ended:
                sys.exit(f"{name} did not make all images: {result}; see {WORK / name}")
            runs[name].append(result)
    print(f"{len(prompts)} images of 1K, from a manifest to S3\n")
    costs = {name: medians(results) for name, results in runs.items()}
    # Linux counts the memory of the process that starts a program as the program's own.
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if min(cost.peak for cost in costs.values()) <= own_peak:
        sys.exit(f"peak memory can't be measured from a process that has used {own_peak / MIB:.0f} MiB itself")
    cost_table(costs)

    # No time is measured here, so two runs share the machine.
    print(f"{len(small.expected)} of the images, with a fault\n")
    tasks = {
        fault: {name: pool.submit(run_with_fault, name, fault, small) for name in chosen.only} for fault in chosen.faults
    }
    faults = {fault: {name: task.result() for name, task in running.items()} for fault, running in tasks.items()}
    for fault, results in faults.items():
        fault_table(FAULTS[fault].title, results, small.expected)
    print("In short\n")
    summary_table(costs, faults, small.expected)


def main():
    chosen = arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    scripts = [CANDIDATES[name].script or "" for name in chosen.only]
    python = any(script.endswith(".py") for script in scripts) and PYTHON_PACKAGES
    node = any(script.endswith(".mjs") for script in scripts) and NODE_PACKAGES
    install(python, node)
    print_packages("release", python, node)

    # The default action of this signal would leave the processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    pool = ThreadPoolExecutor(2)
    try:
        compare(chosen, pool)
    finally:
        CHILDREN.end()
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
