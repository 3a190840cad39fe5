//! `darkroom review`: a page on loopback that shows jobs and their images, approves and cancels
//! jobs, and drops the manifests that a user makes of picks.
//!
//! The page does nothing that a user could not do by dropping an object into the bucket. Its
//! address contains a secret, so no other program and no web page can use it.

mod actions;
mod answer;
mod estimate;
mod guard;
mod pages;
mod routes;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use bytes::Bytes;
use darkroom::{digest::hex, names::JobId, object_keys};
use http::{Request, Response, StatusCode, header::IF_NONE_MATCH};
use seam::transport::{Body, BoxFuture, ReadBodyError, Transport, TransportError, read_body};
use serde::Serialize;

use self::{
    answer::{Refusal, failure, json},
    guard::Guard,
    routes::Route,
};
use super::{
    Exit, SettingsArgs, environment,
    job_view::JobView,
    plain_text::plain,
    shutdown,
    stack::{Stack, statuses},
    stack_args::ReviewArgs,
};

/// The length of the secret in the address, in bytes.
const TOKEN_BYTES: usize = 24;

/// The largest request, in bytes. A manifest that promotes 10,000 picks has about a third of this.
const MAX_REQUEST_BYTES: u64 = 64 << 20;

/// Runs `darkroom review`.
pub(super) fn review(args: &ReviewArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &ReviewArgs) -> anyhow::Result<Exit> {
    let stack = Stack::open(&args.stack).await;
    let first = match &args.job {
        Some(prefix) => format!("jobs/{}/index.html", stack.find_one(prefix).await?),
        None => String::new(),
    };
    let shutdown = shutdown::requested()?;

    // The port is open before the address is printed: a script may connect as soon as it reads it.
    let listener = environment::bind(args.port, "--port").await?;
    let token = token()?;
    println!(
        "The jobs of {} are at this address until you press Ctrl-C. It contains a secret: do not \
         share it.\n\n  {}/{token}/{first}\n",
        plain(&stack.to_string()),
        listener.url()
    );
    let review = Review {
        guard: Guard::new(&listener.url(), &token),
        stack,
        settings: args.settings.clone(),
        ended: Mutex::default(),
    };
    listener.serve(Arc::new(review), shutdown).await;
    println!("Stopped. The jobs are not affected.");
    Ok(Exit::Complete)
}

/// Returns a secret from the operating system's random numbers.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).context("no random numbers for the address")?;
    Ok(hex(&bytes))
}

/// The service behind the page.
struct Review {
    guard: Guard,
    stack: Stack,
    settings: SettingsArgs,
    /// The jobs that have ended and never change again, so that a list of many jobs does not read
    /// all of their documents again and again.
    ended: Mutex<HashMap<JobId, JobView>>,
}

/// The jobs, for the list.
#[derive(Serialize)]
struct JobList {
    place: String,
    jobs: Vec<ListedJob>,
    /// What the user should know about the program that runs the jobs.
    note: Option<String>,
}

/// One job of the list.
#[derive(Serialize)]
struct ListedJob {
    #[serde(flatten)]
    view: JobView,
    price: String,
    /// How long ago the job began.
    age: String,
}

/// One job, for the panel above its gallery.
#[derive(Serialize)]
struct JobAnswer {
    #[serde(flatten)]
    job: ListedJob,
    note: Option<String>,
}

impl Transport for Review {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move { Ok(answer::guarded(self.answer(request).await)) })
    }
}

