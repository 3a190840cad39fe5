//! `darkroom review`: which requests the page answers, and what it does for them.

mod page;

use std::fs;

use serde_json::{Value, json};

use self::page::Page;
use super::{Workspace, serve::Host};

/// Creates a finished job by hand, with one image.
fn put_image(workspace: &Workspace) {
    let images = workspace.out().join("darkroom/jobs/a-1/images");
    fs::create_dir_all(&images).unwrap();
    fs::write(images.join("ok.jpg"), b"\xff\xd8\xff an image").unwrap();
}

#[test]
fn another_host_origin_token_or_form_is_refused() {
    let workspace = Workspace::new();
    put_image(&workspace);
    let page = Page::start(&workspace);
    let host = page.host();
    let (own, jobs) = (format!("http://{host}"), format!("{}jobs", page.base));
    let estimate = format!("{}estimate", page.base);
    let json = ("Content-Type", "application/json");
    let body = r#"{"name":"a.jsonl","text":""}"#;

    // Each refusal has a request that differs in one thing and is answered.
    let get = |path: &str, headers: &[(&str, &str)]| page.send("GET", path, headers, "").status;
    assert_eq!(get(&jobs, &[("Host", &host)]), 200);
    assert_eq!(
        get(&jobs, &[("Host", &format!("localhost:{}", page.port))]),
        200
    );
    assert_eq!(get(&jobs, &[("Host", "evil.example")]), 403);
    assert_eq!(
        get(&jobs, &[("Host", &format!("evil.example:{}", page.port))]),
        403
    );
    assert_eq!(
        get(&jobs, &[("Host", &format!("x.localhost:{}", page.port))]),
        403
    );
    assert_eq!(get(&jobs, &[]), 403);
    assert_eq!(
        get(&format!("/{}/jobs", "0".repeat(48)), &[("Host", &host)]),
        403
    );
    assert_eq!(get("/jobs", &[("Host", &host)]), 403);
    assert_eq!(get("/", &[("Host", &host)]), 403);

    // Browsers ask for an icon without the secret, and get nothing.
    assert_eq!(get("/favicon.ico", &[("Host", &host)]), 204);
    assert_eq!(get("/favicon.ico", &[("Host", "evil.example")]), 403);

    let post = |headers: &[(&str, &str)]| page.send("POST", &estimate, headers, body).status;
    assert_eq!(post(&[("Host", &host), ("Origin", &own), json]), 200);
    assert_eq!(
        post(&[("Host", &host), ("Origin", "http://evil.example"), json]),
        403
    );
    assert_eq!(post(&[("Host", &host), ("Origin", "null"), json]), 403);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(post(&[("Host", &host), ("Origin", &own), form]), 403);
    let other_port = format!("http://127.0.0.1:{}", 1);
    assert_eq!(post(&[("Host", &host), ("Origin", &other_port), json]), 403);
    let site = ("Sec-Fetch-Site", "cross-site");
    assert_eq!(post(&[("Host", &host), json, site]), 403);
    for (method, status) in [("PUT", 405), ("DELETE", 405), ("OPTIONS", 403)] {
        let answer = page.send(method, &jobs, &[("Host", &host), json], body);
        assert_eq!(answer.status, status, "{method}");
    }
}

#[test]
fn only_images_and_published_documents_are_served() {
    let workspace = Workspace::new();
    put_image(&workspace);
    let bucket = workspace.out().join("darkroom");
    let secret = "the secret";
    for key in [
        "stack/secret.png",
        "jobs/a-1/state.png",
        "jobs/a-1/images/page.html",
        "jobs/a-1/images/drawing.svg",
        "secret.png",
        "../secret.png",
        "../.darkroom/secret.png",
    ] {
        let path = bucket.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, secret).unwrap();
    }
    let page = Page::start(&workspace);
    let image = page.get("jobs/a-1/images/ok.jpg");
    assert_eq!(
        (image.status, image.header("content-type")),
        (200, "image/jpeg")
    );
    assert_eq!(image.header("x-content-type-options"), "nosniff");
    assert_eq!(image.header("cache-control"), "no-store");
    assert_eq!(image.header("referrer-policy"), "no-referrer");
    assert!(
        image
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
    assert_eq!(image.body, b"\xff\xd8\xff an image");
    assert_eq!(page.get("jobs/a-1/images/missing.jpg").status, 404);

    for path in [
        "jobs/a-1/images/../state.png",
        "jobs/a-1/images/%2e%2e/state.png",
        "jobs/a-1/images/..%2fstate.png",
        "jobs/a-1/images/%2e%2e%2f%2e%2e%2f%2e%2e%2fstack%2fsecret.png",
        "jobs/a-1/images/../../../stack/secret.png",
        "jobs/a-1/images/..%5c..%5c..%5cstack%5csecret.png",
        "jobs/../secret.png",
        "jobs/%2e%2e/images/secret.png",
        "jobs/..%2f/images/secret.png",
        "jobs/a-1/images//secret.png",
        "jobs/a-1/images/%00/secret.png",
        "jobs/a-1/images/page.html",
        "jobs/a-1/images/drawing.svg",
        "jobs/a-1/state.png",
        "stack/secret.png",
        "secret.png",
        "../secret.png",
        "%2e%2e/secret.png",
        "../.darkroom/secret.png",
    ] {
        let answer = page.get(path);
        assert!(answer.status >= 400, "{path}: {}", answer.status);
        assert!(!answer.text().contains(secret), "{path}");
    }
}

