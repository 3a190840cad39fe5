//! `darkroom doctor --stack`, against an account that answers as AWS does: a stack that is as
//! deployed, and each of several things broken in it.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use aws_sim::listen::Listener;
use darkroom::chain::{CHAIN, SWEEP, url_variable};
use http::{Method, Request, Response, StatusCode};
use seam::transport::{Body, BoxFuture, Transport, TransportError, full, read_body};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Run, Workspace};

/// The name of the stack.
const STACK: &str = "studio";

/// The bucket, whose name does not follow from that of the stack.
const BUCKET: &str = "studio-images";

/// The account.
const ACCOUNT: &str = "123456789012";

/// What is wrong with the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    FunctionMissing,
    QueueUrlOfAnotherStack,
    KeyInEnvironment,
    MappingDisabled,
    MessageLeftInDeadLetters,
    QueueMissing,
    NotificationReplaced,
    VersioningSuspended,
    PublicAccessAllowed,
    PolicyRemoved,
    ConditionalWritesNotRequired,
    KeyMissing,
    KeyInPlainText,
    AlarmMissing,
    SubscriptionNotConfirmed,
    AlarmOn,
    AlarmsDenied,
    CanaryRejected,
}

/// An account with the stack.
struct Account {
    broken: Broken,
}

/// An account that is served on loopback.
struct Served {
    url: String,
    stop: Option<watch::Sender<bool>>,
    server: Option<thread::JoinHandle<()>>,
}

