"""A small evaluator of Terraform's language, for infra/terraform.

python-hcl2 parses; this module evaluates the subset that the module uses: references to variables,
locals, data sources and resources, `for_each`, `count` and dynamic blocks, string templates,
conditionals, `for` expressions, splats, operators, and the functions in FUNCTIONS. Anything else
raises Unsupported, so that a new construct is noticed and never skipped.

What only AWS knows, such as an ARN, is derived from names by the rules in COMPUTED. JSON text stays
a value: `jsonencode(x)` is `x`, and the `json` of a policy document is the policy.
"""

import operator
import re
from dataclasses import dataclass
from pathlib import Path

import hcl2
from lark import Token

ACCOUNT, REGION, PARTITION = "123456789012", "eu-west-1", "aws"
STACK_ID = "0f6c9a8e-unique"
META = {"for_each", "count", "depends_on", "lifecycle", "provider"}


class Unsupported(Exception):
    """The module uses something that this evaluator does not know."""


@dataclass
class Node:
    """An expression: `kind` is a rule below, and `parts` are its operands."""

    kind: str
    parts: list


@dataclass
class Block:
    """A block or the body of a file: `entries` are pairs (attribute, Node) and Blocks."""

    type: str
    labels: list[str]
    entries: list
    file: str = ""

    def blocks(self, type_):
        return [entry for entry in self.entries if isinstance(entry, Block) and entry.type == type_]

    def attributes(self):
        return dict(entry for entry in self.entries if not isinstance(entry, Block))


# ------------------------------------------------------------------------------------------- parse


def parse(folder):
    """Parses all files of a module into one list of top-level blocks."""
    blocks = []
    for path in sorted(Path(folder).glob("*.tf")):
        [body] = hcl2.parses_to_tree(path.read_text()).children
        for block in read_body(body):
            block.file = path.name
            blocks.append(block)
    return blocks


def inner(tree):
    """Returns the operands of a rule, without punctuation and comments."""
    return [child for child in tree.children if not isinstance(child, Token) and child.data != "new_line_or_comment"]


def word(tree):
    """Returns the text of an identifier, a keyword or a string without interpolation."""
    return "".join(str(token) for token in tree.scan_values(lambda token: token != '"'))


def read_body(tree):
    entries = []
    for child in inner(tree):
        operands = inner(child)
        if child.data == "attribute":
            entries.append((word(operands[0]), expression(operands[1])))
        else:
            type_, *labels = map(word, operands[:-1])
            entries.append(Block(type_, labels, read_body(operands[-1])))
    return entries


def expression(tree):
    """Turns the tree of an expression into a Node."""
    operands = inner(tree)
    match str(tree.data):
        case "expr_term":
            return expression(operands[0])
        case "identifier":
            return Node("name", [word(tree)])
        case "literal_value":
            return Node("literal", [{"true": True, "false": False, "null": None}[word(tree)]])
        case "int_lit":
            return Node("literal", [int(word(tree))])
        case "string":
            return Node("template", [string_part(part) for part in operands])
        case "tuple":
            return Node("tuple", list(map(expression, operands)))
        case "object":
            return Node("object", [Node("entry", list(map(expression, inner(entry)))) for entry in operands])
        case "object_elem_key":
            # `name = …` and `(expression) = …`
            key = expression(operands[0])
            parenthesized = isinstance(operands[0].children[0], Token)
            return Node("literal", [key.parts[0]]) if key.kind == "name" and not parenthesized else key
        case "conditional":
            return Node("conditional", list(map(expression, operands)))
        case "binary_op":
            left, term = operands
            sign, right = inner(term)
            return Node("binary", [word(sign), expression(left), expression(right)])
        case "unary_op":
            return Node("unary", [str(tree.children[0]), expression(operands[0])])
        case "function_call":
            name, *arguments = operands
            return Node("call", [word(name), *(expression(a) for a in (inner(arguments[0]) if arguments else []))])
        case "get_attr_expr_term":
            return Node("attribute", [expression(operands[0]), word(inner(operands[1])[0])])
        case "index_expr_term":
            return Node("index", [expression(operands[0]), expression(inner(operands[1])[0])])
        case "full_splat_expr_term":
            return Node("splat", [expression(operands[0]), *(word(inner(step)[0]) for step in inner(operands[1]))])
        case "for_tuple_expr" | "for_object_expr" as kind:
            intro, *results = operands
            *names, source = inner(intro)
            condition = inner(results.pop())[0] if results[-1].data == "for_cond" else None
            return Node(kind, [list(map(word, names)), expression(source), condition and expression(condition),
                               *map(expression, results)])
    raise Unsupported(tree.data)


