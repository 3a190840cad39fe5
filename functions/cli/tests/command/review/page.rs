//! A running `darkroom review`, and a client that sends exactly what a test wants.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::Workspace;

/// A running `darkroom review`.
pub(super) struct Page {
    process: Child,
    pub(super) port: String,
    /// The beginning of every path.
    pub(super) base: String,
}

/// An answer of the page.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Page {
    pub(super) fn start(workspace: &Workspace) -> Self {
        let out = workspace.out().display().to_string();
        Self::start_with(&["--out", &out], &[])
    }

    pub(super) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command.arg("review").args(arguments);
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        let address = lines
            .find(|line| line.contains("http://127.0.0.1:"))
            .unwrap();
        let (_, rest) = address.split_once("127.0.0.1:").unwrap();
        let (port, path) = rest.split_once('/').unwrap();
        let (token, _) = path.split_once('/').unwrap();
        assert!(token.len() >= 32, "at least 128 bits: {token}");
        Self {
            process,
            port: port.to_owned(),
            base: format!("/{token}/"),
        }
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a request with exactly these headers.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        // In HTTP/1.0, a body ends with the connection and is not cut into chunks.
        let mut head = format!("{method} {path} HTTP/1.0\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer[end + 4..].to_vec();
        Answer { status, head, body }
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(super) fn get_with(&self, path: &str, more: &[(&str, &str)]) -> Answer {
        let host = self.host();
        let headers = [&[("Host", &*host)], more].concat();
        self.send("GET", &format!("{}{path}", self.base), &headers, "")
    }

    /// Posts as the page does.
    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        let (host, origin) = (self.host(), format!("http://{}", self.host()));
        let headers = [
            ("Host", &*host),
            ("Origin", &*origin),
            ("Content-Type", "application/json"),
        ];
        self.send(
            "POST",
            &format!("{}{path}", self.base),
            &headers,
            &body.to_string(),
        )
    }

    /// Reads the status of a job until it fulfills a condition.
    pub(super) fn wait(&self, job: &str, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.get(&format!("jobs/{job}/status")).json();
            if is_met(&status) {
                return status;
            }
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "no {what}: {status}"
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // This fails if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
