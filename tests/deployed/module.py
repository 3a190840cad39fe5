"""Tests the Terraform module: applies it to an emulated account with enforced permissions, runs a
job, plans again and destroys it.

    module.py TERRAFORM PLUGINS PACKAGES DARKROOM

TERRAFORM is the command, PLUGINS a folder with the AWS provider, PACKAGES the folder with the zips,
whose name is their architecture. DARKROOM is the command that serves the simulated Gemini."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from deployed import (STACK, Deployment, a_dry_run_ends_with_its_estimate,
                      a_message_returns_when_its_visibility_timeout_ends,
                      simulated_gemini)
from stack import REGION, ROOT, Failed, account, expect

UNREAD = {"actions_enabled", "alarm_actions", "alarm_description", "dimensions", "period", "statistic",
          "treat_missing_data"}


class Terraform:
    """A command that runs in one folder and whose output is in the error if it fails."""

    def __init__(self, command, folder, environment):
        self.command, self.folder, self.environment = command, folder, environment

    def __call__(self, *arguments, accepted=(0,)):
        ran = subprocess.run([self.command, *arguments], cwd=self.folder, env=self.environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ran.returncode not in accepted:
            raise Failed(f"terraform {arguments[0]} has ended with {ran.returncode}:\n{ran.stdout}")
        return ran.stdout


def configuration(packages, gemini):
    """Returns a configuration that uses the module. The provider finds the emulated account by
    AWS_ENDPOINT_URL, and a bucket by path, because its name is no host name on loopback."""
    return {
        "provider": {"aws": {"region": REGION, "s3_use_path_style": True}},
        "module": {"darkroom": {
            "source": "./module",
            "name": STACK,
            "packages": str(packages),
            "architecture": packages.name,
            "gemini_base_url": gemini,
            "poll_shortest_seconds": 10,
            "poll_longest_seconds": 180,
            "alarm_email": "studio@example.com",
            # MiniStack supports neither s3:if-match nor s3:if-none-match.
            "enforce_conditional_writes": False,
        }},
        "output": {"darkroom": {"value": "${module.darkroom}"}},
    }


def main():
    command, *paths = sys.argv[1:]
    plugins, packages, darkroom = (Path(path).resolve() for path in paths)
    with account() as here, simulated_gemini(darkroom, here.log.parent) as gemini:
        folder = here.log.parent / "terraform"
        shutil.copytree(ROOT / "infra/terraform", folder / "module")
        (folder / "main.tf.json").write_text(json.dumps(configuration(packages, gemini)))
        environment = here.environment | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        terraform = Terraform(command, folder, environment)
        try:
            check(terraform, plugins, here, gemini)
        except Failed as failure:
            sys.exit(f"failed: {failure}")
    print("the Terraform module: all checks passed")


def changes(change):
    """Yields a line for each attribute that a plan would change, except those that MiniStack leaves
    out when it describes alarms in XML, as the provider asks it to."""
    before, after = change["change"]["before"], change["change"]["after"]
    if change["change"]["actions"] not in (["no-op"], ["update"]):
        yield f"{change['address']}: {change['change']['actions']}"
        return
    for name in before.keys() | after.keys():
        known = change["type"] == "aws_cloudwatch_metric_alarm" and name in UNREAD
        if before.get(name) != after.get(name) and not known:
            yield f"{change['address']}: {name}: {before.get(name)} becomes {after.get(name)}"


def check(terraform, plugins, here, gemini):
    init = ["init", "-backend=false", "-input=false", "-no-color", f"-plugin-dir={plugins}"]
    print("-- the example is valid", flush=True)
    example = Terraform(terraform.command, terraform.folder / "module/examples/complete", terraform.environment)
    example(*init)
    example("validate", "-no-color")
    terraform(*init)

    print("-- apply", flush=True)
    terraform("apply", "-auto-approve", "-input=false", "-no-color")
    outputs = json.loads(terraform("output", "-json", "darkroom"))
    at = Deployment(here, gemini, {"BucketName": outputs["bucket_name"], "QueueUrls": " ".join(outputs["queue_urls"]),
                                   "DeadLetterQueueUrls": " ".join(outputs["dead_letter_queue_urls"])})
    at.store_key()
    for check in [a_message_returns_when_its_visibility_timeout_ends, a_dry_run_ends_with_its_estimate]:
        print(f"-- {check.__name__.replace('_', ' ')}", flush=True)
        check(at)

    print("-- a second plan changes nothing", flush=True)
    # With -detailed-exitcode, 2 is the status of a plan with changes.
    terraform("plan", "-input=false", "-no-color", "-detailed-exitcode", "-out=second", accepted=(0, 2))
    changed = [line for change in json.loads(terraform("show", "-json", "second"))["resource_changes"]
               for line in changes(change)]
    expect(not changed, "\n".join(changed))

    print("-- destroy, as the README describes it", flush=True)
    kept = [address for address in terraform("state", "list").split() if ".aws_s3_bucket" in address]
    terraform("state", "rm", *kept)
    terraform("destroy", "-auto-approve", "-input=false", "-no-color")
    expect(at.keys("jobs/"), "the bucket was destroyed")
    functions = here.client("lambda").list_functions()["Functions"]
    expect(not functions, f"functions remain: {functions}")
    queues = at.sqs.list_queues().get("QueueUrls", [])
    expect(not queues, f"queues remain: {queues}")


if __name__ == "__main__":
    main()
