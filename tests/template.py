"""Compares the template with the code that it deploys, and checks rules that no linter covers. Run
by tests/checks."""

import json
import re
import unittest
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAIN = (ROOT / "functions/darkroom/src/chain.rs").read_text()
WIRING = (ROOT / "functions/runtime/src/wiring.rs").read_text()
SETTINGS = (ROOT / "functions/runtime/src/settings.rs").read_text()
BOUNDED = (ROOT / "functions/darkroom/src/settings.rs").read_text()
OBJECT_KEYS = (ROOT / "functions/darkroom/src/object_keys.rs").read_text()
SOURCE = re.compile(
    r"Source \{\s*queue: (\w+),\s*function: Function::(\w+),\s*"
    r"batch_size: ([\d_]+),\s*concurrency: (\d+),\s*max_receive_count: ([\d_]+),?\s*\}"
)
SWEEP_EVERY = re.compile(r"SWEEP_EVERY: SignedDuration = SignedDuration::from_(hour|min)s\((\d+)\);")
RATE = re.compile(r"rate\((\d+) (hour|min)(?:ute)?s?\)")
URL_VARIABLE_SUFFIX = re.compile(r'URL_VARIABLE_SUFFIX: &str = "(\w+)";')
VARIABLE = re.compile(r'"([A-Z][A-Z0-9_]+)"')
BOUNDS = re.compile(r"const (\w+): Bounds<\w+> = Bounds::(?:between|at_least)\(([\d_]+)(?:, ([\d_]+))?\);")
KEY = re.compile(r'"((?:jobs|stack|control)/[^"]*[^"/])"')
DOCUMENT = re.compile(r'document\(job, "([^"]*[^"/])"\)|=> "(_[A-Z_]+)"')
SECONDS = {"hour": 3600, "min": 60}
# Lambda stops a function that has run this many times in one chain of messages.
HOPS = 16


class Tags(yaml.SafeLoader):
    """Reads `!Ref Name` as {"Ref": "Name"}, and CloudFormation's other functions likewise."""


def tagged(loader, name, node):
    if node.id == "scalar":
        return {name: loader.construct_scalar(node)}
    read = {"sequence": loader.construct_sequence, "mapping": loader.construct_mapping}
    return {name: read[node.id](node, deep=True)}


Tags.add_multi_constructor("!", tagged)
TEMPLATE = yaml.load((ROOT / "infra/template.yaml").read_text(), Tags)
RESOURCES = {name: resource["Properties"] for name, resource in TEMPLATE["Resources"].items()}
GLOBALS = TEMPLATE["Globals"]["Function"]
# "Plan", "Submit", and so on.
FUNCTIONS = [name.removesuffix("Function") for name, resource in TEMPLATE["Resources"].items()
             if resource["Type"] == "AWS::Serverless::Function"]


def value(setting):
    """Returns a number unchanged, or the default of the parameter that a reference names."""
    return TEMPLATE["Parameters"][setting["Ref"]]["Default"] if isinstance(setting, dict) else setting


def statements(policy):
    """Yields the statements of a policy, including those that depend on a condition."""
    for statement in policy["Statement"]:
        yield statement["If"][1] if "If" in statement else statement


def variables(function):
    """Returns the environment variables of a function."""
    return RESOURCES[f"{function}Function"]["Environment"]["Variables"] | GLOBALS["Environment"]["Variables"]


def code(*crates):
    """Returns the source code of these crates."""
    files = [path for crate in crates for path in (ROOT / f"functions/{crate}/src").rglob("*.rs")]
    return "".join(path.read_text() for path in files)


