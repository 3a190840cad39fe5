"""Compares the Terraform module with the template: every resource, statement, alarm, setting,
parameter and output. Run by tests/checks.

Both sides are evaluated for the same parameters, several times (SCENARIOS), and brought into one
form: a record for each resource, with a text for each attribute, and an attribute for each action
that a policy permits. Names of attributes are those of the template in snake_case; RENAMED lists
where the provider differs. An attribute that only one side has is a difference, so a new property
or resource is compared without a change here. A new type of resource needs an entry in TYPES and one
in RENAMED. If others refer to it, it also needs one in ARNS and one in COMPUTED of hcl.py.

`without` in hcl.py and `omissions` below take one element after the other out of either side. Each
omission must be noticed.
"""

import json
import multiprocessing
import os
import re
import unittest
from functools import cache
from pathlib import Path

import hcl
from template import TEMPLATE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "infra/terraform"
MODULE = hcl.parse(FOLDER)
STACK = "darkroom"
PACKAGES = "target/lambda/arm64"
TAGS = {"Application": "darkroom"}
# The beginning of each place that a message names.
IN_TEMPLATE, IN_MODULE = "infra/template.yaml: ", "infra/terraform/"
# What the module has and the template cannot have.
OWN_VARIABLES = {"name", "packages", "tags"}
OWN_RESOURCES = {"terraform_data"}
# Types of resources that have tags. The module must pass them on.
TAGGED = {"aws_cloudwatch_log_group", "aws_cloudwatch_metric_alarm", "aws_iam_role", "aws_lambda_event_source_mapping",
          "aws_lambda_function", "aws_s3_bucket", "aws_sns_topic", "aws_sqs_queue"}

# A value for each parameter with a pattern, different from its default.
SAMPLES = {
    "BucketName": "studio.pictures-1",
    "ReferenceBuckets": ["arn:aws:s3:::first", "arn:aws:s3:::second"],
    "GeminiKeyName": "/studio/gemini_key-1.a",
    "GeminiKeyArn": "arn:aws:ssm:eu-west-1:210987654321:parameter/studio/key",
    "GeminiKeyKmsArn": "arn:aws:kms:eu-west-1:210987654321:key/0f6c-9A8e",
    "GeminiBaseUrl": "http://127.0.0.1:8080",
    "DailyCapUsd": "1204567.05",
    "ImageBaseUrl": "https://cdn.example.com:8443/shop/a%20b/",
    "EventBusName": "studio/events-1",
    "EventTopicArn": "arn:aws:sns:eu-west-1:210987654321:People_-1",
    "WebhookUrl": "https://example.com/hooks?token=a",
    "WebhookSecretName": "/studio/webhook_secret-1.a",
    "DefaultModel": "nano-banana-3.1",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:210987654321:Alarms_-1",
    "AlarmEmail": "studio@example.com",
}


@cache
def snake(name):
    """Returns a CamelCase name in snake_case. Other names are unchanged."""
    if not re.fullmatch(r"[A-Za-z0-9]+", name) or name.isupper():
        return name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


# --------------------------------------------------------------------------------------- scenarios


def other_value(name, parameter):
    """Returns a valid value of a parameter that is not its default."""
    if name in SAMPLES:
        return SAMPLES[name]
    if "AllowedValues" in parameter:
        return next(value for value in parameter["AllowedValues"] if value != parameter["Default"])
    if parameter["Type"] != "Number":
        raise AssertionError(f"tests/terraform.py: add a value of {name} to SAMPLES")
    return parameter["Default"] + (1 if parameter["Default"] < parameter.get("MaxValue", 1e9) else -1)


OTHER = {name: other_value(name, parameter) for name, parameter in TEMPLATE["Parameters"].items()}
# Values of parameters; the others have their defaults.
SCENARIOS = [
    OTHER,
    {},
    {name: OTHER[name] for name in ("GeminiKeyKmsArn", "AlarmTopicArn", "EventBusName")},
    {name: OTHER[name] for name in ("GeminiKeyArn", "AlarmEmail", "EnforceConditionalWrites", "EventTopicArn")},
    {"WebhookUrl": OTHER["WebhookUrl"]},
]


def as_variable(value, parameter):
    """Returns the value that the module's variable has for a parameter's value."""
    if parameter["Type"] == "CommaDelimitedList":
        return value or []
    return value == "true" if parameter.get("AllowedValues") == ["true", "false"] else value


# ---------------------------------------------------------------------------------------- template


# The properties that name a resource.
NAMES = ["BucketName", "DashboardName", "FunctionName", "LogGroupName", "QueueName"]
# The service of an ARN, and what precedes and follows the name in it, by type of resource.
ARNS = {
    "AWS::IAM::Role": ("iam", "role/", ""),
    "AWS::Logs::LogGroup": ("logs", "log-group:", ":*"),
    "AWS::S3::Bucket": ("s3", "", ""),
    "AWS::SQS::Queue": ("sqs", "", ""),
    "AWS::Serverless::Function": ("lambda", "function:", ""),
}


