"""Tests the deployed stack: the packaged programs, the real template, and enforced permissions.

    deployed.py TEMPLATE DARKROOM [--without FUNCTION:ACTION | --every-permission [SHARE]]

TEMPLATE is the output of infra/package. DARKROOM is the command that serves the simulated Gemini.
--without removes a permission from a function's role after the deployment. The test must then fail;
if it passes, it proves nothing about that permission. --every-permission instead takes each permission
of infra/permissions.csv away once, for as long as it takes until a call is denied, which takes about
an hour. With a SHARE such as 2/3, it takes every third permission, beginning with the second, so that
several processes can share the work."""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import doctor
import events
import lanes
import used_permissions
from stack import ROOT, Failed, account, end, expect

# If this text is found anywhere except in SSM, the key has leaked.
CANARY = "canary-5up3r-53cr37-4p1-k3y"
KEY_NAME = "/darkroom/gemini-api-key"
STACK = "darkroom"
FUNCTIONS = ["plan", "submit", "poll", "collect", "generate", "report", "thumbs", "control",
             "notify", "sweep"]
SAMPLES = ROOT / "events/manifests"
# The second batch never begins: it is the one that is canceled. Gemini cancels the fifth, one of two
# batches of the job of 2,000 items, after half of its images.
SCENARIO = ["--batch-seconds", "28..30", "--stuck-pending", "2", "--cancelled", "5", *lanes.SCENARIO]
SHORT_BATCHES = ["--batch-seconds", "2..3"]


