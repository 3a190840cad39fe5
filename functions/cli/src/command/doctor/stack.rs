//! `darkroom doctor --stack`: examines a deployment from outside, with the AWS credentials of the
//! user, and runs a job in it that buys nothing.
//!
//! Resources are found by their names, so it does not matter whether SAM or Terraform created them.

mod alarms;
mod bucket;
mod canary;
mod functions;
mod key;
mod mappings;
mod policy;
mod queues;

use std::path::Path;

use anyhow::Context;
use disk::Disk;
use runtime::{
    aws::Aws,
    aws_call::{AwsCall, AwsCallError, AwsCaller, Service, xml_texts},
    bucket::Bucket,
};
use seam::clock::Clock;

use super::report::{Check, Report, Verdict, foreign};
use crate::command::{DoctorArgs, Exit};

/// The stack, and the clients of the user's account.
struct Stack<'a> {
    name: &'a str,
    aws: &'a AwsCaller,
    clients: &'a Aws,
}

/// Runs `darkroom doctor --stack`.
pub(super) async fn examine(args: &DoctorArgs, name: &str) -> anyhow::Result<Exit> {
    let clock = Clock::system();
    let started = clock.now();
    let (aws, clients) = (AwsCaller::from_env(), Aws::from_env().await);
    let account = account(&aws).await?;
    let region = aws.region().await.unwrap_or_default().to_owned();
    let stack = Stack {
        name,
        aws: &aws,
        clients: &clients,
    };

    // The functions come first, because their environment names the bucket and the key.
    let found = functions::find(&stack).await;
    let bucket_name = args
        .bucket
        .clone()
        .or_else(|| found.bucket().map(str::to_owned));
    let bucket_name = bucket_name.unwrap_or_else(|| format!("{name}-{account}-{region}"));
    let mut checks = functions::checks(&stack, &found, &bucket_name);
    checks.extend(mappings::checks(&stack).await);
    checks.extend(queues::checks(&stack).await);
    checks.extend(bucket::checks(&stack, &bucket_name).await);
    checks.push(key::check(&stack, found.key_parameter()).await);
    checks.extend(alarms::checks(&stack).await);
    if !args.no_canary {
        let bucket = Bucket::new(clients.s3.clone(), bucket_name.as_str());
        checks.push(canary::check(&bucket).await);
    }

    let report = Report {
        version: 1,
        subject: format!("the stack {name}"),
        darkroom: env!("CARGO_PKG_VERSION"),
        started,
        reported: clock.now(),
        complete: true,
        facts: vec![
            format!("account {account}, region {region}"),
            format!("bucket {bucket_name}"),
        ],
        checks,
    };
    print(&report, &args.out, name)?;
    Ok(if report.has_failures() {
        Exit::CheckFailed
    } else {
        Exit::Complete
    })
}

fn print(report: &Report, out: &Path, name: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("can't create the folder {}", out.display()))?;
    let stem = format!("stack-{name}");
    report.store(&Disk::fast(), out, &stem, &[])?;
    println!("{}", report.table());
    println!("{}", report.counts());
    println!(
        "Report: {} and {stem}.json next to it. It names resources of your account.",
        out.join(format!("{stem}.md")).display()
    );
    Ok(())
}

/// Returns the account of the credentials.
async fn account(aws: &AwsCaller) -> anyhow::Result<String> {
    let call = AwsCall::form(
        Service::STS,
        &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
    );
    let answer = aws.call(&call).await.map_err(|error| {
        anyhow::anyhow!(
            "AWS does not accept the credentials: {}. Set AWS_REGION and credentials as for the \
             aws command",
            foreign(&error.to_string())
        )
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let account = xml_texts(&answer, "Account").next().map(foreign);
    account.context("AWS does not name the account of the credentials")
}

/// A check that AWS did not let the user make. `permission` is the one that it needs.
fn unanswered(check: &str, expected: &str, error: &AwsCallError, permission: &str) -> Check {
    let follows = if error.is_denied() {
        format!("Your credentials need the permission {permission}.")
    } else {
        "Run the same command again.".to_owned()
    };
    let seen = foreign(&error.to_string());
    Check::new(check, expected, seen, Verdict::Unseen, &follows)
}

/// A check of several resources: expected if nothing is wrong with any.
fn check_of_all(check: &str, expected: &str, wrong: &[String], follows: &str) -> Check {
    if wrong.is_empty() {
        Check::expected(check, expected)
    } else {
        let seen = wrong.join("; ");
        Check::new(check, expected, seen, Verdict::Failed, follows)
    }
}
