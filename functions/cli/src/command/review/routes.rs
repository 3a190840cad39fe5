//! What a path of the page means. Nothing else can be reached, whatever a path contains.

use darkroom::names::JobId;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::{command::stack::is_job_name, controls::ControlAction};

/// The folders of a job from which images are served.
const IMAGE_FOLDERS: [&str; 3] = ["images", "thumbs", "unmatched"];

/// The content types of images, by extension. An object is never served as anything else.
const IMAGE_TYPES: [(&str, &str); 4] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
];

/// The documents of a job that can be downloaded.
const DOCUMENTS: [&str; 7] = [
    "results.csv",
    "results.jsonl",
    "table.csv",
    "retry.jsonl",
    "summary.json",
    "summary.md",
    "validation.csv",
];

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The page with the list of jobs.
    List,
    /// The icon of the page, which it lacks.
    Icon,
    /// The jobs, for that page.
    Jobs,
    /// The gallery of a job.
    Gallery(JobId),
    /// The status of a job, for the panel above its gallery.
    Status(JobId),
    /// What approving and canceling a job would cost.
    Decision(JobId),
    /// An image, by its key in the bucket.
    Image {
        key: String,
        /// Its content type.
        kind: &'static str,
    },
    /// A document of a job.
    Document(JobId, &'static str),
    /// A request to approve or cancel a job.
    Control(JobId, ControlAction),
    /// A manifest whose price is wanted.
    Estimate,
    /// A manifest that is dropped.
    Drop,
}

impl Route {
    /// Returns what a method and a path after the token mean. None if nothing is there.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        if path.is_empty() {
            return (*method == Method::GET).then_some(Self::List);
        }
        let segments: Option<Vec<String>> = path.split('/').map(decoded).collect();
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (method.as_str(), &segments[..]) {
            ("GET", ["favicon.ico"]) => Some(Self::Icon),
            ("GET", ["jobs"]) => Some(Self::Jobs),
            ("POST", ["estimate"]) => Some(Self::Estimate),
            ("POST", ["drop"]) => Some(Self::Drop),
            ("GET", ["jobs", name, rest @ ..]) => Self::of_job(job(name)?, rest),
            ("POST", ["jobs", name, "approve"]) => {
                Some(Self::Control(job(name)?, ControlAction::Approve))
            }
            ("POST", ["jobs", name, "cancel"]) => {
                Some(Self::Control(job(name)?, ControlAction::Cancel))
            }
            _ => None,
        }
    }

    fn of_job(job: JobId, rest: &[&str]) -> Option<Self> {
        match rest {
            ["index.html"] => Some(Self::Gallery(job)),
            ["status"] => Some(Self::Status(job)),
            ["decision"] => Some(Self::Decision(job)),
            [document] => {
                let name = DOCUMENTS.into_iter().find(|name| name == document)?;
                Some(Self::Document(job, name))
            }
            [folder, .., name] if IMAGE_FOLDERS.contains(folder) => {
                let (_, extension) = name.rsplit_once('.')?;
                let (_, kind) = IMAGE_TYPES.iter().find(|(known, _)| *known == extension)?;
                let key = format!("jobs/{job}/{}", rest.join("/"));
                Some(Self::Image { key, kind })
            }
            _ => None,
        }
    }
}

fn job(name: &str) -> Option<JobId> {
    is_job_name(name).then(|| JobId::new(name))
}

/// Decodes one segment of a path. None if it can't be a segment of a key: it is empty, leads to
/// another folder, or contains what separates folders.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    let is_name = !matches!(&*text, "" | "." | "..")
        && !text.contains(['/', '\\'])
        && !text.contains(char::is_control);
    is_name.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Option<Route> {
        Route::of(&Method::GET, path)
    }

    #[test]
    fn images_are_served_from_three_folders_with_their_type() {
        for (path, key, kind) in [
            (
                "jobs/a-1/images/a%20b/c%25.png",
                "jobs/a-1/images/a b/c%.png",
                "image/png",
            ),
            (
                "jobs/a-1/thumbs/%E7%94%BB/c.png.jpg",
                "jobs/a-1/thumbs/画/c.png.jpg",
                "image/jpeg",
            ),
            (
                "jobs/a-1/unmatched/0000/7.webp",
                "jobs/a-1/unmatched/0000/7.webp",
                "image/webp",
            ),
        ] {
            let key = key.to_owned();
            assert_eq!(get(path), Some(Route::Image { key, kind }), "{path}");
        }
    }

    #[test]
    fn nothing_else_is_reached() {
        for path in [
            "jobs/a-1/images/../job.json",
            "jobs/a-1/images/%2e%2e/%2e%2e/b-1/images/a.png",
            "jobs/a-1/images/..%2f..%2f..%2fetc%2fpasswd.png",
            "jobs/a-1/images/..%5c..%5ca.png",
            "jobs/a-1/images//etc/passwd.png",
            "jobs/a-1/images/%00.png",
            "jobs/a-1/images/a.svg",
            "jobs/a-1/images/a.html",
            "jobs/a-1/images/a.PNG.html",
            "jobs/a-1/images/png",
            "jobs/a-1/images",
            "jobs/a-1/images/",
            "jobs/a-1/shards/0000/state.png",
            "jobs/a-1/job.json",
            "jobs/a-1/plan.jsonl",
            "jobs/../stack/ledger.json",
            "jobs/%2e%2e/index.html",
            "jobs/a.b/index.html",
            "stack/ledger.json",
            "inbox/a.csv",
            "jobs/a-1/index.html/",
            "jobs/%ff/index.html",
            "estimate",
            "jobs/a-1/approve",
            ".darkroom/credentials.json",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
        assert_eq!(Route::of(&Method::POST, "jobs/a-1/index.html"), None);
        assert_eq!(Route::of(&Method::POST, ""), None);
    }

    #[test]
    fn pages_and_actions_are_found() {
        let job = || JobId::new("a-1");
        assert_eq!(get(""), Some(Route::List));
        assert_eq!(get("jobs"), Some(Route::Jobs));
        assert_eq!(get("jobs/a-1/index.html"), Some(Route::Gallery(job())));
        assert_eq!(
            get("jobs/a-1/table.csv"),
            Some(Route::Document(job(), "table.csv"))
        );
        let post = |path| Route::of(&Method::POST, path);
        let approve = Route::Control(job(), ControlAction::Approve);
        assert_eq!(post("jobs/a-1/approve"), Some(approve));
        assert_eq!(
            (post("estimate"), post("drop")),
            (Some(Route::Estimate), Some(Route::Drop))
        );
    }
}