#[test]
fn pages_have_a_strict_policy_and_a_version() {
    let workspace = Workspace::new();
    put_image(&workspace);
    let page = Page::start(&workspace);
    for path in ["", "jobs/a-1/index.html", "jobs/unknown-1/index.html"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "connect-src 'self'",
            "script-src 'sha256-",
        ] {
            assert!(policy.contains(rule), "{rule} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    }

    // A page is sent again only if the stored one has changed.
    let first = page.get("jobs/a-1/index.html");
    let known = |etag: &str| page.get_with("jobs/a-1/index.html", &[("If-None-Match", etag)]);
    assert_eq!(known(first.header("etag")).status, 304);
    let stored = "<script type=\"application/json\" id=\"job\">{}</script>\n\
                  <script type=\"application/json\" id=\"sums\">{}</script>\n";
    let path = workspace.out().join("darkroom/jobs/a-1/index.html");
    fs::write(&path, stored).unwrap();
    let second = known(first.header("etag"));
    assert_eq!(second.status, 200);
    assert!(second.text().contains(stored));
    assert_eq!(known(second.header("etag")).status, 304);

    // Anything else in the stored page could run in the page that can spend money.
    fs::write(&path, format!("{}<script>alert(1)</script>", &stored[..56])).unwrap();
    let refused = page.get("jobs/a-1/index.html");
    assert!(
        refused.status == 502 && !refused.text().contains("alert"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_approved_proof_continues_and_its_images_are_served() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let page = Page::start(&workspace);
    let manifest = r#"{"manifest":{"version":1,"job":{"lane":"batch","proof":{"count":1}}}}
{"key":"a","prompt":"a stone"}
{"key":"b","prompt":"a leaf"}
"#;
    host.put("inbox/proof.jsonl", manifest).await;
    let line = host.wait_for("planned");
    let job = line.split_whitespace().next().unwrap().to_owned();
    let post = |action: &str| page.post(&format!("jobs/{job}/{action}"), &json!({}));

    let status = page.wait(&job, "held proof", |status| status["decision"].is_object());
    assert_eq!(status["decision"], json!({"is_proof": true, "images": 1}));
    assert_eq!(status["note"], Value::Null, "the folder is served");
    assert_eq!(status["words"], "waits for your approval of the proof");
    let image = page.get(&format!("jobs/{job}/images/a.jpg"));
    assert_eq!(
        (image.status, image.header("content-type")),
        (200, "image/jpeg")
    );
    let decision = page.get(&format!("jobs/{job}/decision")).json();
    let text = decision["approve"].as_str().unwrap();
    assert!(
        text.starts_with("Approving the proof makes the other 1 image. They cost at most $"),
        "{text}"
    );
    let text = decision["cancel"].as_str().unwrap();
    assert!(
        text.contains("1 of 2 images are finished and are kept"),
        "{text}"
    );

    assert_eq!(post("approve").status, 202);
    let done = page.wait(&job, "end", |status| status["ended"] == true);
    assert_eq!(
        (&done["phase"], &done["finished"]),
        (&json!("succeeded"), &json!(2))
    );
    assert_eq!(page.get(&format!("jobs/{job}/images/b.jpg")).status, 200);
    assert_eq!((post("approve").status, post("cancel").status), (409, 409));
    let list = page.get("jobs").json();
    assert_eq!(
        (&list["jobs"][0]["job"], &list["jobs"][0]["ended"]),
        (&json!(job), &json!(true))
    );
    let table = page.get(&format!("jobs/{job}/results.csv"));
    assert!(
        table
            .header("content-disposition")
            .starts_with("attachment"),
        "{table:?}"
    );
    drop(page);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn a_job_is_canceled_from_the_page_and_a_missing_one_is_not() {
    let workspace = Workspace::new();
    let mut host = Host::start_with(&workspace, &["--stuck", "1"]);
    let page = Page::start(&workspace);
    assert_eq!(page.post("jobs/unknown-1/cancel", &json!({})).status, 404);
    host.put("inbox/one.jsonl", r#"{"key":"a","prompt":"a stone"}"#)
        .await;
    let line = host.wait_for("waiting for Gemini");
    let job = line.split_whitespace().next().unwrap().to_owned();
    assert_eq!(
        page.post(&format!("jobs/{job}/approve"), &json!({})).status,
        409
    );
    let decision = page.get(&format!("jobs/{job}/decision")).json();
    let text = decision["cancel"].as_str().unwrap();
    assert!(
        text.contains("1 image was already requested") && text.contains("at most $"),
        "{text}"
    );
    assert_eq!(
        page.post(&format!("jobs/{job}/cancel"), &json!({})).status,
        202
    );
    let done = page.wait(&job, "end", |status| status["ended"] == true);
    assert_eq!(done["phase"], "cancelled");
    drop(page);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn a_manifest_is_estimated_then_dropped_once() {
    let workspace = Workspace::new();
    let page = Page::start(&workspace);
    let good = json!({"name": "picks.jsonl", "text": "{\"key\":\"a\",\"prompt\":\"a stone\"}\n"});
    let bad = json!({"name": "picks.jsonl", "text": "{\"key\":\"a\",\"promt\":\"a stone\"}\n"});
    let pending = workspace.out().join(".darkroom/inbox/picks.jsonl");

    // The estimate is that of `darkroom check`, and drops nothing.
    let estimate = page.post("estimate", &good).json();
    let file = workspace.manifest("picks.jsonl", good["text"].as_str().unwrap());
    let check = workspace.look(&["check", file.to_str().unwrap(), "--json"]);
    let check: Value = serde_json::from_str(&check.exits(0)).unwrap();
    assert_eq!(
        (&estimate["job"], &estimate["total"]),
        (&check["job"], &check["total"])
    );
    let line = estimate["lines"][0].as_str().unwrap();
    assert!(line.starts_with("1 image from 1 item: about $"), "{line}");
    let refused = page.post("estimate", &bad).json();
    assert_eq!(
        (&refused["accepted"], &refused["lines"]),
        (&json!(false), &json!([]))
    );
    assert!(refused["problems"][0]["message"].is_string(), "{refused}");
    assert_eq!(page.post("drop", &bad).status, 422);
    let unsafe_name = json!({"name": "../picks.jsonl", "text": good["text"]});
    assert_eq!(page.post("drop", &unsafe_name).status, 400);
    assert!(!pending.exists());

    // Without a host, the manifest waits, and the page shows it.
    let dropped = page.post("drop", &good);
    assert_eq!(dropped.status, 202, "{}", dropped.text());
    assert_eq!(dropped.json()["job"], check["job"]);
    assert!(pending.exists());
    let note = page.get("jobs").json()["note"].to_string();
    assert!(note.contains("No `darkroom serve` is running"), "{note}");

    // Dropping it again makes nothing new, before and after the host has seen it.
    let again = page.post("drop", &good);
    assert_eq!(
        (again.status, &again.json()["dropped"]),
        (200, &json!(false))
    );
    let mut host = Host::start(&workspace);
    let job = check["job"].as_str().unwrap();
    let done = page.wait(job, "end", |status| status["ended"] == true);
    assert_eq!(
        (&done["phase"], &done["note"]),
        (&json!("succeeded"), &Value::Null)
    );
    assert!(!pending.exists());
    let again = page.post("drop", &good);
    assert_eq!(
        (again.status, &again.json()["dropped"]),
        (200, &json!(false))
    );
    let images = fs::read_dir(workspace.out().join("darkroom/jobs")).unwrap();
    assert_eq!(images.count(), 1);
    drop(page);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn a_bucket_is_reviewed_with_the_credentials_of_the_environment() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let page = Page::start_with(&["--bucket", "darkroom"], &host.variables());
    let good = json!({"name": "picks.jsonl", "text": "{\"key\":\"a\",\"prompt\":\"a stone\"}\n"});
    let dropped = page.post("drop", &good);
    assert_eq!(dropped.status, 202, "{}", dropped.text());
    let job = dropped.json()["job"].as_str().unwrap().to_owned();
    let done = page.wait(&job, "end", |status| status["ended"] == true);
    assert_eq!(
        (&done["phase"], &done["note"]),
        (&json!("succeeded"), &Value::Null)
    );
    assert_eq!(page.post("drop", &good).json()["dropped"], json!(false));
    let list = page.get("jobs").json();
    assert_eq!(
        (&list["jobs"][0]["job"], &list["place"]),
        (&json!(job), &json!("the bucket darkroom"))
    );
    let image = page.get(&format!("jobs/{job}/images/a.jpg"));
    let file = workspace
        .out()
        .join(format!("darkroom/jobs/{job}/images/a.jpg"));
    assert!(image.status == 200 && image.body == fs::read(file).unwrap());
    drop(page);
    assert_eq!(host.stop(), Some(0));
}
