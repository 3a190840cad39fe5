//! The parameter that holds the Gemini API key. Its value is never read.

use runtime::aws_call::{AwsCall, Service};
use serde_json::json;

use super::{Stack, unanswered};
use crate::command::doctor::report::{Check, Verdict, foreign};

/// How the names of parameters begin that stand for a secret of Secrets Manager.
const SECRETS_MANAGER: &str = "/aws/reference/secretsmanager/";

/// Checks that the parameter exists and is encrypted.
pub(super) async fn check(stack: &Stack<'_>, parameter: Option<&str>) -> Check {
    let (check, expected) = ("key parameter", "a SecureString");
    let Some(name) = parameter else {
        let follows = "No function names a parameter; see the check of the functions.";
        return Check::new(check, expected, "unknown", Verdict::Unseen, follows);
    };
    if name.starts_with(SECRETS_MANAGER) {
        let follows = "The key is in Secrets Manager, which this command does not read.";
        return Check::new(check, expected, foreign(name), Verdict::Handled, follows);
    }

    // A description has no value. Parameters of other accounts are named by their ARN.
    let input = json!({
        "ParameterFilters": [{"Key": "Name", "Option": "Equals", "Values": [name]}],
        "Shared": name.starts_with("arn:"),
    });
    let call = AwsCall::json(Service::SSM, "AmazonSSM.DescribeParameters", &input);
    let answer = match stack.aws.call_json(&call).await {
        Ok(answer) => answer,
        Err(error) => return unanswered(check, expected, &error, "ssm:DescribeParameters"),
    };
    match answer["Parameters"][0]["Type"].as_str() {
        Some("SecureString") => Check::expected(check, expected),
        Some(kind) => {
            let follows = "Everyone who may read the parameter sees the key. Store it again with \
                           --type SecureString.";
            Check::new(check, expected, foreign(kind), Verdict::Failed, follows)
        }
        None => {
            let follows = "Jobs wait for the key. Store it: infra/README.md has the command.";
            let seen = format!("there is no parameter {}", foreign(name));
            Check::new(check, expected, seen, Verdict::Failed, follows)
        }
    }
}