class Stack:
    """The template, for given values of its parameters, as SAM and CloudFormation understand it."""

    def __init__(self, template, parameters):
        self.template = template
        self.parameters = {name: parameters.get(name, parameter.get("Default"))
                           for name, parameter in template["Parameters"].items()}
        self.pseudo = {
            "AWS::StackName": STACK, "AWS::AccountId": hcl.ACCOUNT, "AWS::Region": hcl.REGION,
            "AWS::Partition": hcl.PARTITION, "AWS::NoValue": None,
            "AWS::StackId": hcl.arn("cloudformation", f"stack/{STACK}/{hcl.STACK_ID}"),
        }
        self.conditions = template["Conditions"]

    def value(self, given):
        """Evaluates CloudFormation's functions. What becomes AWS::NoValue is left out."""
        if isinstance(given, list):
            return [value for value in map(self.value, given) if value is not None]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            [(name, operand)] = given.items()
            if function := getattr(self, f"function_{name.lower()}", None):
                return function(operand)
        found = {key: self.value(value) for key, value in given.items()}
        return {key: value for key, value in found.items() if value is not None}

    def function_ref(self, name):
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            value = self.parameters[name]
            return (value or [""]) if self.template["Parameters"][name]["Type"] == "CommaDelimitedList" else value
        reference = {"AWS::SQS::Queue": hcl.queue_url, "AWS::SNS::Topic": lambda topic: hcl.arn("sns", topic)}
        return reference.get(self.template["Resources"][name]["Type"], str)(self.name(name))

    def function_getatt(self, path):
        resource, attribute = path.split(".")
        type_, name = self.template["Resources"][resource]["Type"], self.name(resource)
        if attribute == "QueueName":
            return name
        service, prefix, suffix = ARNS[type_]
        region = "" if service in ("s3", "iam") else hcl.REGION
        return hcl.arn(service, f"{prefix}{name}{suffix}", region, "" if service == "s3" else hcl.ACCOUNT)

    def function_sub(self, operand):
        pattern, names = operand if isinstance(operand, list) else (operand, {})
        resolve = lambda name: (self.value(names[name]) if name in names
                                else self.function_getatt(name) if "." in name else self.function_ref(name))
        return re.sub(r"\$\{([\w.:]+)\}", lambda found: hcl.text(resolve(found[1])), pattern)

    def function_if(self, operand):
        condition, then, otherwise = operand
        return self.value(then if self.value(self.conditions[condition]) else otherwise)

    def function_join(self, operand):
        separator, values = operand
        return separator.join(map(hcl.text, self.value(values)))

    def function_split(self, operand):
        separator, value = operand
        return self.value(value).split(separator)

    def function_select(self, operand):
        index, values = operand
        return self.value(values)[int(index)]

    def function_equals(self, operand):
        left, right = map(self.value, operand)
        return left == right

    def function_not(self, operand):
        return not self.value(operand[0])

    def name(self, resource):
        """Returns the name of a resource, or the one that the module gives it if the template leaves
        that to CloudFormation."""
        properties = self.template["Resources"][resource].get("Properties", {})
        for attribute in NAMES:
            if attribute in properties:
                return self.value(properties[attribute])
        match self.template["Resources"][resource]["Type"]:
            case "AWS::IAM::Role":
                return f"{STACK}-{snake(resource.removesuffix('Role')).replace('_', '-')}-{hcl.REGION}"
            case "AWS::CloudWatch::Alarm":
                return f"{STACK}-{resource}"
        return f"{STACK}-{snake(resource).replace('_', '-')}"

    def parts(self, known=None, changed=None):
        """Returns the records of each resource that exists for these parameters, by its name. All but
        the changed one are taken from `known`, if given."""
        parts = {}
        for name, resource in self.template["Resources"].items():
            if known is not None and name != changed:
                if name in known:
                    parts[name] = known[name]
            elif "Condition" not in resource or self.value(self.conditions[resource["Condition"]]):
                parts[name] = Records(IN_TEMPLATE)
                read = TYPES.get(resource["Type"])
                if read is None:
                    raise AssertionError(f"{IN_TEMPLATE}{name}: add {resource['Type']} to TYPES")
                if isinstance(read, str):
                    self.resource(parts[name], read, name, resource)
                else:
                    read(self, parts[name], name, resource)
        return parts

    def resource(self, records, kind, name, resource, leave_out=()):
        """Adds a resource whose properties are compared as they are."""
        properties = self.value(resource["Properties"])
        key = self.name(name)
        records.add(kind, key, name, {property_: value for property_, value in properties.items()
                                      if value != key and property_ not in leave_out})
        return key, properties

    def dashboard(self, records, name, resource):
        properties = self.value(resource["Properties"])
        records.add("dashboard", self.name(name), name, {"dashboard_body": json.loads(properties["DashboardBody"])})

    def bucket(self, records, name, resource):
        key, properties = self.resource(records, "bucket", name, resource, {"NotificationConfiguration"})
        for configuration in properties["NotificationConfiguration"]["QueueConfigurations"]:
            [rule] = configuration["Filter"]["S3Key"]["Rules"]
            records.add("bucket", key, name, {"queue": [{
                "id": configuration["Queue"], "events": [configuration["Event"]],
                f"filter_{rule['Name']}": rule["Value"]}]})
        retained = resource.get("DeletionPolicy") == resource.get("UpdateReplacePolicy") == "Retain"
        records.add("bucket", key, name, {"retained": retained})

    def bucket_policy(self, records, name, resource):
        properties = self.value(resource["Properties"])
        records.add_policy("bucket", properties["Bucket"], name, "policy", properties["PolicyDocument"])

    def queue_policy(self, records, name, resource):
        properties = self.value(resource["Properties"])
        for url in properties["Queues"]:
            queue = url.rsplit("/", 1)[1]
            records.add_policy("queue", queue, name, "policy", properties["PolicyDocument"], hcl.arn("sqs", queue))

    def role(self, records, name, resource):
        properties = self.value(resource["Properties"])
        key = self.name(name)
        records.add("role", key, name, {property_: value for property_, value in properties.items()
                                        if property_ not in ("AssumeRolePolicyDocument", "Policies")})
        records.add_policy("role", key, name, "assumed by", properties["AssumeRolePolicyDocument"])
        for policy in properties["Policies"]:
            records.add_policy("role", key, name, f"policy {policy['PolicyName']}", policy["PolicyDocument"])

    def function(self, records, name, resource):
        """A function, with what SAM makes of its Events and its EventInvokeConfig."""
        own = self.value(resource["Properties"])
        everywhere = self.value(self.template["Globals"]["Function"])
        key = self.name(name)
        properties = everywhere | own
        properties["LoggingConfig"] = everywhere.get("LoggingConfig", {}) | own.get("LoggingConfig", {})
        properties["Environment"] = {"Variables": everywhere.get("Environment", {}).get("Variables", {})
                                     | own.get("Environment", {}).get("Variables", {})}
        events = properties.pop("Events", {})
        invoke = properties.pop("EventInvokeConfig", None)
        program = properties.pop("CodeUri").strip("/").rsplit("/", 1)[1]
        properties["Filename"] = f"{PACKAGES}/{program}.zip"
        properties["SourceCodeHash"] = f"hash of {properties['Filename']}"
        del properties["FunctionName"]
        records.add("function", key, name, properties)
        arn = hcl.arn("lambda", f"function:{key}")
        if invoke is not None:
            records.add("invocations of", key, name, {"exists": True} | invoke)
        for event in events.values():
            settings = event["Properties"]
            if event["Type"] == "SQS":
                records.add("mapping", f"{settings.pop('Queue')} to {arn}", name, {"exists": True} | settings)
            elif event["Type"] == "ScheduleV2":
                target = {"arn": arn, "role_arn": settings.pop("RoleArn"),
                          "retry_policy": settings.pop("RetryPolicy", {})}
                records.add("schedule", settings.pop("Name"), name,
                            {"flexible_time_window": {"mode": "OFF"}, "target": target} | settings)
            else:
                raise AssertionError(f"infra/template.yaml: {name}: tests/terraform.py knows no event {event['Type']}")

    def topic(self, records, name, resource):
        key, properties = self.resource(records, "topic", name, resource, {"Subscription"})
        records.add("topic", key, name, {"exists": True})
        for subscription in properties["Subscription"]:
            records.add("topic", key, name, {"subscription": {"id": subscription["Endpoint"]} | subscription})

    def outputs(self):
        return {snake(name): (output.get("Description"), self.value(output["Value"]))
                for name, output in self.template["Outputs"].items()}


