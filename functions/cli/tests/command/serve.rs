//! `darkroom serve`: other processes drop manifests over a socket; the command is killed or
//! stopped.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use aws_sdk_s3::{
    config::{BehaviorVersion, Credentials, Region},
    primitives::ByteStream,
};

use super::Workspace;

/// A running `darkroom serve` and its output.
pub(super) struct Host {
    process: Child,
    output: BufReader<ChildStdout>,
    endpoint: String,
    access_key: (String, String),
}

impl Host {
    pub(super) fn start(workspace: &Workspace) -> Self {
        Self::start_with(workspace, &[])
    }

    pub(super) fn start_with(workspace: &Workspace, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args([
                "serve",
                "--port",
                "0",
                "--gemini-port",
                "0",
                "--batch-seconds",
                "3",
                "--out",
            ])
            .arg(workspace.out());
        command.args(more);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut host = Self {
            process,
            output,
            endpoint: String::new(),
            access_key: Default::default(),
        };
        let line = host.wait_for("S3 and SQS");
        host.endpoint = line.split_whitespace().last().unwrap().to_owned();
        // The commands that users are shown must match the endpoint.
        let line = host.wait_for("export AWS_ENDPOINT_URL=");
        let value = |name: &str| {
            let words = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            words
                .unwrap_or_else(|| panic!("no {name} in {line}"))
                .to_owned()
        };
        let example = host.wait_for("cp manifest.csv");
        assert_eq!(
            example.trim(),
            format!(
                "aws --endpoint-url {} s3 cp manifest.csv s3://darkroom/inbox/",
                host.endpoint
            )
        );
        host.access_key = (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
        host
    }

    /// Returns the next line that contains `text`.
    pub(super) fn wait_for(&mut self, text: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "the output ended without {text:?}, after {before}"
            );
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
            before.push_str(&line);
        }
    }

    pub(super) fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(
                &self.access_key.0,
                &self.access_key.1,
                None,
                None,
                "from the command",
            ))
            .endpoint_url(&self.endpoint)
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Drops a manifest as an S3 client does.
    pub(super) async fn put(&self, key: &str, text: &str) {
        let request = self.s3().put_object().bucket("darkroom").key(key);
        let body = ByteStream::from(text.as_bytes().to_vec());
        request.body(body).send().await.unwrap();
    }

    /// Returns the environment in which a command reaches the bucket.
    pub(super) fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", &self.access_key.0),
            ("AWS_SECRET_ACCESS_KEY", &self.access_key.1),
        ]
    }

    /// Stops it as Ctrl-C does, and returns its exit code.
    pub(super) fn stop(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait_for("Stopped. Run the same command to resume.");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // This fails if the process has already ended, as it should have.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_host_killed_while_it_waits_resumes_and_stops_cleanly() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let body = ByteStream::from_static(
        br#"[{"key": "a", "prompt": "a stone"}, {"key": "b", "prompt": "a leaf"}]"#,
    );
    host.s3()
        .put_object()
        .bucket("darkroom")
        .key("inbox/two.json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(host.wait_for("planned").ends_with("planned: 2 images"));
    host.wait_for("waiting for Gemini");
    host.process.kill().unwrap();
    host.process.wait().unwrap();

    let mut host = Host::start(&workspace);
    let done = host.wait_for("complete");
    assert!(
        done.starts_with("two-") && done.contains("complete: 2 images, $"),
        "{done}"
    );
    let key = format!(
        "jobs/{}/images/b.jpg",
        done.split_whitespace().next().unwrap()
    );
    let image = host
        .s3()
        .get_object()
        .bucket("darkroom")
        .key(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(image.content_type(), Some("image/jpeg"));
    assert_eq!(
        image.body.collect().await.unwrap().to_vec(),
        fs::read(workspace.out().join("darkroom").join(key)).unwrap()
    );
    assert_eq!(host.stop(), Some(0));
    assert_eq!(
        workspace.batches().len(),
        1,
        "it created another batch after the kill"
    );
}

#[tokio::test]
async fn reports_a_rejected_manifest_and_explains_a_port_in_use() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let body = ByteStream::from_static(br#"[{"key": "a", "promt": "a stone"}]"#);
    host.s3()
        .put_object()
        .bucket("darkroom")
        .key("inbox/typo.json")
        .body(body)
        .send()
        .await
        .unwrap();
    let line = host.wait_for("rejected");
    assert!(
        line.contains("see validation.csv. Nothing was bought"),
        "{line}"
    );

    let other = Workspace::new();
    let port = host.endpoint.rsplit(':').next().unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_darkroom"))
        .args(["serve", "--port", port, "--out"])
        .arg(other.out())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains(port) && why.contains("--port"), "{why}");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn a_folder_keeps_its_access_key_and_accepts_another_for_one_run() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let first = host.access_key.clone();
    assert!(
        first.1.len() == 40 && first != ("test".to_owned(), "test".to_owned()),
        "{first:?}"
    );
    let known = Credentials::new("test", "test", None, None, "well-known");
    let stranger = host
        .s3()
        .config()
        .to_builder()
        .credentials_provider(known)
        .build();
    let refused = aws_sdk_s3::Client::from_conf(stranger)
        .list_buckets()
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
    host.s3().list_buckets().send().await.unwrap();
    assert_eq!(host.stop(), Some(0));

    let mut host = Host::start_with(
        &workspace,
        &["--access-key", "test", "--secret-key", "test"],
    );
    assert_eq!(host.access_key, ("test".to_owned(), "test".to_owned()));
    host.s3().list_buckets().send().await.unwrap();
    assert_eq!(host.stop(), Some(0));

    // A key from the command line is not stored.
    let mut host = Host::start(&workspace);
    assert_eq!((host.access_key.clone(), host.stop()), (first, Some(0)));
}