impl Account {
    fn serve(broken: Broken) -> Served {
        let (address, url) = mpsc::channel();
        let (stop, stopped) = watch::channel(false);
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = Listener::bind(0).await.unwrap();
                address.send(listener.url()).unwrap();
                listener.serve(Arc::new(Self { broken }), stopped).await;
            });
        });
        Served {
            url: url.recv().unwrap(),
            stop: Some(stop),
            server: Some(server),
        }
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    fn answer(&self, request: &Request<()>, body: &[u8]) -> (u16, String) {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let target = request.headers().get("x-amz-target");
        let target = target.map(|target| target.to_str().unwrap());
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        match (target, path) {
            (Some("AmazonSQS.GetQueueUrl"), _) => self.queue_url(&input),
            (Some("AmazonSQS.GetQueueAttributes"), _) => self.queue_attributes(&input),
            (Some("AmazonSSM.DescribeParameters"), _) => self.parameters(&input),
            (Some("GraniteServiceVersion20100801.DescribeAlarms"), _) => self.alarms(&input),
            (None, "/") => self.form(&String::from_utf8_lossy(body)),
            (None, path) if path.starts_with("/2015-03-31/functions/") => {
                self.function(path.split('/').nth(3).unwrap())
            }
            (None, "/2015-03-31/event-source-mappings/") => self.mappings(query),
            (None, path) if path.starts_with(&format!("/{BUCKET}")) => {
                self.bucket(request.method(), path, query)
            }
            other => panic!("{other:?}"),
        }
    }

    fn form(&self, body: &str) -> (u16, String) {
        if body.contains("Action=GetCallerIdentity") {
            let account =
                format!("<Arn>arn:aws:iam::{ACCOUNT}:root</Arn><Account>{ACCOUNT}</Account>");
            (
                200,
                format!("<GetCallerIdentityResponse>{account}</GetCallerIdentityResponse>"),
            )
        } else if body.contains("Action=ListSubscriptionsByTopic") {
            let arn = if self.is(Broken::SubscriptionNotConfirmed) {
                "PendingConfirmation".to_owned()
            } else {
                format!("arn:aws:sns:us-east-1:{ACCOUNT}:alarms:0123")
            };
            let member = format!("<member><SubscriptionArn>{arn}</SubscriptionArn></member>");
            (200, format!("<Subscriptions>{member}</Subscriptions>"))
        } else {
            panic!("{body}")
        }
    }

    fn function(&self, id: &str) -> (u16, String) {
        let name = id.strip_prefix("studio-").unwrap();
        if name == SWEEP && self.is(Broken::FunctionMissing) {
            return (
                404,
                json!({"Type": "User", "Message": "not found"}).to_string(),
            );
        }
        let mut variables = json!({"BUCKET": BUCKET, "POWERTOOLS_SERVICE_NAME": STACK});
        for source in &CHAIN {
            let url = format!(
                "https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/studio-{}",
                source.queue
            );
            variables[url_variable(source.queue)] = Value::from(url);
        }
        if name == "submit" && self.is(Broken::QueueUrlOfAnotherStack) {
            variables["POLLS_QUEUE_URL"] = Value::from("https://sqs/1/other-polls");
        }
        if name == "poll" && self.is(Broken::KeyInEnvironment) {
            variables["GEMINI_API_KEY"] = Value::from("canary-k3y");
        }
        if ["submit", "poll", "collect", "generate", SWEEP].contains(&name) {
            variables["GEMINI_API_KEY_PARAMETER"] = Value::from("/studio/key");
        }
        let answer = json!({"State": "Active", "Environment": {"Variables": variables}});
        (200, answer.to_string())
    }

    fn mappings(&self, query: &str) -> (u16, String) {
        let function = query.strip_prefix("FunctionName=studio-").unwrap();
        let mappings = CHAIN
            .iter()
            .filter(|source| source.function.name() == function);
        let mappings = mappings.map(|source| {
            let disabled = source.queue == "polls" && self.is(Broken::MappingDisabled);
            json!({
                "EventSourceArn": format!("arn:aws:sqs:us-east-1:{ACCOUNT}:studio-{}", source.queue),
                "State": if disabled { "Disabled" } else { "Enabled" },
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            })
        });
        let mappings: Vec<Value> = mappings.collect();
        (200, json!({"EventSourceMappings": mappings}).to_string())
    }

    fn queue_url(&self, input: &Value) -> (u16, String) {
        let name = input["QueueName"].as_str().unwrap();
        if name == "studio-shards" && self.is(Broken::QueueMissing) {
            let code = "com.amazonaws.sqs#QueueDoesNotExist";
            return (400, json!({"__type": code, "message": "no"}).to_string());
        }
        (
            200,
            json!({"QueueUrl": format!("https://sqs/1/{name}")}).to_string(),
        )
    }

    fn queue_attributes(&self, input: &Value) -> (u16, String) {
        let url = input["QueueUrl"].as_str().unwrap();
        let queue = url.rsplit_once("/studio-").unwrap().1;
        let has_message = queue == "results-dead" && self.is(Broken::MessageLeftInDeadLetters);
        let policy = json!({"Statement": [tls_only()]}).to_string();
        let mut attributes = json!({
            "ApproximateNumberOfMessages": if has_message { "2" } else { "0" },
            "ApproximateNumberOfMessagesNotVisible": "0",
            "Policy": policy,
        });
        if let Some(source) = CHAIN.iter().find(|source| source.queue == queue) {
            let redrive = json!({
                "deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:{ACCOUNT}:studio-{queue}-dead"),
                "maxReceiveCount": source.max_receive_count,
            });
            attributes["RedrivePolicy"] = Value::from(redrive.to_string());
        }
        (200, json!({"Attributes": attributes}).to_string())
    }

    fn parameters(&self, input: &Value) -> (u16, String) {
        assert_eq!(input["ParameterFilters"][0]["Values"][0], "/studio/key");
        let kind = if self.is(Broken::KeyInPlainText) {
            "String"
        } else {
            "SecureString"
        };
        let parameters = if self.is(Broken::KeyMissing) {
            json!([])
        } else {
            json!([{"Name": "/studio/key", "Type": kind}])
        };
        (200, json!({"Parameters": parameters}).to_string())
    }

    /// The alarms of the template, on two pages. Their names have the suffix that SAM adds.
    fn alarms(&self, input: &Value) -> (u16, String) {
        assert_eq!(input["AlarmNamePrefix"], "studio-");
        if self.is(Broken::AlarmsDenied) {
            let code = "AccessDeniedException";
            return (400, json!({"__type": code, "message": "no"}).to_string());
        }
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/template.yaml");
        let template = fs::read_to_string(template).unwrap();
        let names = template.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.strip_suffix(':')?;
            (name.ends_with("Alarm") && !name.starts_with(' ')).then(|| name.to_owned())
        });
        let names =
            names.filter(|name| name != "ShardsHeldAlarm" || !self.is(Broken::AlarmMissing));
        let alarms = names.map(|name| {
            let is_on = name == "PollsOldestMessageAlarm" && self.is(Broken::AlarmOn);
            json!({
                "AlarmName": format!("studio-{name}-1A2B3C"),
                "ActionsEnabled": true,
                "AlarmActions": [format!("arn:aws:sns:us-east-1:{ACCOUNT}:alarms")],
                "StateValue": if is_on { "ALARM" } else { "OK" },
            })
        });
        let alarms: Vec<Value> = alarms.collect();
        let (first, second) = alarms.split_at(30);
        if input["NextToken"] == "more" {
            (200, json!({"MetricAlarms": second}).to_string())
        } else {
            (
                200,
                json!({"MetricAlarms": first, "NextToken": "more"}).to_string(),
            )
        }
    }

    fn bucket(&self, method: &Method, path: &str, query: &str) -> (u16, String) {
        let asks = |setting: &str| {
            query
                .split('&')
                .any(|part| part.split('=').next() == Some(setting))
        };
        if asks("notification") {
            let mut queues = vec![("inbox/", "manifests")];
            if !self.is(Broken::NotificationReplaced) {
                queues.push(("control/", "controls"));
            }
            let queues = queues.into_iter().map(|(folder, queue)| {
                format!(
                    "<QueueConfiguration><Id>{queue}</Id>\
                     <Queue>arn:aws:sqs:us-east-1:{ACCOUNT}:studio-{queue}</Queue>\
                     <Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule>\
                     <Name>prefix</Name><Value>{folder}</Value>\
                     </FilterRule></S3Key></Filter></QueueConfiguration>"
                )
            });
            let queues: String = queues.collect();
            return (
                200,
                format!("<NotificationConfiguration>{queues}</NotificationConfiguration>"),
            );
        }
        if asks("versioning") {
            let status = if self.is(Broken::VersioningSuspended) {
                "Suspended"
            } else {
                "Enabled"
            };
            let status = format!("<Status>{status}</Status>");
            return (
                200,
                format!("<VersioningConfiguration>{status}</VersioningConfiguration>"),
            );
        }
        if asks("encryption") {
            let rule = "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
                        </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>";
            let name = "ServerSideEncryptionConfiguration";
            return (200, format!("<{name}>{rule}</{name}>"));
        }
        if asks("publicAccessBlock") {
            let policy = !self.is(Broken::PublicAccessAllowed);
            let name = "PublicAccessBlockConfiguration";
            return (
                200,
                format!(
                    "<{name}><BlockPublicAcls>true</BlockPublicAcls>\
                     <IgnorePublicAcls>true</IgnorePublicAcls>\
                     <BlockPublicPolicy>{policy}</BlockPublicPolicy>\
                     <RestrictPublicBuckets>true</RestrictPublicBuckets></{name}>"
                ),
            );
        }
        if asks("policy") {
            if self.is(Broken::PolicyRemoved) {
                let code = "<Error><Code>NoSuchBucketPolicy</Code></Error>";
                return (404, code.to_owned());
            }
            let mut statements = vec![tls_only()];
            if !self.is(Broken::ConditionalWritesNotRequired) {
                statements.push(json!({
                    "Effect": "Deny",
                    "Action": "s3:PutObject",
                    "Resource": ["arn:aws:s3:::b/jobs/*/shards/*/state.json",
                                 "arn:aws:s3:::b/stack/ledger.json"],
                    "Condition": {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}},
                }));
            }
            return (200, json!({"Statement": statements}).to_string());
        }
        if asks("list-type") {
            let prefix = query
                .split('&')
                .find_map(|part| part.strip_prefix("prefix="))
                .unwrap();
            let folder = format!("{}0123456789abcdef/", prefix.replace("%2F", "/"));
            let folders = format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
            return (
                200,
                format!("<ListBucketResult>{folders}</ListBucketResult>"),
            );
        }
        let marker = if self.is(Broken::CanaryRejected) {
            "/_REJECTED"
        } else {
            "/_DRY_RUN"
        };
        match *method {
            Method::PUT if path.starts_with("/studio-images/inbox/doctor-") => (200, String::new()),
            Method::HEAD if path.ends_with(marker) => (200, String::new()),
            Method::HEAD => (404, String::new()),
            _ => panic!("{method} {path}?{query}"),
        }
    }
}