# How to read each type of resource of the template: a method, or the kind of its record if its
# properties are compared as they are.
TYPES = {
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::CloudWatch::Dashboard": Stack.dashboard,
    "AWS::IAM::Role": Stack.role,
    "AWS::Logs::LogGroup": "log group",
    "AWS::S3::Bucket": Stack.bucket,
    "AWS::S3::BucketPolicy": Stack.bucket_policy,
    "AWS::SNS::Topic": Stack.topic,
    "AWS::SQS::Queue": "queue",
    "AWS::SQS::QueuePolicy": Stack.queue_policy,
    "AWS::Serverless::Function": Stack.function,
}

# ------------------------------------------------------------------------------------------ module

# For each type of resource of the module: the kind of its record, its arguments that make the key,
# and how its attributes are named there. Renaming is by prefix; "" renames all of them.
RENAMED = {
    "aws_cloudwatch_dashboard": ("dashboard", ["dashboard_name"], {}),
    "aws_cloudwatch_log_group": ("log group", ["name"], {}),
    "aws_cloudwatch_metric_alarm": ("alarm", ["alarm_name"], {}),
    "aws_iam_role": ("role", ["name"], {}),
    "aws_iam_role_policy": ("role", ["role"], {}),
    "aws_lambda_event_source_mapping": ("mapping", ["event_source_arn", "function_name"], {}),
    "aws_lambda_function": ("function", ["function_name"], {"tracing_config.mode": "tracing"}),
    "aws_lambda_function_event_invoke_config": ("invocations of", ["function_name"], {}),
    "aws_lambda_function_recursion_config": ("function", ["function_name"], {}),
    "aws_s3_bucket": ("bucket", ["bucket"], {}),
    "aws_s3_bucket_lifecycle_configuration": ("bucket", ["bucket"], {
        "": "lifecycle_configuration.",
        "rule": "rules",
        "filter.prefix": "prefix",
        "expiration.days": "expiration_in_days",
        "expiration.expired_object_delete_marker": "expired_object_delete_marker",
    }),
    "aws_s3_bucket_notification": ("bucket", ["bucket"], {}),
    "aws_s3_bucket_ownership_controls": ("bucket", ["bucket"], {"": "ownership_controls.", "rule": "rules"}),
    "aws_s3_bucket_policy": ("bucket", ["bucket"], {}),
    "aws_s3_bucket_public_access_block": ("bucket", ["bucket"], {"": "public_access_block_configuration."}),
    "aws_s3_bucket_server_side_encryption_configuration": ("bucket", ["bucket"], {
        "": "bucket_encryption.",
        "rule": "server_side_encryption_configuration",
        "apply_server_side_encryption_by_default": "server_side_encryption_by_default",
    }),
    "aws_s3_bucket_versioning": ("bucket", ["bucket"], {}),
    "aws_scheduler_schedule": ("schedule", ["name"], {}),
    "aws_sns_topic": ("topic", ["name"], {}),
    "aws_sns_topic_subscription": ("topic", ["topic_arn"], {}),
    "aws_sqs_queue": ("queue", ["name"], {
        "message_retention_seconds": "message_retention_period",
        "visibility_timeout_seconds": "visibility_timeout",
    }),
    "aws_sqs_queue_policy": ("queue", ["queue_url"], {}),
    "aws_sqs_queue_redrive_allow_policy": ("queue", ["queue_url"], {}),
}
# Attributes that are policies, and what their statements are called in the record.
POLICIES = {"assume_role_policy": "assumed by", "policy": "policy"}
# What either side may leave out, because it is the service's default.
DEFAULTS = {"mapping": {"maximum_batching_window_in_seconds": "0"}}