#[test]
fn rejects_an_incomplete_access_key_and_one_with_shell_syntax() {
    let workspace = Workspace::new();
    let serve = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args(["serve", "--port", "0", "--gemini-port", "0", "--out"])
            .arg(workspace.out());
        let refused = command
            .args(arguments)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (
            refused.status.code(),
            String::from_utf8_lossy(&refused.stderr).into_owned(),
        )
    };
    let (code, output) = serve(&["--access-key", "test"], &[]);
    assert!(
        code == Some(64) && output.contains("--secret-key"),
        "{output}"
    );
    let (code, output) = serve(&[], &[("DARKROOM_ACCESS_KEY", "test")]);
    assert!(
        code == Some(3) && output.contains("DARKROOM_SECRET_KEY"),
        "{output}"
    );
    let (code, output) = serve(&["--access-key", "a", "--secret-key", "$(reboot)"], &[]);
    assert!(
        code == Some(3) && output.contains("secret access key") && !output.contains("reboot"),
        "{output}"
    );
}

#[tokio::test]
async fn a_job_is_canceled_in_a_bucket_with_the_credentials_of_the_environment() {
    let workspace = Workspace::new();
    let mut host = Host::start_with(&workspace, &["--stuck", "1"]);
    let control = |host: &Host, action: &str, job: &str| {
        let (id, secret) = &host.access_key;
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args([action, job, "--bucket", "darkroom"])
            .env("AWS_ENDPOINT_URL", &host.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        super::Run(command.stdin(Stdio::null()).output().unwrap())
    };
    let output = control(&host, "cancel", "nowhere-1").exits(3);
    assert!(
        output.contains("there is no job nowhere-1 in the bucket darkroom"),
        "{output}"
    );

    host.s3()
        .put_object()
        .bucket("darkroom")
        .key("inbox/one.json")
        .body(ByteStream::from_static(
            br#"[{"key": "a", "prompt": "a stone"}]"#,
        ))
        .send()
        .await
        .unwrap();
    let line = host.wait_for("waiting for Gemini");
    let job = line.split_whitespace().next().unwrap().to_owned();
    let output = control(&host, "approve", &job).exits(0);
    assert!(
        output.contains("no shard of the job is held")
            && output.contains(&format!("s3://darkroom/jobs/{job}/job.json")),
        "{output}"
    );
    let output = control(&host, "cancel", &job).exits(0);
    assert!(output.contains("cancels the batches"), "{output}");
    assert!(host.wait_for("canceled: 0 of 1").starts_with(&job));
    let output = control(&host, "cancel", &job).exits(3);
    assert!(output.contains("has already ended"), "{output}");
    assert_eq!(host.stop(), Some(0));
}