fn tls_only() -> Value {
    json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*",
           "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
}

impl Transport for Account {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            assert!(head.headers.contains_key("authorization"));
            let body = read_body(body, 1 << 20).await.unwrap();
            let (status, answer) = self.answer(&Request::from_parts(head, ()), &body);
            let mut response = Response::new(full(answer));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let etag = "\"0123\"".parse().unwrap();
            response.headers_mut().insert("etag", etag);
            Ok(response)
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.server.take().map(thread::JoinHandle::join);
    }
}

/// The verdict, what was seen and what follows, by the name of the check.
type Checks = BTreeMap<String, [String; 3]>;

/// Examines the stack of an account, and returns the checks and the output.
fn examine(broken: Broken, more: &[&str], code: i32) -> (Checks, String) {
    let (workspace, account) = (Workspace::new(), Account::serve(broken));
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command
        .args(["doctor", "--stack", STACK, "--out"])
        .arg(workspace.out())
        .args(more)
        .env("AWS_ENDPOINT_URL", &account.url)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "canary-s3cr3t")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    let output = Run(command.output().unwrap()).exits(code);
    let report = fs::read_to_string(workspace.out().join("stack-studio.json")).unwrap();
    assert!(
        !output.contains("canary-") && !report.contains("canary-"),
        "{output}"
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    let checks = report["checks"].as_array().unwrap().iter().map(|check| {
        let member = |name: &str| check[name].as_str().unwrap().to_owned();
        let found = ["verdict", "seen", "follows"].map(member);
        (member("check"), found)
    });
    (checks.collect(), output)
}

