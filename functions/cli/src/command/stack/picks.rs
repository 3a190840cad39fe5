//! Copies of picked images that a promoted manifest names as references.
//!
//! A manifest may name only pictures below `refs/`. The gallery therefore names the copy
//! `refs/<job>/images/<path>` of `jobs/<job>/images/<path>`, which is made before the manifest is
//! dropped.

use anyhow::Context;

use super::{Stack, is_job_name};
use crate::controls;

/// Returns the key of the image that a reference is a copy of, if it is named like one.
fn origin(reference: &str) -> Option<String> {
    let (job, path) = reference.strip_prefix("refs/")?.split_once("/images/")?;
    is_job_name(job).then(|| format!("jobs/{job}/images/{path}"))
}

impl Stack {
    /// Whether a reference that is missing can be copied from the images of a job.
    pub(in crate::command) async fn is_pick(&self, reference: &str) -> anyhow::Result<bool> {
        match origin(reference) {
            Some(image) => Ok(self.etag(&image).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Copies the picked image that a reference names. In a folder, the host does that, before it
    /// takes a manifest that is dropped later.
    pub(in crate::command) async fn copy_pick(&self, reference: &str) -> anyhow::Result<()> {
        let image = origin(reference).with_context(|| format!("{reference} is not a pick"))?;
        match self {
            Self::Folder(folder) => controls::request_copy(&folder.internal()?, &image, reference),
            Self::Bucket(bucket) => controls::copy(bucket, &image, reference).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_of_a_jobs_image_has_an_origin() {
        assert_eq!(
            origin("refs/shoes-1/images/a/b.png").as_deref(),
            Some("jobs/shoes-1/images/a/b.png")
        );
        for other in [
            "refs/a.png",
            "refs/images/a.png",
            "refs/../images/a.png",
            "refs/a.b/images/c.png",
            "jobs/shoes-1/images/a.png",
        ] {
            assert_eq!(origin(other), None, "{other}");
        }
    }
}