def module_records(blocks, variables):
    """Returns the records of all resources of the module."""
    records = Records(IN_MODULE)
    for instance in hcl.Module(blocks, {"packages": PACKAGES, "tags": TAGS} | variables).all_instances():
        type_ = instance.block.labels[0]
        if type_ in OWN_RESOURCES:
            continue
        if type_ not in RENAMED:
            raise AssertionError(f"{IN_MODULE}{instance.block.file}: add {type_} to RENAMED")
        kind, keys, renamed = RENAMED[type_]
        body = instance.body()
        key = " to ".join(body.pop(key) for key in keys)
        if kind in ("queue", "topic"):
            # The name at the end of a URL or an ARN.
            key = re.split("[/:]", key)[-1]
        origin = f"{instance.block.file}: {instance.address}"
        if type_ in TAGGED and body.pop("tags", None) != TAGS:
            raise AssertionError(f"infra/terraform/{origin}: tags must be var.tags")
        if type_ == "aws_iam_role_policy":
            records.add_policy(kind, key, origin, f"policy {body.pop('name')}", body.pop("policy"))
        if type_ == "aws_sns_topic_subscription":
            body = {"subscription": {"id": body["endpoint"]} | body}
        if type_ == "aws_s3_bucket_notification":
            body["queue"] = [{"id": queue.pop("queue_arn")} | queue for queue in body["queue"]]
        if type_ == "aws_s3_bucket":
            [lifecycle] = instance.block.blocks("lifecycle") or [hcl.Block("lifecycle", [], [])]
            prevented = lifecycle.attributes().get("prevent_destroy")
            body["retained"] = prevented is not None and prevented.parts[0]
        if type_ in ("aws_lambda_event_source_mapping", "aws_lambda_function_event_invoke_config", "aws_sns_topic"):
            body["exists"] = True
        for name, title in POLICIES.items():
            if name in body:
                own = hcl.arn("sqs", key) if kind == "queue" else None
                records.add_policy(kind, key, origin, title, body.pop(name), own)
        records.add(kind, key, origin, body, renamed)
    return records


# ----------------------------------------------------------------------------------------- records


