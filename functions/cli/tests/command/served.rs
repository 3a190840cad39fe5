//! `darkroom serve`: other processes drop manifests over a socket; it may be killed, and ended.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use aws_sdk_s3::{
    config::{BehaviorVersion, Credentials, Region},
    primitives::ByteStream,
};

use super::Place;

/// A host that is kept running, and what it says.
struct Host {
    process: Child,
    said: BufReader<ChildStdout>,
    endpoint: String,
    access_key: (String, String),
}

impl Host {
    fn start(place: &Place) -> Self {
        Self::start_with(place, &[])
    }

    fn start_with(place: &Place, more: &[&str]) -> Self {
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
            .arg(place.out());
        command.args(more);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut host = Self {
            process,
            said,
            endpoint: String::new(),
            access_key: Default::default(),
        };
        let line = host.wait_for("S3 and SQS");
        host.endpoint = line.split_whitespace().last().unwrap().to_owned();
        // What it tells a person to type.
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

    /// The next line that holds `words`.
    fn wait_for(&mut self, words: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.said.read_line(&mut line).unwrap() > 0,
                "ended without {words:?}, after {before}"
            );
            if line.contains(words) {
                return line.trim_end().to_owned();
            }
            before.push_str(&line);
        }
    }

    fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(
                &self.access_key.0,
                &self.access_key.1,
                None,
                None,
                "as told",
            ))
            .endpoint_url(&self.endpoint)
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Asks it to end, as Ctrl-C does, and answers with its exit code.
    fn end(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait_for("nothing is lost");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Fails where it has ended, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn host_killed_while_it_waits_goes_on_and_ends_cleanly() {
    let place = Place::new();
    let mut host = Host::start(&place);
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

    let mut host = Host::start(&place);
    let done = host.wait_for("done");
    assert!(
        done.starts_with("two-") && done.contains("all of 2 images, $"),
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
        fs::read(place.out().join("darkroom").join(key)).unwrap()
    );
    assert_eq!(host.end(), Some(0));
    assert_eq!(
        place.batches().len(),
        1,
        "it asked for another batch after the kill"
    );
}

#[tokio::test]
async fn rejected_manifest_is_told_and_port_in_use_is_explained() {
    let place = Place::new();
    let mut host = Host::start(&place);
    let body = ByteStream::from_static(br#"[{"key": "a", "promt": "a stone"}]"#);
    host.s3()
        .put_object()
        .bucket("darkroom")
        .key("inbox/typo.json")
        .body(body)
        .send()
        .await
        .unwrap();
    let told = host.wait_for("rejected");
    assert!(
        told.contains("see validation.csv. Nothing was bought"),
        "{told}"
    );

    let other = Place::new();
    let port = host.endpoint.rsplit(':').next().unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_darkroom"))
        .args(["serve", "--port", port, "--out"])
        .arg(other.out())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains(port) && why.contains("--port"), "{why}");
    assert_eq!(host.end(), Some(0));
}

#[tokio::test]
async fn a_folder_keeps_its_secret_and_another_can_be_given() {
    let place = Place::new();
    let mut host = Host::start(&place);
    let first = host.access_key.clone();
    assert!(
        first.1.len() == 40 && first != ("test".to_owned(), "test".to_owned()),
        "{first:?}"
    );
    let known = Credentials::new("test", "test", None, None, "well known");
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
    assert_eq!(host.end(), Some(0));

    let mut host = Host::start_with(&place, &["--access-key", "test", "--secret-key", "test"]);
    assert_eq!(host.access_key, ("test".to_owned(), "test".to_owned()));
    host.s3().list_buckets().send().await.unwrap();
    assert_eq!(host.end(), Some(0));

    // What was given once is not kept.
    let mut host = Host::start(&place);
    assert_eq!((host.access_key.clone(), host.end()), (first, Some(0)));
}

#[test]
fn half_an_access_key_or_one_that_a_shell_would_take_apart_is_refused() {
    let place = Place::new();
    let serve = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args(["serve", "--port", "0", "--gemini-port", "0", "--out"])
            .arg(place.out());
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
    let (code, said) = serve(&["--access-key", "test"], &[]);
    assert!(code == Some(64) && said.contains("--secret-key"), "{said}");
    let (code, said) = serve(&[], &[("DARKROOM_ACCESS_KEY", "test")]);
    assert!(
        code == Some(3) && said.contains("DARKROOM_SECRET_KEY"),
        "{said}"
    );
    let (code, said) = serve(&["--access-key", "a", "--secret-key", "$(reboot)"], &[]);
    assert!(
        code == Some(3) && said.contains("secret access key") && !said.contains("reboot"),
        "{said}"
    );
}
