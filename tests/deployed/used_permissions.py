"""The permissions of the functions, as infra/permissions.csv lists them, and which of them a run of
the deployed stack has used."""

import csv
import json
import re
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase

from events import SECRET_NAME
from stack import ROOT, expect

LIST = ROOT / "infra/permissions.csv"
# The value of `shown by` for a permission without which a call in tests/deployed is denied.
DEPLOYED = "tests/deployed"


@dataclass(frozen=True)
class Permission:
    """A line of the list: an action on a resource that a function's role permits."""

    function: str
    action: str
    resource: str
    needed_for: str
    shown_by: str

    def __str__(self):
        return f"{self.function}: {self.action} on {self.resource}"

    def permits(self, action, resource):
        return action == self.action and fnmatchcase(resource, self.resource)


def listed():
    """Reads the list."""
    with LIST.open(newline="") as file:
        return [Permission(*row.values()) for row in csv.DictReader(file)]


def short(arn, bucket, stack):
    """Returns a resource as the list names it: `bucket/KEY`, `queue NAME`, and so on."""
    if not arn.startswith("arn:"):
        return arn
    service, name = arn.split(":")[2], arn.split(":", 5)[-1]
    match service:
        case "s3":
            return re.sub(rf"^{re.escape(bucket)}(?=/|$)", "bucket", name)
        case "sqs":
            return f"queue {name.removeprefix(f'{stack}-')}"
        case "logs":
            return "log group"
        case "ssm":
            return "secret of the webhook" if name.endswith(SECRET_NAME) else "Gemini key"
        case "events":
            return "bus of events"
        case "sns":
            return "topic of events"
    return arn


def calls(at, stack):
    """Yields the calls that the roles of the functions have made: function, action, resource, and
    whether it was permitted."""
    lambdas, functions = at.here.client("lambda"), sorted({permission.function for permission in listed()})
    roles = {lambdas.get_function_configuration(FunctionName=f"{stack}-{function}")["Role"].rsplit("/", 1)[1]: function
             for function in functions}
    for line in at.here.calls.read_text().splitlines():
        call = json.loads(line)
        if call["role"] in roles:
            yield roles[call["role"]], call["action"], short(call["resource"], at.bucket, stack), call["allowed"]


def unused(permissions, made):
    """Returns the permissions that no call has needed. A call needs a permission if no other one of
    its function permits it."""
    needed = set()
    for function, action, resource, _ in made:
        by = [each for each in permissions if each.function == function and each.permits(action, resource)]
        if len(by) == 1:
            needed.update(by)
    return [each for each in permissions if each not in needed]


def every_permission_was_needed(at, stack):
    permissions = listed()
    made = [call for call in calls(at, stack) if call[3]]
    idle = [str(each) for each in unused(permissions, made) if each.shown_by == DEPLOYED]
    expect(not idle, "no call has needed these permissions:\n" + "\n".join(idle))
    print(f"   {len(permissions)} permissions, {sum(each.shown_by == DEPLOYED for each in permissions)} needed here")


# What makes the functions need every permission: results without lines, under other keys and with
# errors, so that there are rounds and unmatched results; batches that never begin, so that some are late;
# and no capacity in the flex tier, so that its requests wait. It is random which batches never begin.
SCENARIO = ["--missing", "30", "--unknown", "30", "--refuse", "10", "--fault", "generate-content:500:20%",
            "--stuck-pending", "25%", "--flex-capacity", "0"]
# How long a permission may go unmissed until the jobs are dropped again, in seconds: longer than a late
# batch takes to be replaced.
DROP_AGAIN_AFTER = 130