class Deployment:
    """A stack with its simulated Gemini, and the actions of its users."""

    def __init__(self, here, gemini, outputs):
        self.here, self.gemini, self.aws = here, gemini, Path(sys.executable).parent / "aws"
        self.s3, self.sqs, self.logs = here.client("s3"), here.client("sqs"), here.client("logs")
        self.bucket = outputs["BucketName"]
        self.queues = {url.rsplit("-", 1)[1]: url for url in outputs["QueueUrls"].split()}
        self.dead = {url.rsplit("-", 2)[1]: url for url in outputs["DeadLetterQueueUrls"].split()}

    def run_aws(self, *arguments):
        """Runs the aws command, as a user types it, and returns its output."""
        ran = subprocess.run([self.aws, *map(str, arguments)], env=self.here.environment, text=True, capture_output=True)
        if ran.returncode != 0:
            raise Failed(f"aws {' '.join(map(str, arguments))}: {ran.stderr}")
        return ran.stdout

    def store_key(self):
        """Stores the API key from a file, as the README asks of users."""
        key = self.here.log.parent / "gemini-api-key.txt"
        key.write_text(CANARY + "\n")
        self.run_aws("ssm", "put-parameter", "--name", KEY_NAME, "--type", "SecureString", "--value", f"file://{key}")
        key.unlink()

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def job_of(self, name):
        """Returns the folder of the job that a manifest of this name became, or None before it
        exists."""
        found = {key.split("/")[1] for key in self.keys(f"jobs/{name}-")}
        return f"jobs/{found.pop()}/" if found else None

    def finished(self, name, seconds=180):
        """Waits until a job has its marker. Returns its folder and the marker's name."""
        def ended():
            if job := self.job_of(name):
                for marker in ["_SUCCESS", "_PARTIAL", "_FAILED", "_REJECTED", "_CANCELLED", "_DRY_RUN"]:
                    if self.keys(job + marker):
                        return job, marker

        return self.wait_until(ended, seconds, f"{name} is not finished")

    def submitted(self, name, seconds=60):
        """Waits until the first shard of a job has its batch. Returns the job's folder."""
        def is_submitted():
            for state in self.keys(f"{self.job_of(name) or 'jobs/none/'}shards/0000/state.json"):
                if json.loads(self.read(state))["phase"]["name"] == "submitted":
                    return self.job_of(name)

        return self.wait_until(is_submitted, seconds, f"{name} has no batch")

    def wait_until(self, looks, seconds, otherwise):
        """Calls `looks` until it returns a true value, and returns that. After the deadline it fails
        with the status of all jobs and the last warnings of the functions."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if seen := looks():
                return seen
            time.sleep(0.5)
        jobs = "\n".join(self.read(key).decode() for key in self.keys("jobs/") if key.endswith("/job.json"))
        raise Failed(f"{otherwise} after {seconds} s:\n{jobs}\n{self.complaints()}")

    def log_lines(self, function):
        """Returns all log lines of a function, as objects."""
        group, lines = f"/aws/lambda/{STACK}-{function}", []
        for page in self.logs.get_paginator("filter_log_events").paginate(logGroupName=group):
            for event in page["events"]:
                with contextlib.suppress(ValueError):
                    line = json.loads(event["message"])
                    if isinstance(line, dict):
                        lines.append(line)
        return lines

    def complaints(self):
        """Returns the last warnings and errors of all functions."""
        found = []
        for function in FUNCTIONS:
            with contextlib.suppress(Exception):
                lines = [line for line in self.log_lines(function) if line.get("level") in ("WARN", "ERROR")]
                found += [f"{function}: {line['message']}" for line in lines[-3:]]
        return "\n".join(found) or "no function logged a warning or an error"

    def batches(self):
        """Returns how many batches were ever created at Gemini."""
        request = urllib.request.Request(f"{self.gemini}/v1beta/batches?pageSize=1000",
                                         headers={"x-goog-api-key": CANARY})
        with urllib.request.urlopen(request) as answer:
            return len(json.load(answer).get("operations", []))


# It is the first check, because every wait depends on it.
def a_message_returns_when_its_visibility_timeout_ends(at):
    at.run_aws("s3", "cp", SAMPLES / "first.csv", f"s3://{at.bucket}/inbox/")
    _, marker = at.finished("first")
    expect(marker == "_SUCCESS", marker)
    # Each status request is a delivery of the same message. The ages of the batch show when they were.
    # The log arrives a little later than the images.
    asked = lambda: [line["BatchAge"] for line in at.log_lines("poll") if "BatchAge" in line]
    ages = at.wait_until(lambda: ages if len(ages := asked()) >= 3 else None, 60, "the batch was not asked about three times")
    waits = [later - sooner for sooner, later in zip(ages, ages[1:])]
    # Ten seconds less a tenth, plus the time of a delivery; the queue's own visibility is 90 minutes.
    expect(all(8.7 < wait < 40 for wait in waits), f"asked at {ages} s")


def a_sweep_counts_the_batch_that_is_live(at):
    at.s3.put_object(Bucket=at.bucket, Key="inbox/regretted.csv", Body=(SAMPLES / "first.csv").read_bytes(),
                     Metadata={"run": "2"})
    at.submitted("regretted")
    # The schedule is due in an hour, but an operator may sweep at any time.
    answer = at.here.log.parent / "sweep.json"
    invoked = json.loads(at.run_aws("lambda", "invoke", "--function-name", f"{STACK}-sweep", answer))
    expect("FunctionError" not in invoked, f"{invoked}: {answer.read_text()}\n{at.complaints()}")
    counted = {name: value for line in at.log_lines("sweep") for name, value in line.items()}
    wanted = {"Sweeps": 1, "LiveBatches": 1, "StaleShards": 0, "ExtraBatches": 0, "OrphanBatches": 0}
    found = {name: counted.get(name, 0) for name in wanted}
    expect(found == wanted, f"{found}\n{at.complaints()}")
    expect(at.keys("stack/ledger.json"), "the ledger does not exist")


def a_canceled_job_ends_with_its_marker(at):
    job = at.submitted("regretted")
    at.run_aws("s3api", "put-object", "--bucket", at.bucket, "--key", f"control/{job.split('/')[1]}/cancel")
    _, marker = at.finished("regretted")
    expect(marker == "_CANCELLED", marker)
    statuses = [json.loads(line)["status"] for line in at.read(job + "results.jsonl").splitlines()]
    expect(statuses == ["cancelled"] * 5, statuses)
    expect(not at.keys(job + "images/"), "a batch that never began has images")


def images_appear(at):
    at.run_aws("s3", "sync", SAMPLES / "refs", f"s3://{at.bucket}/refs/")
    at.run_aws("s3", "cp", SAMPLES / "catalog.csv", f"s3://{at.bucket}/inbox/acme/")
    job, marker = at.finished("catalog")
    expect(marker == "_SUCCESS", marker)
    images = at.keys(job + "images/")
    expect(len(images) == 27, f"{len(images)} images")
    expect(all(at.read(key).startswith(b"\xff\xd8") for key in images), "not all of them are JPEG files")


def a_second_drop_buys_nothing(at):
    bought = at.batches()
    at.run_aws("s3", "cp", SAMPLES / "catalog.csv", f"s3://{at.bucket}/inbox/acme/")
    # Under another key it is rejected, and the report names its job.
    at.run_aws("s3", "mv", f"s3://{at.bucket}/inbox/acme/catalog.csv", f"s3://{at.bucket}/inbox/moved.csv")
    moved, marker = at.finished("moved")
    expect(marker == "_REJECTED", marker)
    expect(b"same_content" in at.read(moved + "validation.csv"), "the report does not give the reason")
    events.nothing_is_pending(at)
    before = at.keys("jobs/")
    # A bad manifest follows. Once it is rejected, the one before it has been handled as well.
    at.s3.put_object(Bucket=at.bucket, Key="inbox/bad.csv", Body=b"key,promt\na,a stone\n")
    job, marker = at.finished("bad")
    expect(marker == "_REJECTED", marker)
    expect(b"promt" in at.read(job + "validation.csv"), "the report does not name the wrong column")
    expect(at.batches() == bought, "batches were bought")
    expect([key for key in at.keys("jobs/") if not key.startswith(job)] == before, "objects were added")


def a_dry_run_ends_with_its_estimate(at):
    bought = at.batches()
    at.run_aws("s3", "cp", SAMPLES / "first.csv", f"s3://{at.bucket}/inbox/estimate.csv", "--metadata", "mode=dry_run")
    job, marker = at.finished("estimate")
    expect(marker == "_DRY_RUN", marker)
    estimate = json.loads(at.read(job + "job.json"))["plan"]["estimate"]
    expect(estimate["batch_usd"] > 0 and at.batches() == bought, estimate)


def a_missing_document_blocks_a_job_until_it_is_back(at):
    job, _ = at.finished("first")
    lock = at.read(job + "plan.lock")
    for key in ["plan.lock", "_SUCCESS"]:
        at.s3.delete_object(Bucket=at.bucket, Key=job + key)
    look = {"QueueUrl": at.queues["reports"], "MessageBody": json.dumps({"v": 1, "job": job.split("/")[1]})}
    at.sqs.send_message(**look)
    status = lambda: json.loads(at.read(job + "job.json"))
    at.wait_until(lambda: status()["phase"] == "blocked", 180, "the job is not blocked")
    expect("plan.lock is missing" in status()["blocker"]["what"], status()["blocker"])

    at.s3.put_object(Bucket=at.bucket, Key=job + "plan.lock", Body=lock)
    at.sqs.send_message(**look)
    _, marker = at.finished("first")
    expect(marker == "_SUCCESS", marker)


def count(at, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(int(n) for n in at.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values())


def a_job_of_2000_items(at):
    items = [json.dumps({"key": f"stone/{number:04}", "prompt": "a stone"}) for number in range(2000)]
    at.s3.put_object(Bucket=at.bucket, Key="inbox/stones.jsonl", Body="\n".join(items).encode())
    job, marker = at.finished("stones", 600)
    expect(marker == "_SUCCESS", marker)
    expect(len(at.keys(job + "images/")) == 2000, "images are missing")
    # One of the two batches was canceled halfway, so a round has requested the rest again.
    summary = json.loads(at.read(job + "summary.json"))
    expect(len(summary["shards"]) == 3, f"{len(summary['shards'])} shards, with rounds")
    expect(any("/keys/" in key for key in at.keys(job + "shards/")), "no list has the keys of a round")


def no_function_was_denied_access(at):
    text = "\n".join(json.dumps(line) for function in FUNCTIONS for line in at.log_lines(function))
    expect("AccessDenied" not in text, f"a function was denied something:\n{at.complaints()}")
    logged = {field for function in FUNCTIONS for line in at.log_lines(function) for field in line}
    wanted = {"timestamp", "level", "message", "service", "cold_start", "function_name", "function_request_id",
              "correlation_id", "shard", "ImagesSucceeded", "ShardsDone", "CostUsd"}
    expect(wanted <= logged, f"no log line has {wanted - logged}")


def every_permission_was_needed(at):
    used_permissions.every_permission_was_needed(at, STACK)


def the_key_is_nowhere(at):
    """Searches objects, queues, logs, environments, the template and MiniStack's own log."""
    places = {f"s3://{at.bucket}/{key}": at.read(key) for key in at.keys("") if not key.endswith(".jpg")}
    places["images"] = b"".join(at.read(key) for key in at.keys("jobs/") if "/first/" in key)
    for name, url in (at.queues | {f"{name}-dead": url for name, url in at.dead.items()}).items():
        received = at.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0,
                                          MessageAttributeNames=["All"])
        places[f"queue {name}"] = json.dumps(received, default=str).encode()
    functions, formation = at.here.client("lambda"), at.here.client("cloudformation")
    for function in FUNCTIONS:
        configuration = functions.get_function_configuration(FunctionName=f"{STACK}-{function}")
        places[f"configuration of {function}"] = json.dumps(configuration, default=str).encode()
        group = f"/aws/lambda/{STACK}-{function}"
        pages = at.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        logged = "\n".join(event["message"] for page in pages for event in page["events"])
        expect(logged, f"{function} has logged nothing")
        places[f"log of {function}"] = logged.encode()
    places["template"] = json.dumps(formation.get_template(StackName=STACK), default=str).encode()
    places["events of the stack"] = json.dumps(formation.describe_stack_events(StackName=STACK), default=str).encode()
    places["log of the account"] = at.here.log.read_bytes()
    found = [place for place, content in places.items() if CANARY.encode() in content]
    expect(not found, f"the key is in {', '.join(found)}")
    print(f"   {len(places)} places searched")


