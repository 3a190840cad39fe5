"""`darkroom doctor --stack` on the deployed stack: it finds the stack whole, and names each of five
things that are broken on purpose."""

import contextlib
import json
import subprocess

from stack import REGION, Failed, expect

# MiniStack has no s3:if-match, and the functions use the simulated Gemini.
HANDLED = {"conditional writes", "address of Gemini", "alarms that are on"}


def alarm_topic(here):
    """Creates the topic that the alarms are sent to, with a confirmed subscription. Returns its ARN
    as a parameter of the template."""
    sns, sqs = here.client("sns"), here.client("sqs")
    url = sqs.create_queue(QueueName="alarm-recipient")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    return {"AlarmTopicArn": topic}


def examine(at, *more):
    """Runs the command as a user does. Returns its exit code, its output and its checks by name."""
    out = at.here.log.parent / "doctor"
    environment = at.here.environment | {"AWS_REGION": REGION, "SSL_CERT_FILE": at.here.environment["AWS_CA_BUNDLE"]}
    command = [at.darkroom, "doctor", "--stack", at.stack, "--out", out, *more]
    ran = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        report = json.loads((out / f"stack-{at.stack}.json").read_text())
    except OSError:
        raise Failed(f"the doctor has written no report:\n{ran.stdout}") from None
    return ran.returncode, ran.stdout, {check["check"]: check for check in report["checks"]}


def failed(checks):
    """Returns the names of the checks that failed, or could not be made."""
    return {name for name, check in checks.items() if check["verdict"] in ("failed", "unseen")}


def the_doctor_finds_the_stack_whole(at):
    code, output, checks = examine(at)
    expect(code == 0, f"exit code {code}:\n{output}")
    other = {name for name, check in checks.items() if check["verdict"] != "expected"}
    expect(other <= HANDLED, f"{other}:\n{output}")
    print(f"   the canary took {checks['canary']['seen']}")


@contextlib.contextmanager
def mapping_disabled(at):
    functions = at.here.client("lambda")
    [mapping] = functions.list_event_source_mappings(FunctionName=f"{at.stack}-poll")["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@contextlib.contextmanager
def notification_replaced(at):
    before = at.s3.get_bucket_notification_configuration(Bucket=at.bucket)["QueueConfigurations"]
    put = lambda queues: at.s3.put_bucket_notification_configuration(
        Bucket=at.bucket, NotificationConfiguration={"QueueConfigurations": queues})
    put([queue for queue in before if "controls" not in queue["QueueArn"]])
    yield
    put(before)


@contextlib.contextmanager
def public_access_allowed(at):
    before = at.s3.get_public_access_block(Bucket=at.bucket)["PublicAccessBlockConfiguration"]
    put = lambda block: at.s3.put_public_access_block(Bucket=at.bucket, PublicAccessBlockConfiguration=block)
    put(before | {"BlockPublicPolicy": False})
    yield
    put(before)


@contextlib.contextmanager
def dead_letter(at):
    queue = at.dead["results"]
    at.sqs.send_message(QueueUrl=queue, MessageBody="{}")
    yield
    [message] = at.sqs.receive_message(QueueUrl=queue)["Messages"]
    at.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


@contextlib.contextmanager
def subscription_removed(at):
    sns = at.here.client("sns")
    [topic] = [topic["TopicArn"] for topic in sns.list_topics()["Topics"] if topic["TopicArn"].endswith(":alarms")]
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    yield
    sns.subscribe(**{name: subscription[name] for name in ["TopicArn", "Protocol", "Endpoint"]})


BROKEN = {
    "event source mappings": (mapping_disabled, "polls: Disabl"),
    "notifications": (notification_replaced, "control/ does not reach controls"),
    "public access": (public_access_allowed, "3 of 4"),
    "dead letters": (dead_letter, "1 of results"),
    "recipients of alarms": (subscription_removed, "no one has subscribed to alarms"),
}


def the_doctor_names_what_is_broken(at):
    with contextlib.ExitStack() as broken:
        for breaks, _ in BROKEN.values():
            broken.enter_context(breaks(at))
        code, output, checks = examine(at, "--no-canary")
    expect(code == 5, f"exit code {code}:\n{output}")
    expect(failed(checks) == BROKEN.keys(), f"{failed(checks)}:\n{output}")
    for name, (_, seen) in BROKEN.items():
        expect(seen in checks[name]["seen"] and checks[name]["follows"], f"{name}: {checks[name]}")

    code, output, checks = examine(at, "--no-canary")
    expect(code == 0, f"exit code {code} after everything was restored:\n{output}")


CHECKS = [the_doctor_finds_the_stack_whole, the_doctor_names_what_is_broken]
