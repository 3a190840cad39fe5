"""MiniStack as an AWS account on loopback, to which SAM deploys the template as to any account.

Permissions are enforced (`AUTH=true`): each function runs with the keys of its role, and the
policies of the bucket and the queues apply. They require TLS, so MiniStack has a certificate, which
functions and clients trust through SSL_CERT_FILE and AWS_CA_BUNDLE. `test` is the key of the
account's root user, to whom no policy applies.

As a command, it deploys a packaged template twice, prints the stack's outputs as JSON, deletes the
stack and exits:

    "$(tests/python)/bin/python" tests/deployed/stack.py target/lambda/x86_64/template.yaml [Parameter=Value …]
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import boto3
import trustme

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
# MiniStack supports neither s3:if-match nor s3:if-none-match, so a policy with these conditions
# would deny every write.
EMULATED = {"EnforceConditionalWrites": "false"}


class Failed(Exception):
    """A check has failed."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


@dataclass
class Account:
    """An AWS account that exists for as long as the process that emulates it."""

    endpoint: str
    # The environment in which an AWS client (boto3, `aws`, `sam`) uses the account as root.
    environment: dict[str, str]
    log: Path
    # The calls that the policies of roles have decided (recorder.py).
    calls: Path
    _clients: contextlib.ExitStack

    def client(self, service):
        """Returns a boto3 client with the root key. It is closed with the account, because MiniStack
        waits for open connections when it stops."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
        trusted = self.environment["AWS_CA_BUNDLE"]
        client = boto3.client(service, endpoint_url=self.endpoint, verify=trusted, **keys)
        self._clients.callback(client.close)
        return client

    def deploy(self, template, stack="darkroom", **parameters):
        """Deploys a packaged template with `sam deploy` and returns the output. If it fails, the
        output is in the error."""
        given = [f"{name}={value}" for name, value in (EMULATED | parameters).items()]
        output = self._sam("deploy", "--template-file", template, "--stack-name", stack, "--resolve-s3",
                           "--capabilities", "CAPABILITY_IAM", "--no-fail-on-empty-changeset", "--no-progressbar",
                           "--parameter-overrides", *given)
        self._make_numbers()
        return output

    def _make_numbers(self):
        """Turns numeric parameters into numbers, as CloudFormation does. MiniStack leaves them as
        text, and its pollers fail on that."""
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": most})

    def delete(self, stack="darkroom"):
        """Deletes a stack with `sam delete`. Its bucket remains."""
        return self._sam("delete", "--stack-name", stack, "--no-prompts")

    def outputs(self, stack="darkroom"):
        """Returns a stack's outputs, by name."""
        [described] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    def _sam(self, *arguments):
        tools = subprocess.check_output([ROOT / "tests/python", "infra/requirements.txt"], text=True).strip()
        command = [f"{tools}/bin/sam", *map(str, arguments), "--region", REGION]
        ran = subprocess.run(command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ran.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:2])} has failed:\n{ran.stdout}")
        return ran.stdout


@contextlib.contextmanager
def account():
    """Starts MiniStack on a free loopback port, and afterwards stops it and deletes its data."""
    with tempfile.TemporaryDirectory(prefix="darkroom-") as work, contextlib.ExitStack() as started:
        work = Path(work)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(work / "ca.pem")
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(work / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(work / "certificate.pem")

        port = free_port()
        endpoint = f"https://127.0.0.1:{port}"
        # Nothing of the developer's own account: no profile, no credentials, no settings.
        kept = ("PATH", "LANG", "CARGO_TARGET_DIR")
        client = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(work),
            "TMPDIR": str(work),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_CA_BUNDLE": str(work / "ca.pem"),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
        }
        server = client | {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(work / "certificate.pem"),
            "MINISTACK_SSL_KEY": str(work / "key.pem"),
            # The functions inherit this variable and therefore trust MiniStack.
            "SSL_CERT_FILE": str(work / "ca.pem"),
        }
        log = started.enter_context((work / "ministack.log").open("w"))
        calls = work / "calls.jsonl"
        calls.touch()
        command = [sys.executable, Path(__file__).with_name("recorder.py"), calls]
        # A separate session, so that MiniStack and the functions that it starts are stopped together.
        ministack = subprocess.Popen(command, env=server, stdout=log, stderr=log, start_new_session=True)
        started.callback(end, ministack)
        here = Account(endpoint, client, work / "ministack.log", calls, started.enter_context(contextlib.ExitStack()))
        wait_until_it_answers(here, ministack)
        yield here


def end(process):
    """Stops the leader of a session and every process that it started."""
    for signal_, seconds in [(signal.SIGTERM, 10), (signal.SIGKILL, 10)]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
            return


def wait_until_it_answers(here, ministack):
    trusted = ssl.create_default_context(cafile=here.environment["AWS_CA_BUNDLE"])
    for _ in range(600):
        if ministack.poll() is not None:
            raise RuntimeError(f"MiniStack has ended:\n{here.log.read_text()[-4000:]}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{here.endpoint}/_ministack/health", timeout=5, context=trusted).close()
            return
        time.sleep(0.5)
    raise RuntimeError(f"MiniStack does not answer:\n{here.log.read_text()[-4000:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    template, *parameters = sys.argv[1:]
    parameters = dict(parameter.split("=", 1) for parameter in parameters)
    with account() as here:
        print(here.deploy(template, **parameters), file=sys.stderr)
        print(json.dumps(here.outputs(), indent=2))
        print(here.deploy(template, **parameters).strip().splitlines()[-1], file=sys.stderr)
        print(here.delete(), file=sys.stderr)


if __name__ == "__main__":
    main()
