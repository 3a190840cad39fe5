"""Checks of events: what a rule of EventBridge, a topic of SNS and a webhook receive. deployed.py
runs them after the jobs that they are about."""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema
from stack import ROOT, expect

BUS, SECRET_NAME = "studio-events", "/darkroom/webhook-secret"
SCHEMA = json.loads((ROOT / "events/schema/event.schema.json").read_text())
# The kinds of events that the jobs of the other checks must have, without those of progress.
WANTED = {
    "first": ["Job Accepted", "Job Completed"],
    "regretted": ["Job Accepted", "Job Cancelled"],
    "moved": ["Job Rejected"],
    "bad": ["Job Rejected"],
    "estimate": [],
    "settled": ["Job Accepted", "Job Completed", "Job Held"],
    "dropped": ["Job Accepted", "Job Cancelled", "Job Held"],
    "unheld": ["Job Accepted", "Job Completed"],
    "refused": ["Job Accepted", "Job Partial"],
}


class Hooks(BaseHTTPRequestHandler):
    """Receives webhooks. The first request is refused, so that one is repeated."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        received, self.server.refused = self.server.refused, True
        if received:
            self.server.received.append((dict(self.headers.items()), body))
        self.send_response(204 if received else 503)
        self.end_headers()

    def log_message(self, *_):
        """Logs nothing: the headers of a webhook are not for a log."""


class Subscribers:
    """A queue on a rule of the bus, a queue on the topic, and the receiver of the webhook."""

    def __init__(self, here, server):
        self.sqs, self.server = here.client("sqs"), server
        self.secret = secrets.token_bytes(32)
        events, topics = here.client("events"), here.client("sns")
        events.create_event_bus(Name=BUS)
        events.put_rule(Name="darkroom", EventBusName=BUS, EventPattern=json.dumps({"source": ["darkroom"]}))
        self.of_rule, arn = self.queue("subscriber-of-the-rule")
        events.put_targets(Rule="darkroom", EventBusName=BUS, Targets=[{"Id": "queue", "Arn": arn}])
        self.topic = topics.create_topic(Name="studio-people")["TopicArn"]
        self.of_topic, arn = self.queue("subscriber-of-the-topic")
        topics.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)
        here.client("ssm").put_parameter(Name=SECRET_NAME, Type="SecureString",
                                         Value="whsec_" + base64.b64encode(self.secret).decode())

    def queue(self, name):
        """Creates a queue to which the services may send. Returns its URL and its ARN."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        services = {"Service": ["events.amazonaws.com", "sns.amazonaws.com"]}
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": services, "Action": "sqs:SendMessage", "Resource": arn}]}
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        return url, arn

    @property
    def parameters(self):
        """The parameters of the stack."""
        return {"EventBusName": BUS, "EventTopicArn": self.topic, "WebhookSecretName": SECRET_NAME,
                "WebhookUrl": f"http://127.0.0.1:{self.server.server_port}/hooks"}

    def drained(self, url):
        """Receives and deletes all messages of a queue."""
        found = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


@contextlib.contextmanager
def subscribers(here):
    """Subscribes to everything, before the stack is deployed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
    server.received, server.refused = [], False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Subscribers(here, server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nothing_is_pending(at):
    """Waits until the events of all closed jobs are sent."""
    at.wait_until(lambda: not at.keys("stack/events/"), 120, "events are not sent")


def the_rule_has_received_each_event_once_by_its_id(at):
    nothing_is_pending(at)
    details = []
    for event in at.subscribers.drained(at.subscribers.of_rule):
        expect((event["source"], event["detail-type"]) == ("darkroom", event["detail"]["type"]), event)
        jsonschema.validate(event["detail"], SCHEMA)
        details.append(event["detail"])
    # An event may come twice, with the same id.
    by_id = {detail["id"]: detail for detail in details}
    for name, wanted in WANTED.items():
        job = at.job_of(name).split("/")[1]
        # The first job lacks a document for a moment, which is announced only if it lasts.
        ignored = {"Job Progress", "Job Held"} if name == "first" else {"Job Progress"}
        kinds = sorted(detail["type"] for detail in by_id.values()
                       if detail["job"] == job and detail["type"] not in ignored)
        expect(kinds == wanted, f"{name}: {kinds}")
    closed = next(detail for detail in by_id.values() if detail["type"] == "Job Completed")
    summary = json.loads(at.read(f"{closed['folder']}summary.json"))
    expect((closed["counts"], closed["links"]) == (summary["counts"], summary["links"]), closed)
    at.events = by_id


def the_topic_has_received_messages_for_people(at):
    messages = at.subscribers.drained(at.subscribers.of_topic)
    ids = {message["MessageAttributes"]["id"]["Value"] for message in messages}
    wanted = {id_ for id_, event in at.events.items() if event["type"] != "Job Progress"}
    expect(ids == wanted, f"{len(ids)} of {len(wanted)} events")
    held = next(message for message in messages if "wait for your decision" in message["Subject"])
    expect("/approve" in held["Message"], held)


def the_webhook_has_received_signed_requests(at):
    received = at.subscribers.server.received
    for headers, body in received:
        headers = {name.lower(): value for name, value in headers.items()}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        signature = hmac.new(at.subscribers.secret, signed, hashlib.sha256).digest()
        expect(headers["webhook-signature"] == "v1," + base64.b64encode(signature).decode(), headers)
    ids = {json.loads(body)["data"]["id"] for _, body in received}
    expect(ids == set(at.events), f"{len(ids)} of {len(at.events)} events")


CHECKS = [
    the_rule_has_received_each_event_once_by_its_id,
    the_topic_has_received_messages_for_people,
    the_webhook_has_received_signed_requests,
]
