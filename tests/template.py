"""The template beside the code that it deploys, and rules that no checker knows: run by tests/checks."""

import re
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAIN = re.compile(
    r"Source \{ queue: (\w+), function: Function::(\w+), "
    r"batch_size: (\d+), concurrency: (\d+), max_receive_count: ([\d_]+) \}"
)


class Tags(yaml.SafeLoader):
    """Reads `!Ref Name` as {"Ref": "Name"}, and so for all of CloudFormation's functions."""


def tagged(loader, name, node):
    if node.id == "scalar":
        return {name: loader.construct_scalar(node)}
    read = {"sequence": loader.construct_sequence, "mapping": loader.construct_mapping}
    return {name: read[node.id](node, deep=True)}


Tags.add_multi_constructor("!", tagged)
TEMPLATE = yaml.load((ROOT / "infra/template.yaml").read_text(), Tags)
RESOURCES = {name: resource["Properties"] for name, resource in TEMPLATE["Resources"].items()}


def value(setting):
    """A number as it stands, or the default of the parameter that it refers to."""
    return TEMPLATE["Parameters"][setting["Ref"]]["Default"] if isinstance(setting, dict) else setting


def statements(policy):
    """The statements of a policy, those that a condition switches on among them."""
    for statement in policy["Statement"]:
        yield statement["If"][1] if "If" in statement else statement


class Template(unittest.TestCase):
    def test_the_chain_is_that_of_the_local_host(self):
        sources = CHAIN.findall((ROOT / "functions/local/src/chain.rs").read_text())
        self.assertEqual(len(sources), 5)
        for queue, function, batch_size, concurrency, receives in sources:
            queue = queue.title()
            settings, code = RESOURCES[f"{queue}Queue"], RESOURCES[f"{function}Function"]
            source = code["Events"][queue]["Properties"]
            with self.subTest(queue):
                self.assertEqual(source["Queue"], {"GetAtt": f"{queue}Queue.Arn"})
                self.assertEqual(source["BatchSize"], int(batch_size))
                self.assertEqual(value(source["ScalingConfig"]["MaximumConcurrency"]), int(concurrency))
                self.assertEqual(source["FunctionResponseTypes"], ["ReportBatchItemFailures"])
                self.assertEqual(settings["RedrivePolicy"]["maxReceiveCount"], int(receives.replace("_", "")))
                self.assertEqual(settings["VisibilityTimeout"], 6 * TEMPLATE["Globals"]["Function"]["Timeout"])

    def test_every_queue_has_dead_letters_and_wants_tls(self):
        queues = {name for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == "AWS::SQS::Queue"}
        self.assertEqual(len(queues), 12)
        for name in queues:
            self.assertEqual(RESOURCES[name]["MessageRetentionPeriod"], 14 * 24 * 3600)
            if name.endswith("Queue"):
                dead = {"GetAtt": f"{name.removesuffix('Queue')}DeadLetters.Arn"}
                self.assertEqual(RESOURCES[name]["RedrivePolicy"]["deadLetterTargetArn"], dead)
        covered = set()
        for name, resource in RESOURCES.items():
            if name.endswith("Policy") and "Queues" in resource:
                [tls] = [s for s in resource["PolicyDocument"]["Statement"] if s["Sid"] == "TlsOnly"]
                self.assertEqual((tls["Effect"], tls["Principal"], tls["Action"]), ("Deny", "*", "sqs:*"))
                covered |= {queue["Ref"] for queue in resource["Queues"]}
        self.assertEqual(covered, queues)

    def test_no_role_has_a_wildcard_for_an_action_or_for_all_resources(self):
        roles = {name: resource for name, resource in RESOURCES.items() if name.endswith("Role")}
        self.assertEqual(len(roles), 5)
        for name, role in roles.items():
            self.assertNotIn("ManagedPolicyArns", role)
            for policy in role["Policies"]:
                for statement in statements(policy["PolicyDocument"]):
                    self.assertNotIn("*", str(statement["Action"]), name)
                    self.assertNotEqual(statement["Resource"], "*", name)

    def test_no_function_sends_to_the_queue_that_triggers_it(self):
        for name in ["Plan", "Submit", "Poll", "Collect", "Report"]:
            [policy] = RESOURCES[f"{name}Role"]["Policies"]
            by_action = {str(s["Action"]): str(s["Resource"]) for s in statements(policy["PolicyDocument"])}
            sends = by_action.get("sqs:SendMessage", "")
            [event] = RESOURCES[f"{name}Function"]["Events"].values()
            self.assertNotIn(str(event["Properties"]["Queue"]), sends, name)

    def test_the_key_is_named_and_never_held(self):
        self.assertNotRegex((ROOT / "infra/template.yaml").read_text(), r"GEMINI_API_KEY(?!_PARAMETER)")
        for name in ["Submit", "Poll", "Collect"]:
            self.assertIn("GEMINI_API_KEY_PARAMETER", RESOURCES[f"{name}Function"]["Environment"]["Variables"])
        for name in ["Plan", "Report"]:
            self.assertNotIn("ssm:", str(RESOURCES[f"{name}Role"]), name)


if __name__ == "__main__":
    unittest.main()