class Records:
    """Records by kind and key. Each has its attributes as text, and where each one comes from; None is
    the place of the record. A place begins with the file of its side, which is `prefix`."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.attributes = {}
        self.origins = {}

    def add(self, kind, key, origin, values, renamed=None):
        record = self.attributes.setdefault((kind, key), {})
        origins = self.origins.setdefault((kind, key), {})
        origins.setdefault(None, self.prefix + origin)
        for path, value in flat(values):
            path = rename(path, renamed or {})
            record[path] = value if path not in record else f"{record[path]} and {value}"
            origins[path] = self.prefix + origin
        for path, value in DEFAULTS.get(kind, {}).items():
            record.setdefault(path, value)

    @classmethod
    def union(cls, parts):
        """Returns the records of several parts. A resource can be described in more than one."""
        whole = cls(IN_TEMPLATE)
        for part in parts:
            for key, record in part.attributes.items():
                whole.attributes.setdefault(key, {}).update(record)
                # The first part is the resource itself.
                origins = whole.origins.setdefault(key, {None: part.origins[key][None]})
                origins.update(part.origins[key] | {None: origins[None]})
        return whole

    def add_policy(self, kind, key, origin, title, policy, own=None):
        if policy.get("Version") != "2012-10-17":
            raise AssertionError(f"{self.prefix}{origin}: {title} has no Version or an old one")
        grants = {}
        for grant in permits(policy, own):
            grants[f"{title}: {grant}"] = grants.get(f"{title}: {grant}", 0) + 1
        self.add(kind, key, origin, {"": grants})


def rename(path, renamed):
    """Applies the prefixes of RENAMED to each level of a path."""
    for old, new in renamed.items():
        if old:
            path = re.sub(rf"(?:(?<=^)|(?<=\.)){re.escape(old)}(?=$|\.|\[)", new, path)
    return renamed.get("", "") + path


def listed(value):
    return value if isinstance(value, list) else [value]


def flat(value, path=""):
    """Yields each scalar of nested values, with its path. Order in a list is ignored. Mappings in a
    list are distinguished by their id, and pairs of Name and Value are a mapping."""
    if isinstance(value, dict):
        for key, element in value.items():
            key = snake(key) if ": " not in key else key
            yield from flat(element, f"{path}.{key}" if path and key else path or key)
    elif isinstance(value, list):
        for element in value:
            if not isinstance(element, dict):
                yield f"{path}[{hcl.text(element)}]", "1"
            elif set(element) == {"Name", "Value"}:
                yield from flat(element["Value"], f"{path}.{snake(element['Name'])}")
            else:
                id_ = element.get("Id", element.get("id"))
                yield from flat({key: inner for key, inner in element.items() if key not in ("Id", "id")},
                                path if id_ is None else f"{path}[{id_}]")
    elif value is not None:
        yield path, hcl.text(value)


def permits(policy, own=None):
    """Yields a text for each action on each resource by each principal that a policy allows or
    denies. `own` is the resource that the policy belongs to, which `*` represents."""
    for statement in policy["Statement"]:
        rest = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "NotResource", "Condition"}
        if rest:
            raise AssertionError(f"unknown elements of a statement: {rest}")
        resources = listed(statement.get("Resource", [""]))
        if "NotResource" in statement:
            resources = ["all but " + ", ".join(sorted(listed(statement["NotResource"])))]
        principals = statement.get("Principal", "")
        if isinstance(principals, dict):
            principals = [f"{type_} {name}" for type_, names in principals.items() for name in listed(names)]
        conditions = " and ".join(sorted(
            f"{test} {variable} {', '.join(sorted(map(hcl.text, listed(values))))}"
            for test, variables in statement.get("Condition", {}).items() for variable, values in variables.items()))
        for action in listed(statement["Action"]):
            for resource in resources:
                resource = own if own and resource == "*" else resource
                for principal in listed(principals):
                    yield " ".join(filter(None, [
                        statement.get("Sid"), statement.get("Effect", "no effect"), action, "on", resource,
                        principal and f"by {principal}", conditions and f"if {conditions}"]))


def differences(template, module):
    """Returns a line for each attribute in which the records of template and module differ."""
    found = []
    for key in sorted(template.attributes.keys() | module.attributes.keys()):
        left, right = template.attributes.get(key), module.attributes.get(key)
        if left is None or right is None:
            there, absent = (template, module) if right is None else (module, template)
            found.append(f"{there.origins[key][None]}: no counterpart in {absent.prefix.strip(': /')} ({' '.join(key)})")
            continue
        for path in sorted(left.keys() | right.keys()):
            if left.get(path) != right.get(path):
                sides = [f"{side.origins[key].get(path, side.origins[key][None])} has {record.get(path, 'nothing')}"
                         for side, record in ((template, left), (module, right))]
                found.append(f"{path}: {'; '.join(sides)}")
    return found


# ----------------------------------------------------------------------------- parameters, outputs


def accepts_parameter(parameter, value):
    """Returns whether CloudFormation accepts a value of a parameter."""
    if "AllowedValues" in parameter and value not in parameter["AllowedValues"]:
        return False
    if "AllowedPattern" in parameter and not re.search(parameter["AllowedPattern"], value):
        return False
    return not ("MinValue" in parameter and value < parameter["MinValue"]
                or "MaxValue" in parameter and value > parameter["MaxValue"])


def accepts_variable(block, value):
    """Returns whether Terraform accepts a value of a variable."""
    module = hcl.Module([], {block.labels[0]: value})
    return all(module.value(rule.attributes()["condition"], {}) for rule in block.blocks("validation"))


LADDER = [-1, 0, 1, 2, 5, 7, 50, 1_000, 10**6, 10**9]


def probes(name, parameter):
    """Returns values that show where two rules for a parameter differ: numbers around each bound, and
    texts that differ from a valid one in one place or in length."""
    if parameter["Type"] == "Number":
        bounds = [parameter[bound] for bound in ("MinValue", "MaxValue", "Default") if bound in parameter]
        return LADDER + [bound + step for bound in bounds + parameter.get("AllowedValues", []) for step in (-1, 0, 1)]
    texts = {"", *parameter.get("AllowedValues", []), "x"}
    for valid in {SAMPLES.get(name, ""), parameter["Default"]}:
        texts |= {valid, valid * 2, valid * 50}
        for place in range(len(valid) + 1):
            texts.add(valid[:place] + valid[place + 1:])
            for character in "a0Z-._/:@% ?#0000":
                texts |= {valid[:place] + character + valid[place:], valid[:place] + character + valid[place + 1:]}
    return sorted(texts | {"0", "0.00", "0.01", "12.50", "1.234", "-1", "99999999"})


def literals(block):
    """Returns the elements of the lists in the rules of a variable."""
    nodes, found = [rule.attributes()["condition"] for rule in block.blocks("validation")], []
    while nodes:
        node = nodes.pop()
        nodes += [part for part in node.parts if isinstance(part, hcl.Node)]
        if node.kind == "tuple":
            found += [hcl.Module([], {}).value(element, {}) for element in node.parts]
    return found


def variables_of(blocks):
    return {block.labels[0]: block for block in blocks if block.type == "variable"}


def variable_differences(template, blocks):
    """Returns a line for each difference between the template's parameters and the variables."""
    variables, found = variables_of(blocks), []
    names = {name: snake(name) for name in template["Parameters"]}
    for name in sorted(set(names.values()) ^ (set(variables) - OWN_VARIABLES)):
        found.append(f"infra/terraform/variables.tf: {name}: a parameter and a variable of this name must both exist")
    for name, parameter in template["Parameters"].items():
        block = variables.get(names[name])
        if block is not None:
            where = f"infra/terraform/variables.tf: {names[name]}"
            found += [f"{where}: {line}" for line in one_variable(name, parameter, block, names)]
    return found


