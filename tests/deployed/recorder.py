"""Runs MiniStack, and records which calls the roles of functions have made.

    recorder.py FILE

Each different call is written to FILE once, as a line of JSON with the name of the role, the action,
the ARN of its resource, and whether the call was permitted."""

import json
import sys
import threading

from ministack.app import main
from ministack.core import iam_evaluator


def record_calls(path):
    """Makes MiniStack record each call that it decides from now on."""
    file, seen, current = open(path, "a", buffering=1), set(), threading.local()
    evaluate, enforce = iam_evaluator.evaluate, iam_evaluator.enforce

    def evaluated(context, *policies):
        # A decision evaluates the policies of the caller first, and then that of the resource.
        current.context = getattr(current, "context", None) or context
        return evaluate(context, *policies)

    def enforced(*request, **more):
        current.context = None
        denial = enforce(*request, **more)
        if (context := current.context) and ":assumed-role/" in context.principal_arn:
            # The ARN of an assumed role is arn:aws:sts::123456789012:assumed-role/ROLE/SESSION.
            call = (context.principal_arn.split("/")[1], context.action, context.resource_arn, denial is None)
            if call not in seen:
                seen.add(call)
                file.write(json.dumps(dict(zip(["role", "action", "resource", "allowed"], call))) + "\n")
        return denial

    iam_evaluator.evaluate, iam_evaluator.enforce = evaluated, enforced


if __name__ == "__main__":
    record_calls(sys.argv.pop(1))
    main()