def string_part(tree):
    [part] = tree.children
    if isinstance(part, Token):
        if part.type == "ESCAPED_INTERPOLATION":
            return Node("literal", [part[1:]])
        escapes = {"n": "\n", "t": "\t"}
        return Node("literal", [re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), part)])
    if part.data != "interpolation":
        raise Unsupported(part.data)
    return expression(inner(part)[0])


# ---------------------------------------------------------------------------------------- evaluate


def arn(service, name, region=REGION, account=ACCOUNT):
    return f"arn:{PARTITION}:{service}:{region}:{account}:{name}"


# The attributes that AWS assigns, by type of resource, from a function that returns its arguments.
COMPUTED = {
    "aws_cloudwatch_log_group": {"arn": lambda get: arn("logs", f"log-group:{get('name')}")},
    "aws_iam_role": {"arn": lambda get: arn("iam", f"role/{get('name')}", region="")},
    "aws_lambda_function": {"arn": lambda get: arn("lambda", f"function:{get('function_name')}")},
    "aws_s3_bucket": {"id": lambda get: get("bucket"), "arn": lambda get: arn("s3", get("bucket"), "", "")},
    "aws_sns_topic": {"arn": lambda get: arn("sns", get("name"))},
    "aws_sqs_queue": {
        "id": lambda get: queue_url(get("name")),
        "url": lambda get: queue_url(get("name")),
        "arn": lambda get: arn("sqs", get("name")),
    },
    "terraform_data": {"id": lambda get: STACK_ID},
    "data.aws_caller_identity": {"account_id": lambda get: ACCOUNT},
    "data.aws_partition": {"partition": lambda get: PARTITION},
    "data.aws_region": {"id": lambda get: REGION},
}


def queue_url(name):
    return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"