def one_variable(name, parameter, block, names):
    evaluate = hcl.Module([], {}).value
    attributes = block.attributes()
    switch = parameter.get("AllowedValues") == ["true", "false"]
    types = {"Number": "number", "CommaDelimitedList": "list(string)", "String": "bool" if switch else "string"}
    type_ = types[parameter["Type"]]
    if written(attributes.get("type")) != type_:
        yield f"type must be {type_}"
    if "nullable" not in attributes or evaluate(attributes["nullable"], {}):
        yield "nullable must be false"
    if "default" not in attributes or "Default" not in parameter:
        yield "default: the parameter and the variable must both have one"
    elif (default := evaluate(attributes["default"], {})) != as_variable(parameter["Default"], parameter):
        yield f"default is {default}, but in the template {parameter['Default']}"
    # The template's text, with the names that the module has, and without its form of a list.
    wanted = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), parameter.get("Description", ""))
    wanted = wanted.replace("<stack>", "<name>").replace(", separated by commas", "")
    if "description" not in attributes or evaluate(attributes["description"], {}) != wanted:
        yield f"description must be {wanted!r}"
    for rule in block.blocks("validation"):
        wanted = parameter.get("ConstraintDescription", "")
        message = evaluate(rule.attributes()["error_message"], {})
        if "AllowedPattern" in parameter and message != f"{names[name]} must be {wanted[:1].lower()}{wanted[1:]}.":
            yield f"error_message is {message!r}, but in the template {wanted!r}"
    if not switch and type_ != "list(string)" and "Default" in parameter:
        for value in probes(name, parameter) + literals(block):
            accepted = accepts_variable(block, value)
            if accepted != accepts_parameter(parameter, value):
                yield f"validation {'accepts' if accepted else 'refuses'} {value!r}, unlike the template"
                break


def written(node):
    """Returns a type expression as it is written."""
    if node is None:
        return None
    return node.parts[0] if node.kind == "name" else f"{node.parts[0]}({written(node.parts[1])})"


def output_differences(stack, blocks, variables):
    """Returns a line for each difference between the outputs."""
    module = hcl.Module(blocks, {"packages": PACKAGES, "tags": TAGS} | variables)
    outputs = {}
    for block in blocks:
        if block.type == "output":
            attributes = block.attributes()
            value = module.value(attributes["value"], {})
            description = module.value(attributes["description"], {}) if "description" in attributes else None
            outputs[block.labels[0]] = (description, " ".join(value) if isinstance(value, list) else value)
    wanted = stack.outputs()
    return [f"infra/terraform/outputs.tf: {name}: the module has {outputs.get(name, 'nothing')}, "
            f"the template {wanted.get(name, 'nothing')}"
            for name in sorted(wanted.keys() | outputs.keys()) if wanted.get(name) != outputs.get(name)]


# --------------------------------------------------------------------------------------- comparing


def compare(template=TEMPLATE, blocks=MODULE, variables=True, parts=None, changed=None, records=None):
    """Yields a line for each difference between a template and a module.

    The rest is for the comparisons with an omission, of which there are thousands: `variables` is
    whether the variables are compared, `parts` are the records of the template's resources for each
    scenario, of which only that of `changed` is evaluated, and `records` are those of the module."""
    if variables:
        yield from variable_differences(template, blocks)
    known = set(variables_of(blocks))
    for number, scenario in enumerate(SCENARIOS):
        given = {snake(name): as_variable(value, template["Parameters"][name])
                 for name, value in scenario.items() if name in template["Parameters"] and snake(name) in known}
        stack = Stack(template, scenario)
        left = Records.union(stack.parts(parts and parts[number], changed).values())
        yield from differences(left, records[number] if records else module_records(blocks, given))
        yield from output_differences(stack, blocks, given)