def deploy_again(at, deploy):
    """Deletes the stack, which keeps its bucket, and deploys it again over that bucket."""
    at.here.delete(STACK)
    kept = at.keys("jobs/")
    expect(kept, "the bucket was deleted with the stack")
    ran = subprocess.run([ROOT / "infra/adopt", STACK, at.bucket], text=True, capture_output=True,
                         env=at.here.environment | {"PATH": f"{at.aws.parent}:{os.environ['PATH']}"})
    expect(ran.returncode == 0, f"infra/adopt: {ran.stderr}")
    deploy(BucketName=at.bucket)
    expect(at.keys("jobs/") == kept, "the deployment has changed objects")
    # A job of the earlier stack is still known, and a new one is made.
    bought = at.batches()
    at.run_aws("s3", "cp", SAMPLES / "catalog.csv", f"s3://{at.bucket}/inbox/acme/again.csv")
    _, marker = at.finished("again")
    expect(marker == "_REJECTED" and at.batches() == bought, marker)
    lanes.drop(at, "afterwards", lanes.stones("afterwards", 1, lane="interactive"))
    lanes.succeeded(at, "afterwards", 1)


CHECKS = [
    a_message_returns_when_its_visibility_timeout_ends,
    a_sweep_counts_the_batch_that_is_live,
    a_canceled_job_ends_with_its_marker,
    images_appear,
    a_second_drop_buys_nothing,
    a_dry_run_ends_with_its_estimate,
    *doctor.CHECKS,
    a_missing_document_blocks_a_job_until_it_is_back,
    a_job_of_2000_items,
    *lanes.CHECKS,
    *events.CHECKS,
    no_function_was_denied_access,
    every_permission_was_needed,
    the_key_is_nowhere,
]


