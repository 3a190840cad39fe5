//! The bucket: who is notified of uploads, and what protects it.

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::BucketVersioningStatus,
};
use darkroom::chain::{CONTROLS, MANIFESTS};
use runtime::aws;

use super::{Stack, check_of_all, policy};
use crate::command::doctor::report::{Check, Verdict, foreign};

/// The folders whose uploads are reported, each with its queue.
const NOTIFIED: [(&str, &str); 2] = [("inbox/", MANIFESTS), ("control/", CONTROLS)];

/// What was found of a setting: its value, none if the bucket has none, or why it can't be read.
type Found<T> = Result<Option<T>, String>;

/// Checks the bucket.
pub(super) async fn checks(stack: &Stack<'_>, bucket: &str) -> Vec<Check> {
    let s3 = &stack.clients.s3;
    let policy = found(s3.get_bucket_policy().bucket(bucket).send().await)
        .map(|answer| answer.and_then(|answer| answer.policy));
    vec![
        notifications(stack, bucket).await,
        versioning(s3, bucket).await,
        encryption(s3, bucket).await,
        public_access(s3, bucket).await,
        tls(&policy),
        conditional_writes(&policy),
    ]
}

fn found<T, E: ProvideErrorMetadata, R>(answer: Result<T, SdkError<E, R>>) -> Found<T> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => {
            let code = error
                .as_service_error()
                .and_then(ProvideErrorMetadata::code);
            // The bucket exists, but has no such setting: NoSuchBucketPolicy,
            // NoSuchPublicAccessBlockConfiguration,
            // ServerSideEncryptionConfigurationNotFoundError.
            let is_absent = |code: &str| {
                (code.starts_with("NoSuch") && code != "NoSuchBucket")
                    || code.ends_with("NotFoundError")
            };
            if code.is_some_and(is_absent) {
                Ok(None)
            } else {
                Err(aws::describe(&error))
            }
        }
    }
}

fn unseen(check: &str, expected: &str, problem: &str, permission: &str) -> Check {
    let follows = format!(
        "Check the name of the bucket (--bucket). Your credentials need the permission \
         {permission}."
    );
    Check::new(check, expected, foreign(problem), Verdict::Unseen, &follows)
}

async fn notifications(stack: &Stack<'_>, bucket: &str) -> Check {
    let (check, expected) = ("notifications", "inbox/ to manifests, control/ to controls");
    let request = stack.clients.s3.get_bucket_notification_configuration();
    let configuration = match found(request.bucket(bucket).send().await) {
        Ok(configuration) => configuration,
        Err(problem) => {
            return unseen(check, expected, &problem, "s3:GetBucketNotification");
        }
    };
    let queues = configuration
        .as_ref()
        .map(|found| found.queue_configurations());
    let queues = queues.unwrap_or_default();
    let wrong: Vec<String> = NOTIFIED
        .iter()
        .filter(|(folder, queue)| {
            let name = format!(":{}-{queue}", stack.name);
            !queues.iter().any(|notified| {
                let rules = notified.filter().and_then(|filter| filter.key());
                let rules = rules.map(|key| key.filter_rules()).unwrap_or_default();
                let has_folder = rules.iter().any(|rule| rule.value() == Some(*folder));
                let events = notified.events().iter();
                let mut created =
                    events.filter(|event| event.as_str().starts_with("s3:ObjectCreated:"));
                notified.queue_arn().ends_with(&name) && has_folder && created.next().is_some()
            })
        })
        .map(|(folder, queue)| format!("{folder} does not reach {queue}"))
        .collect();
    let follows = "Uploads there start nothing. Another program may have replaced the bucket's \
                   notifications: add these again, or deploy the stack again.";
    check_of_all(check, expected, &wrong, follows)
}

async fn versioning(s3: &Client, bucket: &str) -> Check {
    let (check, expected) = ("versioning", "Enabled");
    match found(s3.get_bucket_versioning().bucket(bucket).send().await) {
        Err(problem) => unseen(check, expected, &problem, "s3:GetBucketVersioning"),
        Ok(answer) => {
            let status = answer.and_then(|answer| answer.status);
            if status == Some(BucketVersioningStatus::Enabled) {
                return Check::expected(check, expected);
            }
            let follows = "A state that is deleted or damaged by hand can't be restored. Enable \
                           versioning.";
            Check::new(check, expected, "off", Verdict::Failed, follows)
        }
    }
}

async fn encryption(s3: &Client, bucket: &str) -> Check {
    let (check, expected) = ("encryption", "AES256 or aws:kms");
    match found(s3.get_bucket_encryption().bucket(bucket).send().await) {
        Err(problem) => unseen(check, expected, &problem, "s3:GetEncryptionConfiguration"),
        Ok(answer) => {
            let configuration = answer.and_then(|found| found.server_side_encryption_configuration);
            let rules = configuration.map(|found| found.rules).unwrap_or_default();
            let mut rules = rules.iter();
            if rules.any(|rule| rule.apply_server_side_encryption_by_default().is_some()) {
                return Check::expected(check, expected);
            }
            let follows = "Deploy the stack again.";
            Check::new(check, expected, "none", Verdict::Failed, follows)
        }
    }
}

async fn public_access(s3: &Client, bucket: &str) -> Check {
    let (check, expected) = ("public access", "blocked in all four ways");
    match found(s3.get_public_access_block().bucket(bucket).send().await) {
        Err(problem) => unseen(check, expected, &problem, "s3:GetBucketPublicAccessBlock"),
        Ok(answer) => {
            let block = answer.and_then(|found| found.public_access_block_configuration);
            let settings = block.map_or([None; 4], |block| {
                [
                    block.block_public_acls,
                    block.block_public_policy,
                    block.ignore_public_acls,
                    block.restrict_public_buckets,
                ]
            });
            let blocked = settings
                .iter()
                .filter(|setting| **setting == Some(true))
                .count();
            if blocked == settings.len() {
                return Check::expected(check, expected);
            }
            let follows = "Manifests and images could become public. Block public access again; \
                           publish images through a CDN.";
            let seen = format!("blocked in {blocked} of 4 ways");
            Check::new(check, expected, seen, Verdict::Failed, follows)
        }
    }
}

fn tls(policy: &Found<String>) -> Check {
    let (check, expected) = ("TLS of the bucket", "required");
    match policy {
        Err(problem) => unseen(check, expected, problem, "s3:GetBucketPolicy"),
        Ok(Some(policy)) if policy::requires_tls(policy) => Check::expected(check, expected),
        Ok(_) => {
            let follows = "The policy of the bucket was changed. Deploy the stack again.";
            Check::new(check, expected, "not required", Verdict::Failed, follows)
        }
    }
}

fn conditional_writes(policy: &Found<String>) -> Check {
    let (check, expected) = ("conditional writes", "required for states and the ledger");
    match policy {
        Err(problem) => unseen(check, expected, problem, "s3:GetBucketPolicy"),
        Ok(Some(policy)) if policy::requires_conditional_writes(policy) => {
            Check::expected(check, expected)
        }
        Ok(_) => {
            let follows = "The functions write conditionally anyway, but no policy requires it. \
                           Deploy with EnforceConditionalWrites=true.";
            Check::new(check, expected, "not required", Verdict::Handled, follows)
        }
    }
}