#[test]
fn a_stack_as_deployed_passes_all_checks() {
    let workspace = examine(Broken::Nothing, &[], 0);
    let (checks, output) = workspace;
    let other = checks
        .iter()
        .filter(|(_, [verdict, ..])| verdict != "expected");
    assert_eq!(other.count(), 0, "{checks:#?}");
    assert!(
        checks["canary"][1].contains("s, in jobs/doctor-"),
        "{checks:#?}"
    );
    assert!(output.contains("18 as expected"), "{output}");
}

#[test]
fn each_thing_that_is_broken_is_named_and_nothing_else() {
    for (broken, check, verdict, seen) in [
        (
            Broken::FunctionMissing,
            "functions",
            "failed",
            "studio-sweep is missing",
        ),
        (
            Broken::QueueUrlOfAnotherStack,
            "environment",
            "failed",
            "POLLS_QUEUE_URL of submit",
        ),
        (
            Broken::KeyInEnvironment,
            "environment",
            "failed",
            "GEMINI_API_KEY of poll",
        ),
        (
            Broken::MappingDisabled,
            "event source mappings",
            "failed",
            "polls: Disabled",
        ),
        (
            Broken::MessageLeftInDeadLetters,
            "dead letters",
            "failed",
            "2 of results",
        ),
        (
            Broken::QueueMissing,
            "queues",
            "failed",
            "studio-shards is missing",
        ),
        (
            Broken::NotificationReplaced,
            "notifications",
            "failed",
            "control/ does not reach",
        ),
        (Broken::VersioningSuspended, "versioning", "failed", "off"),
        (
            Broken::PublicAccessAllowed,
            "public access",
            "failed",
            "3 of 4",
        ),
        (
            Broken::KeyMissing,
            "key parameter",
            "failed",
            "no parameter /studio/key",
        ),
        (Broken::KeyInPlainText, "key parameter", "failed", "String"),
        (
            Broken::AlarmMissing,
            "alarms",
            "failed",
            "ShardsHeldAlarm is missing",
        ),
        (
            Broken::SubscriptionNotConfirmed,
            "recipients of alarms",
            "failed",
            "no one has subscribed to alarms",
        ),
        (
            Broken::AlarmsDenied,
            "alarms",
            "unseen",
            "AccessDeniedException",
        ),
    ] {
        let (checks, output) = examine(broken, &["--no-canary"], 5);
        let other = checks
            .iter()
            .filter(|(_, [verdict, ..])| verdict != "expected");
        let other: Vec<&String> = other.map(|(name, _)| name).collect();
        assert_eq!(other, [check], "{broken:?}: {output}");
        let [found, what, follows] = &checks[check];
        assert_eq!(found, verdict, "{broken:?}");
        assert!(what.contains(seen), "{broken:?}: {what}");
        assert!(!follows.is_empty(), "{broken:?}");
    }
}

#[test]
fn what_is_handled_is_no_failure() {
    for (broken, check) in [
        (Broken::ConditionalWritesNotRequired, "conditional writes"),
        (Broken::AlarmOn, "alarms that are on"),
    ] {
        let (checks, _) = examine(broken, &["--no-canary"], 0);
        assert_eq!(checks[check][0], "handled", "{broken:?}");
    }
    // Without a policy, TLS is not required either.
    let (checks, _) = examine(Broken::PolicyRemoved, &["--no-canary"], 5);
    assert_eq!(checks["conditional writes"][0], "handled");
    assert_eq!(checks["TLS of the bucket"][0], "failed");
}

#[test]
fn a_canary_that_is_rejected_is_a_failure() {
    let (checks, _) = examine(Broken::CanaryRejected, &[], 5);
    assert_eq!(checks["canary"][0], "failed");
    assert!(checks["canary"][1].contains("_REJECTED"));
}

#[test]
fn the_subject_of_an_examination_is_one_of_two() {
    for arguments in [
        &["doctor"][..],
        &["doctor", "--live", "--stack", "a"],
        &["doctor", "--stack", "a b"],
        &["doctor", "--stack", "a", "--yes"],
        &["doctor", "--live", "--no-canary"],
    ] {
        let workspace = Workspace::new();
        workspace.look(arguments).exits(64);
    }
}
