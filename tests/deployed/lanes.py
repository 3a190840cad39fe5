"""Checks of the synchronous lanes and of proofs, which deployed.py runs after its own."""

import json

from stack import expect

# The answer to the first synchronous request is lost, the seventh is refused, and the flex tier has no capacity. The batch of
# the last check never begins. It is the eleventh: the checks of deployed.py make seven, one of them
# for a round, and those here make three before it.
SCENARIO = ["--fault", "generate-content:lost-reply:1", "--fault", "generate-content:400:7", "--flex-capacity", "0", "--stuck-pending", "11"]
PARAMETERS = {"FlexPatienceMinutes": 1}


def drop(at, name, items, **job):
    """Drops a manifest of these items. `job` holds the fields of the job, if it has any."""
    lines = [{"manifest": {"version": 1, "job": job}}] * bool(job) + items
    at.s3.put_object(Bucket=at.bucket, Key=f"inbox/{name}.jsonl", Body="\n".join(map(json.dumps, lines)).encode())


def stones(name, count, **fields):
    return [{"key": f"{name}/{number}", "prompt": f"stone number {number}"} | fields for number in range(count)]


def control(at, job, word):
    at.s3.put_object(Bucket=at.bucket, Key=f"control/{job.split('/')[1]}/{word}")


class Requests:
    """The requests that the simulated Gemini has received since the object was made."""

    def __init__(self, at):
        self.log = at.here.log.parent / "gemini" / "requests.jsonl"
        self.before = len(self.log.read_text().splitlines())

    def made(self, call):
        """Returns the log's entries for one kind of call: generate-content or batch-line."""
        entries = map(json.loads, self.log.read_text().splitlines()[self.before:])
        return [entry for entry in entries if entry["call"] == call]

    def expect(self, single, in_batches):
        """Fails unless there were as many single requests and lines of batches."""
        found = (len(self.made("generate-content")), len(self.made("batch-line")))
        expect(found == (single, in_batches), f"{found[0]} single requests and {found[1]} lines of batches")


def results(at, job):
    return [json.loads(line) for line in at.read(job + "results.jsonl").splitlines()]


def succeeded(at, name, images, seconds=180):
    """Waits until a job has ended with all of its images. Returns its folder."""
    job, marker = at.finished(name, seconds)
    expect(marker == "_SUCCESS", marker)
    found = at.keys(job + "images/")
    expect(len(found) == images, f"{len(found)} images")
    return job


def interactive_images_are_requested_one_by_one(at):
    requests = Requests(at)
    drop(at, "quick", stones("quick", 5, lane="interactive"))
    job = succeeded(at, "quick", 5)
    lines = results(at, job)
    expect(all((line["lane"], line["batch_name"]) == ("interactive", None) for line in lines), lines)
    # The image whose answer was lost is requested again in a round, and both requests are reported.
    requests.expect(single=6, in_batches=0)
    expect(sorted(line["attempts"] for line in lines) == [1, 1, 1, 1, 2], lines)
    expect(any("/keys/" in key for key in at.keys(job + "shards/")), "no list has the keys of the round")
    unaccounted = json.loads(at.read(job + "summary.json"))["cost"]["unaccounted"]
    expect(unaccounted["requests"] == 1, unaccounted)


def a_refused_image_leaves_its_job_partial(at):
    drop(at, "refused", stones("refused", 2, lane="interactive"))
    job, marker = at.finished("refused")
    expect(marker == "_PARTIAL", marker)
    expect(len(at.keys(job + "images/")) == 1, at.keys(job + "images/"))


def proof(at, name):
    """Drops six items of which two are a proof, and waits until the others are held. Returns the
    job's folder and the requests that were made for it."""
    requests = Requests(at)
    drop(at, name, stones(name, 6), proof={"count": 2, "hold": True})

    def is_held():
        job = at.job_of(name)
        if job and at.keys(job + "job.json"):
            status = json.loads(at.read(job + "job.json"))
            if sorted(shard["phase"] for shard in status.get("shards", [])) == ["done", "held"]:
                return job, json.dumps(status)

    job, status = at.wait_until(is_held, 180, f"{name} has no proof")
    expect(len(at.keys(job + "images/")) == 2, at.keys(job + "images/"))
    expect("/approve" in status, f"how to approve is not explained: {status}")
    requests.expect(single=2, in_batches=0)
    return job, requests


def a_proof_holds_the_other_images_until_it_is_approved(at):
    job, requests = proof(at, "settled")
    control(at, job, "approve")
    succeeded(at, "settled", 6)
    # Each image was requested once.
    requests.expect(single=2, in_batches=4)


def a_job_that_is_canceled_after_its_proof_has_bought_nothing_else(at):
    job, requests = proof(at, "dropped")
    control(at, job, "cancel")
    _, marker = at.finished("dropped")
    expect(marker == "_CANCELLED", marker)
    statuses = [line["status"] for line in results(at, job)]
    expect(statuses.count("succeeded") == 2 and len(statuses) == 6, statuses)
    requests.expect(single=2, in_batches=0)


def a_proof_without_a_hold_releases_the_other_images(at):
    requests = Requests(at)
    drop(at, "unheld", stones("unheld", 6), proof={"count": 2, "hold": False})
    succeeded(at, "unheld", 6)
    requests.expect(single=2, in_batches=4)


def flex_images_without_capacity_come_in_a_batch(at):
    requests = Requests(at)
    drop(at, "patient", stones("patient", 2, lane="flex", model="nano-banana-pro"))
    job = succeeded(at, "patient", 2, 300)
    expect([line["lane"] for line in results(at, job)] == ["batch", "batch"], results(at, job))
    refused = requests.made("generate-content")
    expect(all((entry["tier"], entry["status"]) == ("flex", 503) for entry in refused), refused)


def a_late_batch_is_replaced_by_single_requests(at):
    drop(at, "late", stones("late", 1), within="2m", rescue="interactive")
    job = succeeded(at, "late", 1, 300)
    expect([line["lane"] for line in results(at, job)] == ["interactive"], results(at, job))


CHECKS = [
    interactive_images_are_requested_one_by_one,
    a_refused_image_leaves_its_job_partial,
    a_proof_holds_the_other_images_until_it_is_approved,
    a_job_that_is_canceled_after_its_proof_has_bought_nothing_else,
    a_proof_without_a_hold_releases_the_other_images,
    flex_images_without_capacity_come_in_a_batch,
    a_late_batch_is_replaced_by_single_requests,
]