def text(value):
    """Returns a scalar as Terraform converts it to a string."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def matches(pattern, subject):
    """Terraform's regex(), which fails if nothing matches. Its syntax is RE2's: no lookaround."""
    if re.search(r"\(\?[=!<]|\\[1-9]", pattern):
        raise Unsupported(f"{pattern}: Terraform has no lookaround and no back-references")
    if not (found := re.search(pattern, subject)):
        raise ValueError(f"{subject} does not match {pattern}")
    return found[0]


def coalesce(*values):
    return next(value for value in values if value not in (None, ""))


FUNCTIONS = {
    "coalesce": coalesce,
    "compact": lambda values: [value for value in values if value not in (None, "")],
    "concat": lambda *lists: [value for values in lists for value in values],
    "contains": lambda values, value: value in values,
    "filebase64sha256": lambda path: f"hash of {path}",
    "join": lambda separator, values: separator.join(map(text, values)),
    "jsonencode": lambda value: value,
    "keys": lambda mapping: sorted(mapping),
    "length": len,
    "lookup": lambda mapping, key, default: mapping.get(key, default),
    "merge": lambda *mappings: {key: value for mapping in mappings for key, value in mapping.items()},
    "regex": matches,
    "tonumber": lambda value: float(value) if "." in value else int(value),
    "title": lambda value: value[:1].upper() + value[1:],
    "toset": lambda values: sorted(set(values)),
    "upper": str.upper,
}


OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "*": operator.mul,
}


@dataclass
class Instance:
    """One instance of a resource or data source. Its arguments are evaluated when needed."""

    module: "Module"
    block: Block
    address: str
    scope: dict
    _body: dict | None = None

    def body(self):
        """Returns all arguments; those of a nested block are a list of mappings, one per block."""
        if self._body is None:
            self._body = self.module.body(self.block, self.scope)
        return self._body

    def argument(self, name):
        return self.module.value(self.block.attributes()[name], self.scope)

    def get(self, name):
        kind = self.address_type()
        if kind == "data.aws_iam_policy_document" and name == "json":
            return policy(self.body())
        if rule := COMPUTED.get(kind, {}).get(name):
            return rule(self.argument)
        if name not in self.block.attributes():
            raise Unsupported(f"{self.address}.{name}: add the attribute to COMPUTED")
        return self.argument(name)

    def address_type(self):
        return f"data.{self.block.labels[0]}" if self.block.type == "data" else self.block.labels[0]


def policy(body):
    """Returns the policy that a policy document describes, as the provider writes it."""
    written = []
    for given in body.get("statement", []):
        statement = {"Effect": given.get("effect", "Allow")}
        for name, key in [("sid", "Sid"), ("actions", "Action"), ("resources", "Resource"),
                          ("not_resources", "NotResource")]:
            if name in given:
                statement[key] = given[name]
        for principals in given.get("principals", []):
            everyone = principals == {"type": "*", "identifiers": ["*"]}
            statement["Principal"] = "*" if everyone else {principals["type"]: principals["identifiers"]}
        for condition in given.get("condition", []):
            tests = statement.setdefault("Condition", {}).setdefault(condition["test"], {})
            tests[condition["variable"]] = condition["values"]
        unknown = set(given) - {"sid", "effect", "actions", "resources", "not_resources", "principals", "condition"}
        if unknown:
            raise Unsupported(f"in a policy document: {unknown}")
        written.append(statement)
    return {"Version": "2012-10-17", "Statement": written}


class Module:
    """The blocks of a module, with values for its variables."""

    def __init__(self, blocks, variables):
        self.blocks = blocks
        self.variables = {}
        for block in blocks:
            if block.type == "variable" and "default" in block.attributes():
                self.variables[block.labels[0]] = self.value(block.attributes()["default"], {})
        self.variables |= variables
        self._locals = {name: node for block in blocks if block.type == "locals"
                        for name, node in block.attributes().items()}
        self._resources = {}
        for block in blocks:
            if block.type in ("resource", "data"):
                prefix = "data." if block.type == "data" else ""
                self._resources[prefix + ".".join(block.labels)] = block
        self._known = {}

    def instances(self, address):
        """Returns the instances of a resource: one, a list for `count`, or a mapping for `for_each`."""
        if address not in self._known:
            block = self._resources[address]
            attributes = block.attributes()
            if "for_each" in attributes:
                elements = self.value(attributes["for_each"], {})
                elements = elements if isinstance(elements, dict) else {key: key for key in elements}
                found = {key: Instance(self, block, f'{address}["{key}"]', {"each": {"key": key, "value": value}})
                         for key, value in sorted(elements.items())}
            elif "count" in attributes:
                found = [Instance(self, block, f"{address}[{index}]", {})
                         for index in range(self.value(attributes["count"], {}))]
            else:
                found = Instance(self, block, address, {})
            self._known[address] = found
        return self._known[address]

    def all_instances(self):
        """Yields every instance of every resource."""
        for address, block in self._resources.items():
            if block.type == "resource":
                found = self.instances(address)
                yield from found.values() if isinstance(found, dict) else found if isinstance(found, list) else [found]

    def body(self, block, scope):
        """Evaluates the arguments and nested blocks of a block, without META."""
        values = {}
        for entry in block.entries:
            if not isinstance(entry, Block):
                name, node = entry
                if name not in META and (value := self.value(node, scope)) is not None:
                    values[name] = value
            elif entry.type == "dynamic":
                [content] = entry.blocks("content")
                elements = self.value(entry.attributes()["for_each"], scope)
                pairs = elements.items() if isinstance(elements, dict) else enumerate(elements)
                for key, value in pairs:
                    nested = self.body(content, scope | {entry.labels[0]: {"key": key, "value": value}})
                    values.setdefault(entry.labels[0], []).append(nested)
            elif entry.type not in META:
                values.setdefault(entry.type, []).append(self.body(entry, scope))
        return values

    def local(self, name):
        if ("local", name) not in self._known:
            self._known["local", name] = self.value(self._locals[name], {})
        return self._known["local", name]

    def value(self, node, scope):
        """Evaluates an expression. `scope` has the names of `for`, `each` and dynamic blocks."""
        parts = node.parts
        match node.kind:
            case "literal":
                return parts[0]
            case "template":
                if len(parts) == 1 and parts[0].kind == "literal":
                    return parts[0].parts[0]
                return "".join(text(self.value(part, scope)) for part in parts)
            case "tuple":
                return [self.value(part, scope) for part in parts]
            case "object":
                return {self.value(key, scope): self.value(value, scope) for key, value in (e.parts for e in parts)}
            case "conditional":
                return self.value(parts[1] if self.value(parts[0], scope) else parts[2], scope)
            case "unary" if parts[0] == "!":
                return not self.value(parts[1], scope)
            case "binary":
                return self.binary(parts[0], parts[1], parts[2], scope)
            case "call":
                return self.call(parts[0], parts[1:], scope)
            case "name":
                return scope[parts[0]]
            case "attribute":
                return self.attribute(node, scope)
            case "index":
                return self.value(parts[0], scope)[self.value(parts[1], scope)]
            case "splat":
                found = self.value(parts[0], scope)
                for name in parts[1:]:
                    found = [step(element, name) for element in found]
                return found
            case "for_tuple_expr":
                return [self.value(parts[3], inside) for inside in self.loop(parts, scope)]
            case "for_object_expr":
                return {self.value(parts[3], inside): self.value(parts[4], inside) for inside in self.loop(parts, scope)}
        raise Unsupported(node.kind)

    def loop(self, parts, scope):
        """Yields the scope of each round of a `for` expression."""
        names, source, condition = parts[:3]
        elements = self.value(source, scope)
        pairs = sorted(elements.items()) if isinstance(elements, dict) else enumerate(elements)
        for key, value in pairs:
            inside = scope | dict(zip(names, [key, value] if len(names) == 2 else [value]))
            if condition is None or self.value(condition, inside):
                yield inside

    def attribute(self, node, scope):
        path, base = [node.parts[1]], node.parts[0]
        while base.kind == "attribute":
            path.insert(0, base.parts[1])
            base = base.parts[0]
        if base.kind != "name" or base.parts[0] in scope:
            found = self.value(base, scope)
        elif base.parts[0] == "var":
            found = self.variables[path.pop(0)]
        elif base.parts[0] == "local":
            found = self.local(path.pop(0))
        elif base.parts[0] == "data":
            found = self.instances(f"data.{path.pop(0)}.{path.pop(0)}")
        else:
            found = self.instances(f"{base.parts[0]}.{path.pop(0)}")
        for name in path:
            found = step(found, name)
        return found

    def binary(self, sign, left, right, scope):
        operands = (self.value(operand, scope) for operand in (left, right))
        if sign in ("&&", "||"):
            return all(operands) if sign == "&&" else any(operands)
        if sign not in OPERATORS:
            raise Unsupported(f"{sign}: add the operator to OPERATORS")
        return OPERATORS[sign](*operands)

    def call(self, name, arguments, scope):
        if name == "can":
            try:
                self.value(arguments[0], scope)
            except ValueError:
                return False
            return True
        if name not in FUNCTIONS:
            raise Unsupported(f"{name}(): add the function to FUNCTIONS")
        return FUNCTIONS[name](*(self.value(argument, scope) for argument in arguments))


def step(found, name):
    return found[name] if isinstance(found, dict) else found.get(name)


def without(blocks):
    """Yields (what is missing, blocks) for each way to take one attribute, block or element out of
    a module. The same list is changed and restored, so each one must be used before the next."""
    yield from shorter(blocks, blocks, "")


def shorter(blocks, entries, where):
    for index, entry in enumerate(list(entries)):
        del entries[index]
        yield f"{where}{describe(entry, index)}", blocks
        entries.insert(index, entry)
        if isinstance(entry, Block):
            yield from shorter(blocks, entry.entries, f"{where}{describe(entry, index)}: ")
        elif isinstance(entry, tuple):
            yield from shorter_node(blocks, entry[1], f"{where}{entry[0]}: ")
        else:
            yield from shorter_node(blocks, entry, f"{where}{describe(entry, index)}: ")


def shorter_node(blocks, node, where):
    if node.kind in ("tuple", "object"):
        yield from shorter(blocks, node.parts, where)
    else:
        for part in node.parts:
            if isinstance(part, Node):
                yield from shorter_node(blocks, part, where)


def describe(entry, index):
    if isinstance(entry, Block):
        return ".".join([f"{entry.file}: {entry.type}" if entry.file else entry.type, *entry.labels])
    if isinstance(entry, tuple):
        return entry[0]
    if entry.kind == "entry":
        return str(entry.parts[0].parts[0] if entry.parts[0].kind == "literal" else index)
    literal = entry.kind == "template" and all(part.kind == "literal" for part in entry.parts)
    return repr("".join(part.parts[0] for part in entry.parts)) if literal else f"[{index}]"