def body(source, name):
    """Returns the source code of a function, or an empty text if there is no such function."""
    found = re.search(rf"^( *)(?:pub )?fn {name}\(.*?^\1}}$", source, re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


def queues_asked_for(function):
    """Returns the names of the queues that a function's dependencies include."""
    asked = code_of_deps(function)
    if "wiring.shard_queues()" in asked:
        asked += body(WIRING, "shard_queues")
    if "wiring.announcer()" in asked:
        asked += body(WIRING, "announcer")
    return {name.lower() for name in re.findall(r"\.queue\((?:chain::)?(\w+)\)", asked)}


def setting_variables(setting):
    """Returns the variables that a setting is read from. Its reader may call that of another one."""
    reader = body(SETTINGS, setting)
    others = re.findall(r"\b(\w+)\(variables[,)]", reader)
    return set(VARIABLE.findall(reader)).union(*map(setting_variables, others))


def code_of_deps(function):
    """Returns the code that builds a function's dependencies."""
    return (ROOT / f"functions/{function.lower()}/src/deps.rs").read_text()


def variables_read(function):
    """Returns the variables that a function reads, except those with the URLs of queues."""
    asked = code_of_deps(function)
    read = set(VARIABLE.findall(code("seam"))) | {"BUCKET", "AWS_LAMBDA_LOG_LEVEL"}
    if "wiring.gemini()" in asked:
        read |= set(VARIABLE.findall(code("gemini")))
    settings = re.findall(r"wiring\.settings\.(\w+)", asked)
    if "wiring.announcer()" in asked:
        settings += re.findall(r"self\.settings\.(\w+)", body(WIRING, "announcer"))
    return read.union(*map(setting_variables, settings))


def object_keys():
    """Returns an example of each key that the code builds. A placeholder becomes "x"."""
    keys = KEY.findall(OBJECT_KEYS) + [f"jobs/{{job}}/{a or b}" for a, b in DOCUMENT.findall(OBJECT_KEYS)]
    return {re.sub(r"\{[^{}]*\}", "x", key) for key in keys} - {"jobs/x/x"}


def may_write(function, key):
    """Returns whether the role of a function permits to write an object of the stack's bucket."""
    [policy] = RESOURCES[f"{function}Role"]["Policies"]
    puts = [s["Resource"] for s in statements(policy["PolicyDocument"]) if "s3:PutObject" in s["Action"]]
    resources = [r for put in puts for r in (put if isinstance(put, list) else [put])]
    return any(fnmatchcase(f"${{Bucket.Arn}}/{key}", resource["Sub"]) for resource in resources)


def may_send_to(function):
    """Returns the names of the queues that the role of a function permits to send to."""
    [policy] = RESOURCES[f"{function}Role"]["Policies"]
    sends = [s["Resource"] for s in statements(policy["PolicyDocument"]) if s["Action"] == "sqs:SendMessage"]
    queues = [queue for send in sends for queue in (send if isinstance(send, list) else [send])]
    return {queue["GetAtt"].removesuffix("Queue.Arn") for queue in queues}


class Template(unittest.TestCase):
    def test_the_chain_is_that_of_the_local_host(self):
        sources = SOURCE.findall(CHAIN)
        self.assertEqual([function for _, function, *_ in sources] + ["Sweep"], FUNCTIONS)
        for queue, function, batch_size, concurrency, receives in sources:
            queue = queue.title()
            settings = RESOURCES[f"{queue}Queue"]
            [(name, source)] = RESOURCES[f"{function}Function"]["Events"].items()
            source = source["Properties"]
            with self.subTest(queue):
                self.assertEqual(name, queue)
                self.assertEqual(source["Queue"], {"GetAtt": f"{queue}Queue.Arn"})
                batch_size = int(batch_size.replace("_", ""))
                self.assertEqual(source["BatchSize"], batch_size)
                # SQS returns ten messages at a time. Lambda collects more only during a batching
                # window.
                if batch_size > 10:
                    self.assertGreaterEqual(source["MaximumBatchingWindowInSeconds"], 1)
                self.assertEqual(value(source["ScalingConfig"]["MaximumConcurrency"]), int(concurrency))
                self.assertEqual(source["FunctionResponseTypes"], ["ReportBatchItemFailures"])
                self.assertEqual(settings["RedrivePolicy"]["maxReceiveCount"], int(receives.replace("_", "")))
                self.assertEqual(settings["VisibilityTimeout"], 6 * GLOBALS["Timeout"])

    def test_a_sweep_ends_before_the_next_one_and_runs_as_often_as_on_the_local_host(self):
        [(unit, number)] = SWEEP_EVERY.findall(CHAIN)
        sweep = RESOURCES["SweepFunction"]
        [event] = sweep["Events"].values()
        schedule = event["Properties"]
        every = int(number) * SECONDS[unit]
        number, unit = RATE.fullmatch(schedule["ScheduleExpression"]).groups()
        self.assertEqual(int(number) * SECONDS[unit], every)
        waits = [schedule["RetryPolicy"], sweep["EventInvokeConfig"]]
        self.assertLessEqual(sum(wait["MaximumEventAgeInSeconds"] for wait in waits) + GLOBALS["Timeout"], every)
        self.assertEqual(sweep["EventInvokeConfig"]["MaximumRetryAttempts"], 0)

    def test_every_queue_has_dead_letters_and_requires_tls(self):
        queues = {name for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == "AWS::SQS::Queue"}
        self.assertEqual(len(queues), 2 * len(SOURCE.findall(CHAIN)))
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
        self.assertEqual(set(roles), {f"{name}Role" for name in FUNCTIONS} | {"SweepScheduleRole"})
        for name, role in roles.items():
            self.assertNotIn("ManagedPolicyArns", role)
            for policy in role["Policies"]:
                for statement in statements(policy["PolicyDocument"]):
                    self.assertNotIn("*", str(statement["Action"]), name)
                    self.assertNotEqual(statement["Resource"], "*", name)

    def test_a_function_may_write_each_object_that_the_code_names_unless_people_do(self):
        keys = object_keys()
        by_people = {"stack/models.toml", "stack/folders.toml", "control/x/cancel"}
        self.assertLess(by_people | {"jobs/x/plan.lock", "jobs/x/_SUCCESS", "jobs/x/shards/x/keys/x.jsonl"}, keys)
        for key in keys:
            writers = [name for name in FUNCTIONS if may_write(name, key)]
            self.assertEqual(bool(writers), key not in by_people, f"{key}, by {writers}")

    def test_only_generate_sends_to_the_queue_that_triggers_it(self):
        to_itself = []
        for name in FUNCTIONS:
            [event] = RESOURCES[f"{name}Function"]["Events"].values()
            if event["Type"] == "SQS":
                queue = event["Properties"]["Queue"]["GetAtt"].removesuffix("Queue.Arn")
                to_itself += [name] if queue in may_send_to(name) else []
            else:
                self.assertEqual(event["Type"], "ScheduleV2")
        # Each round is a hop. An image may have one more round after it changed to another lane, and
        # it changes at most twice: from a late batch to the flex tier, and from there to the fallback.
        self.assertEqual(to_itself, ["Generate"])
        self.assertLess(TEMPLATE["Parameters"]["MaxRounds"]["MaxValue"] + 2, HOPS)

    def test_every_function_may_send_to_the_queues_that_it_uses_and_to_no_other(self):
        for name in FUNCTIONS:
            asked = {queue.title() for queue in queues_asked_for(name)}
            [event] = RESOURCES[f"{name}Function"]["Events"].values()
            # A message of the queue that triggers it returns by visibility: nothing is sent.
            own = {event["Properties"]["Queue"]["GetAtt"].removesuffix("Queue.Arn")} if event["Type"] == "SQS" else set()
            self.assertEqual(may_send_to(name) - own, asked - own, name)

    def test_the_bucket_policy_denies_the_same_to_every_function(self):
        denied = {s["Sid"]: s for s in statements(RESOURCES["BucketPolicy"]["PolicyDocument"]) if s["Principal"] != "*"}
        self.assertEqual(set(denied), {"NoFunctionWritesWhatPeopleWrite", "NoFunctionDeletes", "LocksByConditionOnly"})
        for sid, statement in denied.items():
            with self.subTest(sid):
                self.assertEqual(statement["Effect"], "Deny")
                self.assertEqual(statement["Principal"]["AWS"], [{"GetAtt": f"{name}Role.Arn"} for name in FUNCTIONS])

    def test_every_function_receives_the_urls_of_the_queues_that_it_uses(self):
        [suffix] = URL_VARIABLE_SUFFIX.findall(CHAIN)
        for name in FUNCTIONS:
            asked = queues_asked_for(name)
            self.assertTrue(asked, name)
            wanted = {queue.upper() + suffix: {"Ref": f"{queue.title()}Queue"} for queue in asked}
            given = {variable: url for variable, url in variables(name).items() if variable.endswith(suffix)}
            self.assertEqual(given, wanted, name)

    def test_every_variable_is_one_that_the_function_reads(self):
        [suffix] = URL_VARIABLE_SUFFIX.findall(CHAIN)
        for name in FUNCTIONS:
            given = {variable for variable in variables(name) if not variable.endswith(suffix)}
            self.assertEqual(given - variables_read(name), set(), name)

    def test_parameters_have_the_bounds_of_the_settings(self):
        # Python reads the underscores of a Rust number, too.
        bounds = {variable: {"MinValue": int(least), "MaxValue": int(most) if most else None}
                  for variable, least, most in BOUNDS.findall(BOUNDED)}
        compared = set()
        for name in FUNCTIONS:
            for variable, setting in variables(name).items():
                if variable in bounds:
                    parameter = TEMPLATE["Parameters"][setting["Ref"]]
                    self.assertEqual({bound: parameter.get(bound) for bound in bounds[variable]}, bounds[variable],
                                     variable)
                    compared.add(variable)
        # No parameter sets the other two.
        self.assertEqual(compared, set(bounds) - {"SHARD_INPUT_BYTES", "SHARD_RESPONSE_BYTES"})

    def test_the_daily_cap_is_nothing_or_above_zero(self):
        pattern = TEMPLATE["Parameters"]["DailyCapUsd"]["AllowedPattern"]
        accepted = [cap for cap in ["", "25", "12.50", "0.01", "0", "0.00", "-1", "1.234"] if re.search(pattern, cap)]
        self.assertEqual(accepted, ["", "25", "12.50", "0.01"])

    def test_the_address_of_images_is_nothing_or_an_https_address(self):
        pattern = TEMPLATE["Parameters"]["ImageBaseUrl"]["AllowedPattern"]
        accepted = ["", "https://cdn.example.com", "https://cdn.example.com:8443/shop/a%20b/"]
        refused = ["http://cdn.example.com", "cdn.example.com", "https://", "https://u@x.org", "https://x.org/?a", "https://x.org/#a"]
        self.assertEqual([url for url in accepted + refused if re.search(pattern, url)], accepted)

    def test_a_webhook_is_nothing_an_https_address_or_on_this_machine(self):
        pattern = TEMPLATE["Parameters"]["WebhookUrl"]["AllowedPattern"]
        accepted = ["", "https://example.com", "https://example.com/hooks?token=a", "http://127.0.0.1:8080/hooks"]
        refused = ["http://example.com", "https://u@example.com/", "https://example.com:8443/", "https://example.com/#a",
                   "http://127.0.0.1.example.com/", "http://localhost/"]
        self.assertEqual([url for url in accepted + refused if re.search(pattern, url)], accepted)

    def test_events_are_announced_if_there_is_a_target_and_each_target_is_permitted_only_if_it_is_set(self):
        conditions = TEMPLATE["Conditions"]
        targets = {"EventBusName": "EventsToBus", "EventTopicArn": "EventsToTopic", "WebhookUrl": "EventsToWebhook"}
        for parameter, condition in targets.items():
            self.assertEqual(conditions[condition], {"Not": [{"Equals": [{"Ref": parameter}, ""]}]})
        joined = {"Join": ["", [{"Ref": parameter} for parameter in targets]]}
        self.assertEqual(conditions["EventsAnnounced"], {"Not": [{"Equals": [joined, ""]}]})
        for name in FUNCTIONS:
            announces = "wiring.announcer()" in code_of_deps(name)
            self.assertEqual("ANNOUNCE_EVENTS" in variables(name), announces, name)
        [policy] = RESOURCES["NotifyRole"]["Policies"]
        conditional = {s["If"][0]: s["If"][1]["Action"] for s in policy["PolicyDocument"]["Statement"] if "If" in s}
        self.assertEqual(conditional, {"EventsToBus": "events:PutEvents", "EventsToTopic": "sns:Publish",
                                       "EventsToWebhook": "ssm:GetParameter"})

    def test_every_alarm_is_about_a_metric_that_the_code_writes(self):
        metrics = (ROOT / "functions/runtime/src/metrics.rs").read_text()
        written = set(re.findall(r"^    (\w+),$", metrics, re.MULTILINE))
        alarms = {name: resource for name, resource in RESOURCES.items() if resource.get("Namespace") == "Darkroom"}
        self.assertEqual({f"{alarm['MetricName']}Alarm" for alarm in alarms.values()}, set(alarms))
        self.assertEqual({alarm["MetricName"] for alarm in alarms.values()} - written, set())

    def test_the_dashboard_shows_metrics_that_the_code_writes_and_every_function_and_queue(self):
        text, values = RESOURCES["Dashboard"]["DashboardBody"]["Sub"]
        body = json.loads(text.replace("${Cap}", ""))
        self.assertEqual(list(values), ["Cap"])
        shown = [metric for widget in body["widgets"] for metric in widget["properties"]["metrics"]]
        written = re.findall(r"^    (\w+),$", (ROOT / "functions/runtime/src/metrics.rs").read_text(), re.MULTILINE)
        self.assertLessEqual({name for namespace, name, *_ in shown if namespace == "Darkroom"}, set(written))
        resources = {metric[3] for metric in shown if metric[0] != "Darkroom"}
        queues = {name for name in RESOURCES if name.endswith(("Queue", "DeadLetters"))}
        self.assertEqual(resources, {f"${{{name}Function}}" for name in FUNCTIONS} | {f"${{{queue}.QueueName}}" for queue in queues})

    def test_the_key_is_named_and_never_held(self):
        self.assertNotRegex((ROOT / "infra/template.yaml").read_text(), r"(GEMINI_API_KEY|WEBHOOK_SECRET)(?!_PARAMETER)")
        for name in FUNCTIONS:
            asks = name in ["Submit", "Poll", "Collect", "Generate", "Sweep"]
            self.assertEqual("GEMINI_API_KEY_PARAMETER" in variables(name), asks, name)
            self.assertEqual("WEBHOOK_SECRET_PARAMETER" in variables(name), name == "Notify", name)
            self.assertEqual("ssm:" in str(RESOURCES[f"{name}Role"]), asks or name == "Notify", name)


if __name__ == "__main__":
    unittest.main()
