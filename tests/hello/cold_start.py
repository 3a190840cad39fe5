"""Measures the start of each function, compared with a minimal Rust function:

    python cold_start.py FOLDER_OF_ZIPS HELLO SERVICES

It prints the size of each zip, the time and the instructions from the start of the program until it
requests its first event from Lambda's runtime API, and both for its first event. The event names a
job that does not exist, so handling it takes the first calls of S3 and SQS and little else. The
runtime API is simulated on loopback, and SERVICES, the program `bench`, simulates S3 and SQS behind
TLS. Programs trust this machine's root certificates in addition to that of SERVICES, because reading
them is a part of the first event on Lambda too.

The programs are started in turn, and the medians of the times are printed. Instructions are counted
by valgrind, so they do not depend on what else runs on the machine."""

import argparse
import http.server
import json
import os
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 41
# The variables that the template sets, apart from the addresses of AWS.
ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_REGION": "us-east-1",
    "GEMINI_API_KEY_PARAMETER": "/measured",
    "PATH": os.environ["PATH"],
}
# A sample of the event that each function gets, in the folder `events`. The function `sweep` gets
# that of its schedule, whose content is ignored.
EVENTS = {
    "hello": "results",
    "plan": "manifests-put",
    "submit": "shards",
    "poll": "polls",
    "collect": "results",
    "generate": "shards",
    "report": "reports",
    "thumbs": "results",
    "control": "manifests-put",
    "notify": "notifications",
}


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    """Hands out one event, and records when it is requested and when the response arrives."""

    protocol_version = "HTTP/1.1"
    event = None
    times = []
    ended = threading.Event()

    def do_GET(self):
        self.record()
        if RuntimeApi.event is None:
            time.sleep(3600)
        event, RuntimeApi.event = RuntimeApi.event, None
        self.respond(200, event, {
            "lambda-runtime-aws-request-id": "0",
            "lambda-runtime-deadline-ms": str(int(time.time() * 1000) + 900_000),
            "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:000000000000:function:measured",
        })

    def do_POST(self):
        self.record()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.respond(202, b"", {})

    def respond(self, status, body, headers):
        self.send_response(status)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def record(self):
        RuntimeApi.times.append(time.perf_counter())
        if len(RuntimeApi.times) == self.server.wanted:
            RuntimeApi.ended.set()

    def log_message(self, *_):
        pass


class Measurement:
    def __init__(self, folder, services):
        self.profile = Path(folder) / "profile"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        roots = Path(folder) / "roots.pem"
        roots.write_text(Path(ssl.get_default_verify_paths().cafile).read_text() + Path(services["authority"]).read_text())
        self.environment = ENVIRONMENT | services["environment"] | {
            "AWS_ENDPOINT_URL": services["aws"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_address[1]}",
            "BUCKET": services["bucket"],
            "SSL_CERT_FILE": str(roots),
        }

    def run(self, words, event):
        """Runs a program until it requests its first event, or if there is an event, until it has
        responded to it. Returns the times of its requests, in ms since the one before or the start."""
        RuntimeApi.event, RuntimeApi.times = event, []
        RuntimeApi.ended.clear()
        self.server.wanted = 2 if event else 1
        begun = time.perf_counter()
        process = subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        ended = RuntimeApi.ended.wait(60)
        process.terminate()
        output, _ = process.communicate()
        if not ended:
            sys.exit(f"{words[-1]} did not send its requests within 60 s: {output.decode(errors='replace')}")
        times = [begun, *RuntimeApi.times[:self.server.wanted]]
        return [(after - before) * 1000 for before, after in zip(times, times[1:])]

    def instructions(self, binary, event):
        """Returns the instructions of a run, in millions."""
        self.run(["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={self.profile}", binary], event)
        return int(re.search(r"^(?:summary|totals): (\d+)", self.profile.read_text(), re.M)[1]) / 1e6


def event_of(function):
    return (ROOT / "events" / f"{EVENTS[function]}.json").read_bytes() if function in EVENTS else b"{}"


def unpacked(zips, folder):
    """Returns the program of each zip, and the size of the zip."""
    found = {}
    for path in sorted(zips.glob("*.zip")):
        binary = Path(folder) / path.stem
        binary.write_bytes(zipfile.ZipFile(path).read("bootstrap"))
        binary.chmod(0o755)
        found[path.stem] = binary, path.stat().st_size
    if not found:
        sys.exit(f"no zips found in {zips}")
    return found


def measure(programs, measurement):
    """Returns the median times and the instructions of each program, to the first request and for the
    first event."""
    events = {name: event_of(name) for name in programs}
    times = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, (binary, _) in programs.items():
            times[name].append(measurement.run([binary], events[name]))
    found = {}
    for name, (binary, _) in programs.items():
        start = measurement.instructions(binary, None)
        both = measurement.instructions(binary, events[name])
        medians = [statistics.median(column) for column in zip(*times[name])]
        found[name] = *medians, start, both - start
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zips", type=Path)
    parser.add_argument("hello", type=Path)
    parser.add_argument("services", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        services = subprocess.Popen([chosen.services, "serve", "--folder", folder], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
        try:
            measurement = Measurement(folder, json.loads(services.stdout.readline()))
            programs = {"hello": (chosen.hello, None)} | unpacked(chosen.zips, folder)
            found = measure(programs, measurement)
        finally:
            services.stdin.close()
            services.wait()
    hello = found["hello"]
    print("| function | zip MB | start ms | × hello | start M instr. | × hello | first event ms | M instr. |")
    print("| -------- | -----: | -------: | ------: | -------------: | ------: | -------------: | -------: |")
    for name, (start, first, start_instructions, first_instructions) in found.items():
        size = programs[name][1]
        cells = [f"{name:8}", f"{size / 1e6:6.2f}" if size else f"{'':6}",
                 f"{start:8.1f}", f"{start / hello[0]:7.2f}",
                 f"{start_instructions:14.2f}", f"{start_instructions / hello[2]:7.2f}",
                 f"{first:14.1f}", f"{first_instructions:8.2f}"]
        print(f"| {' | '.join(cells)} |")


main()