impl Review {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let route = match self.guard.check(&request) {
            Ok(path) => Route::of(request.method(), path),
            Err(refusal) => return refusal.into(),
        };
        let Some(route) = route else {
            return failure(StatusCode::NOT_FOUND, "there is nothing at this address");
        };
        let answered = self.answer_route(route, request).await;
        answered
            .unwrap_or_else(|error| failure(StatusCode::BAD_GATEWAY, &plain(&format!("{error:#}"))))
    }

    async fn answer_route(
        &self,
        route: Route,
        request: Request<Body>,
    ) -> anyhow::Result<Response<Body>> {
        let known = request.headers().get(IF_NONE_MATCH).cloned();
        let known = known.as_ref().and_then(|etag| etag.to_str().ok());
        Ok(match route {
            Route::List => pages::list(),
            Route::Icon => pages::no_icon(),
            Route::Jobs => json(StatusCode::OK, &self.jobs().await?),
            Route::Gallery(job) => pages::gallery(&self.stack, &job, known).await?,
            Route::Status(job) => self.status(&job).await?,
            Route::Decision(job) => actions::decision(&self.stack, &job).await?,
            Route::Image { key, kind } => pages::image(&self.stack, &key, kind).await?,
            Route::Document(job, name) => {
                let key = object_keys::document(&job, name);
                pages::download(&self.stack, &key, name).await?
            }
            Route::Control(job, action) => actions::control(&self.stack, &job, action).await?,
            Route::Estimate => match body(request).await {
                Ok(bytes) => estimate::estimate(&self.stack, &self.settings, &bytes).await?,
                Err(refusal) => refusal.into(),
            },
            Route::Drop => match body(request).await {
                Ok(bytes) => estimate::drop(&self.stack, &self.settings, &bytes).await?,
                Err(refusal) => refusal.into(),
            },
        })
    }

    /// Returns all jobs, newest first.
    async fn jobs(&self) -> anyhow::Result<JobList> {
        let names = self.stack.jobs().await?;
        let mut views = Vec::new();
        let mut unknown = Vec::new();
        {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            for name in names {
                match ended.get(&name) {
                    Some(view) => views.push(view.clone()),
                    None => unknown.push(name),
                }
            }
        }
        let read = statuses(&self.stack, &unknown).await?;
        let read: Vec<JobView> = read.iter().map(JobView::new).collect();
        {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            for view in read.iter().filter(|view| view.is_final()) {
                ended.insert(view.job.clone(), view.clone());
            }
        }
        views.extend(read);
        views.sort_by_key(|view| std::cmp::Reverse(view.began_at()));
        Ok(JobList {
            place: plain(&self.stack.to_string()).into_owned(),
            jobs: views.into_iter().map(|view| self.listed(view)).collect(),
            note: self.note(),
        })
    }

    async fn status(&self, job: &JobId) -> anyhow::Result<Response<Body>> {
        let Some(status) = self.stack.status(job).await? else {
            let answer = serde_json::json!({
                "job": job,
                "missing": "The job does not exist yet, or its manifest is being read.",
                "note": self.note(),
            });
            return Ok(json(StatusCode::OK, &answer));
        };
        let answer = JobAnswer {
            job: self.listed(JobView::new(&status)),
            note: self.note(),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    fn listed(&self, view: JobView) -> ListedJob {
        ListedJob {
            price: view.price(),
            age: super::job_view::age(self.stack.now().duration_since(view.began_at())),
            view,
        }
    }

    /// Returns what the user should know about the program that runs the jobs of a folder.
    fn note(&self) -> Option<String> {
        (self.stack.is_served() == Some(false)).then(|| {
            let options = self.stack.options();
            plain(&format!(
                "No `darkroom serve` is running on this folder. What you approve, cancel or drop \
                 here takes effect when you run: darkroom serve {options}"
            ))
            .into_owned()
        })
    }
}

/// Returns the body of a request, unless it is too large.
async fn body(request: Request<Body>) -> Result<Bytes, Refusal> {
    let read = read_body(request.into_body(), MAX_REQUEST_BYTES).await;
    read.map_err(|error| match error {
        ReadBodyError::TooLarge => Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            reason: "the manifest is too large",
        },
        ReadBodyError::Interrupted(_) => Refusal {
            status: StatusCode::BAD_REQUEST,
            reason: "the request was interrupted",
        },
    })
}
