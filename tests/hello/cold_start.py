"""Prints the size of each function's zip, and the time from its start until it requests its first
event from Lambda's runtime API, compared with a minimal Rust function:

    python cold_start.py FOLDER_OF_ZIPS HELLO

The runtime API is simulated on loopback. The programs are started in turn, and the medians are
printed."""

import argparse
import http.server
import os
import statistics
import subprocess
import tempfile
import threading
import time
import zipfile
from pathlib import Path

ROUNDS = 41
# The variables that the template sets. None of the addresses is contacted before the first event.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_REGION": "us-east-1",
    "AWS_SECRET_ACCESS_KEY": "test",
    "BUCKET": "measured",
    "GEMINI_API_KEY_PARAMETER": "/measured",
    "PATH": os.environ["PATH"],
} | {f"{queue}_QUEUE_URL": f"http://127.0.0.1:1/{queue}"
     for queue in ["MANIFESTS", "SHARDS", "POLLS", "RESULTS", "GENERATIONS", "REPORTS", "THUMBNAILS",
                    "CONTROLS"]}


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    """Records when the first event is requested, and never returns one."""

    asked = threading.Event()
    at = 0.0

    def do_GET(self):
        if self.path.endswith("/invocation/next"):
            RuntimeApi.at = time.perf_counter()
            RuntimeApi.asked.set()
        time.sleep(3600)

    def log_message(self, *_):
        pass


def start(binary, api):
    """Returns the milliseconds from the start of the process to its first request."""
    RuntimeApi.asked.clear()
    begun = time.perf_counter()
    process = subprocess.Popen([binary], env=ENVIRONMENT | {"AWS_LAMBDA_RUNTIME_API": api}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        if not RuntimeApi.asked.wait(20):
            process.kill()
            output = process.stdout.read().decode(errors="replace")
            raise SystemExit(f"{binary} did not request an event within 20 s: {output}")
        return (RuntimeApi.at - begun) * 1000
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zips", type=Path)
    parser.add_argument("hello", type=Path)
    chosen = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = f"127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as folder:
        programs, sizes = {"hello": chosen.hello}, {"hello": (None, chosen.hello.stat().st_size)}
        for path in sorted(chosen.zips.glob("*.zip")):
            binary = Path(folder) / path.stem
            binary.write_bytes(zipfile.ZipFile(path).read("bootstrap"))
            binary.chmod(0o755)
            programs[path.stem], sizes[path.stem] = binary, (path.stat().st_size, binary.stat().st_size)
        if len(programs) < 2:
            raise SystemExit(f"no zips found in {chosen.zips}")
        times = {name: [] for name in programs}
        for _ in range(ROUNDS):
            for name, binary in programs.items():
                times[name].append(start(binary, api))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| function | zip MB | unzipped MB | to the first /next, × hello |")
    print("| -------- | ------ | ----------- | --------------------------- |")
    for name, (zipped, plain) in sizes.items():
        shown = f"{zipped / 1e6:6.2f}" if zipped else "      "
        print(f"| {name:8} | {shown} | {plain / 1e6:11.2f} | {medians[name] / medians['hello']:27.2f} |")


main()
