"""Compares infra/permissions.csv with the roles of the template: every permission of a function is
listed with what needs it. Run by tests/checks. tests/deployed shows that the list is no longer than
necessary."""

import copy
import csv
import unittest
from pathlib import Path

from template import FUNCTIONS, TEMPLATE, statements

LIST = Path(__file__).resolve().parent.parent / "infra/permissions.csv"
# Resources that parameters name.
PARAMETERS = {"ReferenceBuckets": "reference buckets", "GeminiKeyArn": "Gemini key", "GeminiKeyKmsArn": "key of the Gemini key",
              "EventTopicArn": "topic of events"}


def listed():
    """Reads the list: rows of function, action, resource, what needs it, and what shows that."""
    with LIST.open(newline="") as file:
        return list(csv.reader(file))[1:]


def many(value):
    return value if isinstance(value, list) else [value]


def named(resource):
    """Returns the name that the list has for a resource of a statement."""
    [(function, operand)] = resource.items()
    match function, operand:
        case "GetAtt", "Bucket.Arn":
            return "bucket"
        case "GetAtt", str() if operand.endswith("Queue.Arn"):
            return f"queue {operand.removesuffix('Queue.Arn').lower()}"
        case "GetAtt", str() if operand.endswith("Logs.Arn"):
            return "log group"
        case "Sub", str() if operand.startswith("${Bucket.Arn}/"):
            return operand.replace("${Bucket.Arn}", "bucket", 1)
        case "Sub", str() if operand.endswith(":event-bus/${EventBusName}"):
            return "bus of events"
        case "Sub", str() if operand.endswith(":parameter${WebhookSecretName}"):
            return "secret of the webhook"
        case "Ref", _:
            return PARAMETERS[operand]
        case "If", [_, {"Ref": parameter}, _]:
            return PARAMETERS[parameter]
        case "Split", [_, {"Sub": ["${Arns}/*", _]}]:
            return "reference buckets/*"
    raise AssertionError(f"infra/template.yaml: tests/permissions.py has no name for {resource}")


def in_template(template):
    """Yields each permission of each function's role: function, action and resource."""
    for function in FUNCTIONS:
        for policy in template["Resources"][f"{function}Role"]["Properties"]["Policies"]:
            for statement in statements(policy["PolicyDocument"]):
                for action in many(statement["Action"]):
                    for resource in many(statement["Resource"]):
                        yield function.lower(), action, named(resource)


def differences(rows, template):
    """Returns a line for each permission that is not both in the list and in the template."""
    granted, known = list(in_template(template)), [tuple(row[:3]) for row in rows]
    found = [f"infra/permissions.csv: add a row for {', '.join(each)}" for each in granted if each not in known]
    found += [f"infra/permissions.csv: delete the row of {', '.join(each)}" for each in known if each not in granted]
    twice = {each for each in known if known.count(each) > 1} | {each for each in granted if granted.count(each) > 1}
    return found + [f"{', '.join(each)} is granted or listed twice" for each in sorted(twice)]


class Permissions(unittest.TestCase):
    def test_the_list_has_exactly_the_permissions_of_the_roles(self):
        self.assertEqual(differences(listed(), TEMPLATE), [])

    def test_every_permission_says_what_needs_it_and_what_shows_that(self):
        for row in listed():
            self.assertTrue(len(row) == 5 and all(row), f"infra/permissions.csv: incomplete: {row}")

    def test_a_missing_row_and_a_missing_statement_are_noticed(self):
        rows = listed()
        for index in range(len(rows)):
            self.assertNotEqual(differences(rows[:index] + rows[index + 1:], TEMPLATE), [], rows[index])
        for function in FUNCTIONS:
            [policy] = TEMPLATE["Resources"][f"{function}Role"]["Properties"]["Policies"]
            for index in range(len(policy["PolicyDocument"]["Statement"])):
                template = copy.deepcopy(TEMPLATE)
                [policy] = template["Resources"][f"{function}Role"]["Properties"]["Policies"]
                del policy["PolicyDocument"]["Statement"][index]
                self.assertNotEqual(differences(rows, template), [], f"{function}: statement {index}")


if __name__ == "__main__":
    unittest.main()