@contextlib.contextmanager
def simulated_gemini(darkroom, folder, scenario=SCENARIO):
    """Serves the simulated Gemini on loopback. It accepts only the canary as key."""
    log = folder / "gemini.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [darkroom, "gemini", "--port", "0", "--state", folder / "gemini", "--require-key",
             *scenario],
            env={"GEMINI_API_KEY": CANARY, "PATH": os.environ["PATH"]}, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)
    try:
        for _ in range(100):
            if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
                break
            time.sleep(0.1)
        else:
            raise Failed(f"the simulated Gemini did not start within 10 s: {log.read_text()}")
        yield found.group()
    finally:
        end(process)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", type=Path)
    parser.add_argument("darkroom", type=Path)
    parser.add_argument("--without", metavar="FUNCTION:ACTION", help="such as collect:s3:PutObject")
    parser.add_argument("--every-permission", metavar="SHARE", nargs="?", const="1/1",
                        help="take each permission away once; 2/3: only the second of three shares")
    chosen = parser.parse_args()
    scenario = [*SHORT_BATCHES, *used_permissions.SCENARIO] if chosen.every_permission else SCENARIO
    with (account() as here, simulated_gemini(chosen.darkroom, here.log.parent, scenario) as gemini,
          events.subscribers(here) as subscribers):
        topic = doctor.alarm_topic(here)

        def deploy(**parameters):
            here.deploy(chosen.template, STACK, GeminiBaseUrl=gemini, PollShortestSeconds=10, PollLongestSeconds=180,
                        **lanes.PARAMETERS, **topic, **subscribers.parameters, **parameters)

        print("-- deploy", flush=True)
        deploy()
        if chosen.without:
            function, action = chosen.without.split(":", 1)
            used_permissions.take_away(here, STACK, function, lambda taken, _: taken == action)
        at = Deployment(here, gemini, here.outputs(STACK))
        at.stack, at.darkroom = STACK, chosen.darkroom
        at.store_key()
        at.subscribers = subscribers
        try:
            if chosen.every_permission:
                used_permissions.take_each_away(at, STACK, chosen.every_permission)
                return
            for check in CHECKS:
                print(f"-- {check.__name__.replace('_', ' ')}", flush=True)
                check(at)
            print("-- a new stack takes over a bucket that was kept", flush=True)
            deploy_again(at, deploy)
        except Failed as failure:
            sys.exit(f"failed: {failure}")
        here.delete(STACK)
    print("the deployed stack: all checks passed")


if __name__ == "__main__":
    main()