def drop_everything(at, name):
    """Drops small jobs that together need every permission, and returns the ones to approve and to
    cancel."""
    item = {"prompt": f"a stone of {name}"}
    lines = lambda *items: "\n".join(map(json.dumps, items))
    job = lambda **fields: {"manifest": {"version": 1, "job": fields}}
    for file, body in {
        # The fox is too large to be part of a request, so it is uploaded.
        "table.csv": f"key,prompt,refs\na,{name} red,refs/bag.png\nb,{name} green,refs/fox.png\nc,{name} blue,\n",
        "single.jsonl": lines(job(lane="interactive"), *(item | {"key": f"k{n}", "refs": ["refs/bag.png"]} for n in range(4))),
        "proof.jsonl": lines(job(proof={"count": 1, "hold": True}), item | {"key": "a"}, item | {"key": "b"}),
        "unheld.jsonl": lines(job(proof={"count": 1, "hold": False}), item | {"key": "a"}, item | {"key": "b"}),
        "flex.jsonl": lines(item | {"key": "f", "lane": "flex", "model": "nano-banana-pro"}),
        **{f"late{n}.jsonl": lines(job(within="1m", rescue="interactive"), item | {"key": f"l{n}"}) for n in range(4)},
        "regretted.jsonl": lines(item | {"key": "r"}),
        "bad.csv": f"key,promt\na,{name}\n",
    }.items():
        at.s3.put_object(Bucket=at.bucket, Key=f"inbox/{name}-{file}", Body=body.encode())
    at.s3.put_object(Bucket=at.bucket, Key=f"inbox/{name}-dry.jsonl", Body=lines(item | {"key": "d"}).encode(),
                     Metadata={"mode": "dry_run"})


def decide(at, name):
    """Approves the proof and cancels the regretted job, once they are planned."""
    for file, word in [("proof", "approve"), ("regretted", "cancel")]:
        if job := at.job_of(f"{name}-{file}"):
            at.s3.put_object(Bucket=at.bucket, Key=f"control/{job.split('/')[1]}/{word}")


def policy_without(document, is_taken):
    """Returns a policy without the actions and resources that `is_taken` selects."""
    statements = []
    for statement in document["Statement"]:
        actions, resources = (each if isinstance(each, list) else [each] for each in (statement["Action"], statement["Resource"]))
        for action in actions:
            if kept := [arn for arn in resources if not is_taken(action, arn)]:
                statements.append(statement | {"Action": action, "Resource": kept})
    return document | {"Statement": statements}


def take_away(here, stack, function, is_taken):
    """Takes permissions away from a function's role. Returns a function that gives them back."""
    iam = here.client("iam")
    role = here.client("lambda").get_function_configuration(FunctionName=f"{stack}-{function}")["Role"].rsplit("/", 1)[1]
    [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    before = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    taken = []
    after = policy_without(before, lambda *pair: is_taken(*pair) and not taken.append(pair))
    expect(taken, f"the role of {function} has no such permission")
    put = lambda document: iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    put(after)
    return lambda: put(before)


def take_each_away(at, stack, share, attempts=4):
    """Takes each permission of a share away once, and makes images without it. A call must then be
    denied."""
    def is_missed(permission):
        return any(function == permission.function and not allowed and permission.permits(action, resource)
                   for function, action, resource, allowed in calls(at, stack))

    def jobs_miss(permission, name):
        again = time.monotonic() + DROP_AGAIN_AFTER
        drop_everything(at, name)
        while not (missed := is_missed(permission)) and time.monotonic() < again:
            decide(at, name)
            at.run_aws("lambda", "invoke", "--function-name", f"{stack}-sweep", at.here.log.parent / "sweep.json")
            time.sleep(2)
        return missed

    at.run_aws("s3", "sync", ROOT / "events/manifests/refs", f"s3://{at.bucket}/refs/")
    superfluous = []
    first, shares = map(int, share.split("/"))
    permissions = [each for each in listed() if each.shown_by == DEPLOYED]
    for number, permission in list(enumerate(permissions))[first - 1::shares]:
        started = time.monotonic()
        is_taken = lambda action, arn: (action, short(arn, at.bucket, stack)) == (permission.action, permission.resource)
        give_back = take_away(at.here, stack, permission.function, is_taken)
        missed = any(jobs_miss(permission, f"without{number}-{attempt}") for attempt in range(attempts))
        give_back()
        superfluous += [] if missed else [str(permission)]
        print(f"   {'missed after' if missed else 'NOT MISSED in'} {time.monotonic() - started:.0f} s: {permission}", flush=True)
    expect(not superfluous, "no call has missed these permissions:\n" + "\n".join(superfluous))