def is_noticed(**given):
    """Returns whether an omission is reported, as a difference or because one side is invalid."""
    try:
        return next(compare(**given), None) is not None
    except (AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError, hcl.Unsupported):
        return True


def omissions(value, where=""):
    """Yields what is missing, for each way to take one element out of nested values. The values are
    changed and restored, so each omission must be used before the next."""
    for key, element in list(value.items() if isinstance(value, dict) else enumerate(value)):
        place = f"{where}: {key}" if where else str(key)
        if not re.search(NOT_COMPARED_TEMPLATE, place):
            kept = value.copy()
            del value[key]
            yield place
            value.clear()
            value.update(kept) if isinstance(value, dict) else value.extend(kept)
            if isinstance(element, (dict, list)):
                yield from omissions(element, place)


def without_in_template():
    """Yields each omission in the template, and what is compared with it."""
    parts = [Stack(TEMPLATE, scenario).parts() for scenario in SCENARIOS]
    records = [module_records(MODULE, {snake(name): as_variable(value, TEMPLATE["Parameters"][name])
                                       for name, value in scenario.items()}) for scenario in SCENARIOS]
    for place in omissions(TEMPLATE):
        section, *rest = place.split(": ")
        given = {"variables": section == "Parameters", "records": records}
        if section == "Resources" or section == "Outputs":
            given |= {"parts": parts, "changed": rest[0] if rest and section == "Resources" else None}
        yield place, given


def without_in_module():
    """Yields each omission in the module, and what is compared with it."""
    parts = [Stack(TEMPLATE, scenario).parts() for scenario in SCENARIOS]
    for place, blocks in hcl.without(MODULE):
        if not re.search(NOT_COMPARED_MODULE, place):
            yield place, {"blocks": blocks, "variables": place.startswith("variables.tf"), "parts": parts}


def check_share(omitted, number, shares):
    """Returns the places of all omissions, and those of a share of them that nothing has reported."""
    seen, unnoticed = [], []
    for index, (place, given) in enumerate(omitted()):
        seen.append(place)
        if index % shares == number and not is_noticed(**given):
            unnoticed.append(place)
    return seen, unnoticed


def checked_on_all_cores(omitted):
    """Returns the places of all omissions, and those that nothing has reported. There are thousands,
    and each takes a comparison, so each core gets a share."""
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        shares = pool.starmap(check_share, [(omitted, number, cores) for number in range(cores)])
    return shares[0][0], [place for _, unnoticed in shares for place in unnoticed]


# What has no counterpart on the other side, as patterns of places. DependsOn and depends_on order
# the creation of resources, which differs. An If without its last operand has no value there, like
# AWS::NoValue. A mapping has no batching window unless it is set.
NOT_COMPARED_TEMPLATE = (
    r"^(AWSTemplateFormatVersion|Transform|Description|Metadata)$|: (Metadata|DependsOn)$|If: 2: Ref$"
    r"|MaximumBatchingWindowInSeconds$")
NOT_COMPARED_MODULE = r"^versions\.tf|^variables\.tf: variable\.(name|packages|tags)|depends_on|rule: filter$"


class SameStack(unittest.TestCase):
    maxDiff = None

    def test_the_module_is_the_template(self):
        self.assertEqual(list(compare()), [])

    def test_each_parameter_has_another_value_in_a_scenario_and_its_default_in_another(self):
        for name, parameter in TEMPLATE["Parameters"].items():
            self.assertNotEqual(OTHER[name], parameter["Default"], name)
            self.assertTrue(accepts_parameter(parameter, OTHER[name]), name)
            self.assertTrue(any(name not in scenario for scenario in SCENARIOS), name)


class Omissions(unittest.TestCase):
    """The comparison notices every element that is missing on one side."""

    maxDiff = None

    def test_in_the_template(self):
        seen, unnoticed = checked_on_all_cores(without_in_template)
        self.assertEqual(unnoticed, [])
        for section in ("Parameters", "Resources", "Outputs"):
            self.assertLess({f"{section}: {name}" for name in TEMPLATE[section]}, set(seen))

    def test_in_the_module(self):
        seen, unnoticed = checked_on_all_cores(without_in_module)
        self.assertEqual(unnoticed, [])
        described = {hcl.describe(block, 0) for block in MODULE if block.file != "versions.tf"}
        self.assertLess(described - {f"variables.tf: variable.{name}" for name in OWN_VARIABLES}, set(seen))

    def test_a_difference_names_file_resource_and_attribute(self):
        alarms = next(block for block in MODULE if block.type == "locals" and "alarm_defaults" in block.attributes())
        [period] = [entry for entry in alarms.attributes()["alarm_defaults"].parts if entry.parts[0].parts == ["period"]]
        kept, period.parts[1] = period.parts[1], hcl.Node("literal", [60])
        line = next(compare(variables=False))
        period.parts[1] = kept
        self.assertEqual(line, "period: infra/template.yaml: CollectErrorsAlarm has 300; "
                         'infra/terraform/alarms.tf: aws_cloudwatch_metric_alarm.this["CollectErrorsAlarm"] has 60')


