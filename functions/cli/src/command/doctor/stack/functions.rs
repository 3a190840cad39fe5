//! The functions and their environments.

use std::collections::{BTreeMap, BTreeSet};

use darkroom::chain::{CHAIN, SWEEP, url_variable};
use runtime::aws_call::{AwsCall, AwsCallError, Service};
use serde_json::Value;

use super::{Stack, check_of_all, unanswered};
use crate::command::doctor::report::{Check, Verdict, foreign};

/// The functions that call Gemini.
const GEMINI_CALLERS: [&str; 5] = ["submit", "poll", "collect", "generate", SWEEP];

/// The address of Google's service.
const GOOGLE: &str = "https://generativelanguage.googleapis.com";

/// The variable with the name of the parameter that holds the key.
const KEY_PARAMETER: &str = "GEMINI_API_KEY_PARAMETER";

/// What was found of each function, by its name without that of the stack.
pub(super) struct Functions(BTreeMap<&'static str, Result<Function, AwsCallError>>);

/// A function.
struct Function {
    state: String,
    environment: BTreeMap<String, String>,
}

/// Returns the names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let chain = CHAIN.iter().map(|source| source.function.name());
    chain.chain([SWEEP])
}

/// Reads the configurations of all functions.
pub(super) async fn find(stack: &Stack<'_>) -> Functions {
    let mut found = BTreeMap::new();
    for name in names() {
        let id = format!("{}-{name}", stack.name);
        let path = ["2015-03-31", "functions", &id, "configuration"];
        let call = AwsCall::get(Service::LAMBDA, &path, &[]);
        let function = stack.aws.call_json(&call).await.map(|answer| Function {
            state: answer["State"].as_str().unwrap_or("Active").to_owned(),
            environment: environment(&answer),
        });
        found.insert(name, function);
    }
    Functions(found)
}

fn environment(configuration: &Value) -> BTreeMap<String, String> {
    let variables = configuration["Environment"]["Variables"].as_object();
    let variables = variables.into_iter().flatten();
    variables
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

impl Functions {
    fn existing(&self) -> impl Iterator<Item = (&'static str, &Function)> {
        let functions = self.0.iter();
        functions.filter_map(|(name, function)| Some((*name, function.as_ref().ok()?)))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let mut values = self
            .existing()
            .filter_map(|(_, function)| function.environment.get(name));
        values.next().map(String::as_str)
    }

    /// Returns the bucket that the functions use.
    pub(super) fn bucket(&self) -> Option<&str> {
        self.variable("BUCKET")
    }

    /// Returns the name or the ARN of the parameter that holds the key.
    pub(super) fn key_parameter(&self) -> Option<&str> {
        self.variable(KEY_PARAMETER)
    }
}

/// Checks the functions and their environments.
pub(super) fn checks(stack: &Stack<'_>, found: &Functions, bucket: &str) -> Vec<Check> {
    let (check, expected) = ("functions", "9 functions, active");
    let denied = found
        .0
        .values()
        .filter_map(|function| function.as_ref().err());
    let mut denied = denied.filter(|error| !error.is_not_found());
    if let Some(error) = denied.next() {
        let permission = "lambda:GetFunctionConfiguration";
        return vec![unanswered(check, expected, error, permission)];
    }
    let wrong: Vec<String> = names()
        .filter_map(|name| match found.0.get(name) {
            Some(Ok(function)) if function.state == "Active" => None,
            Some(Ok(function)) => Some(format!("{name} is {}", foreign(&function.state))),
            _ => Some(format!("{}-{name} is missing", stack.name)),
        })
        .collect();
    let follows = "Check the name of the stack and AWS_REGION, and deploy it again.";
    let mut checks = vec![check_of_all(check, expected, &wrong, follows)];
    if found.existing().next().is_none() {
        return checks;
    }

    let wrong: Vec<String> = found
        .existing()
        .flat_map(|(name, function)| wrong_variables(stack.name, bucket, name, function))
        .chain(differing_parameters(found))
        .collect();
    checks.push(check_of_all(
        "environment",
        "bucket, queues and key of this stack",
        &wrong,
        "A variable was changed by hand. Deploy the stack again.",
    ));

    let address = found.variable("GEMINI_BASE_URL").unwrap_or(GOOGLE);
    checks.push(if address == GOOGLE {
        Check::expected("address of Gemini", GOOGLE)
    } else {
        let follows = "The functions send the key and all requests there.";
        Check::new(
            "address of Gemini",
            GOOGLE,
            foreign(address),
            Verdict::Handled,
            follows,
        )
    });
    checks
}

/// Returns what is wrong with the environment of a function. Values are not shown.
fn wrong_variables(stack: &str, bucket: &str, name: &str, function: &Function) -> Vec<String> {
    let variables = &function.environment;
    let mut wrong = Vec::new();
    let mut expect = |variable: &str, holds: bool| {
        if !holds {
            wrong.push(format!("{variable} of {name}"));
        }
    };
    let is = |variable: &str, value: &str| variables.get(variable).is_some_and(|is| is == value);
    expect("BUCKET", is("BUCKET", bucket));
    let service = "POWERTOOLS_SERVICE_NAME";
    expect(service, is(service, stack));

    // The queue that triggers the function, and every other queue that it names.
    for source in &CHAIN {
        let variable = url_variable(source.queue);
        let own = source.function.name() == name;
        let queue = format!("/{stack}-{}", source.queue);
        match variables.get(&variable) {
            Some(url) => expect(&variable, url.ends_with(&queue)),
            None => expect(&variable, !own),
        }
    }
    if GEMINI_CALLERS.contains(&name) {
        expect(KEY_PARAMETER, variables.contains_key(KEY_PARAMETER));
    }
    // A key in an environment is visible to everyone who may read the configuration.
    expect("GEMINI_API_KEY", !variables.contains_key("GEMINI_API_KEY"));
    wrong
}

fn differing_parameters(found: &Functions) -> Option<String> {
    let values = found
        .existing()
        .filter_map(|(_, function)| function.environment.get(KEY_PARAMETER));
    let values: BTreeSet<&String> = values.collect();
    (values.len() > 1).then(|| format!("{KEY_PARAMETER} differs between functions"))
}