# ------------------------------------------------------------------------------------------- files


def default_of(block):
    """Returns the default of a variable as terraform-docs prints it."""
    if "default" not in block.attributes():
        return "n/a"
    value = hcl.Module([], {}).value(block.attributes()["default"], {})
    return "`{}`" if value == {} else f"`{json.dumps(value)}`"


def tables(blocks):
    """Returns the tables of the README, in the form of terraform-docs."""
    evaluate = hcl.Module([], {}).value
    settings = {name: block.attributes() for name, block in variables_of(blocks).items()}
    [terraform] = [block for block in blocks if block.type == "terraform"]
    [providers] = terraform.blocks("required_providers")
    lines = ["## Requirements", "", "| Name | Version |", "|------|---------|"]
    lines.append(f"| terraform | {evaluate(terraform.attributes()['required_version'], {})} |")
    lines += [f"| {name} | {evaluate(node, {})['version']} |" for name, node in providers.attributes().items()]
    lines += ["", "## Inputs", "", "| Name | Description | Type | Default | Required |",
              "|------|-------------|------|---------|:--------:|"]
    for name, block in sorted(variables_of(blocks).items()):
        description = evaluate(settings[name]["description"], {}).replace("<", "\\<").replace(">", "\\>")
        required = "no" if "default" in settings[name] else "yes"
        lines.append(f"| {name} | {description} | `{written(settings[name]['type'])}` | {default_of(block)} | {required} |")
    lines += ["", "## Outputs", "", "| Name | Description |", "|------|-------------|"]
    outputs = {block.labels[0]: block.attributes() for block in blocks if block.type == "output"}
    lines += [f"| {name} | {evaluate(node['description'], {})} |" for name, node in sorted(outputs.items())]
    return "\n".join(lines)


# An attribute on one line: indentation, name, the space before `=`, and the value.
ATTRIBUTE = re.compile(r"^( *)([\w-]+)( +)=( +)(?![=>])(.*)$")


def layout_errors(text):
    """Yields the lines of a file that `terraform fmt` would change, as far as this is simple to see:
    indentation, and the alignment of `=` in consecutive lines."""
    depth, chain = 0, []

    def close():
        width = max((len(name) for _, name, _ in chain), default=0)
        yield from (f"{number}: = is not aligned" for number, name, space in chain if len(name + space) != width + 1)
        chain.clear()

    for number, line in enumerate(text.split("\n"), 1):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|#.*', "", line)
        opened = sum(map(bare.count, "([{")) - sum(map(bare.count, ")]}"))
        starts_closed = bool(re.match(r" *[\])}]", line))
        if line.strip() and len(line) - len(line.lstrip()) != 2 * (depth - starts_closed):
            yield f"{number}: indented by {len(line) - len(line.lstrip())} instead of {2 * (depth - starts_closed)}"
        if line != line.rstrip() or "\t" in line:
            yield f"{number}: white space"
        attribute = ATTRIBUTE.match(line)
        if attribute and opened == 0:
            chain.append((number, attribute[2], attribute[3]))
        else:
            yield from close()
        # However many brackets a line opens, it indents the next one by one level.
        depth += (opened > 0) - (opened < 0)
    yield from close()


class Files(unittest.TestCase):
    maxDiff = None

    def test_the_layout_is_that_of_terraform_fmt(self):
        for path in sorted(FOLDER.rglob("*.tf")):
            self.assertEqual(list(layout_errors(path.read_text())), [], path)
        self.assertEqual(list(layout_errors("a {\n  b   = 1\n  cde = [\n    2,\n  ]\n  f = 3\n}\n")), ["2: = is not aligned"])
        self.assertEqual(list(layout_errors("a {\n    b = 1\n}\n")), ["2: indented by 4 instead of 2"])

    def test_the_readme_has_the_tables_of_the_module(self):
        readme = (FOLDER / "README.md").read_text()
        documented = readme.split("<!-- BEGIN_TF_DOCS -->\n")[1].split("\n<!-- END_TF_DOCS -->")[0]
        self.assertEqual(documented, tables(MODULE))

    def test_the_examples_set_only_variables_of_the_module_and_all_that_are_required(self):
        required = {name for name, block in variables_of(MODULE).items() if "default" not in block.attributes()}
        for folder in (FOLDER / "examples").iterdir():
            [call] = [block for block in hcl.parse(folder) if block.type == "module"]
            names = set(call.attributes()) - {"source"}
            self.assertLessEqual(names, set(variables_of(MODULE)), folder)
            self.assertLessEqual(required, names, folder)

    def test_the_module_configures_no_provider(self):
        self.assertEqual([block.file for block in MODULE if block.type == "provider"], [])


if __name__ == "__main__":
    unittest.main()
