//! Writes the page of a job row by row.

use darkroom::{
    gallery::{Head, Page, Row, Sums},
    object_keys,
    plan::PlanLine,
    results::ResultLine,
    status::JobPhase,
    thumbnails::Thumbnails,
};
use runtime::bucket::ObjectWriter;

use crate::{deps::Deps, error::ReportError};

/// The media type of the page.
pub(crate) const MEDIA_TYPE: &str = "text/html; charset=utf-8";

/// A page that is being written.
pub(crate) struct GalleryFile {
    head: Head,
    page: Page,
    to: Target,
    /// The number of rows without a result, and of those that wait for an approval.
    open: (u64, u64),
}

/// Where the sections of a page are written to.
enum Target {
    /// An object of any size, which becomes visible at the end.
    Object(ObjectWriter),
    /// The memory.
    Memory(Vec<u8>),
}

impl GalleryFile {
    /// Begins a page that becomes an object.
    pub(crate) fn stored(deps: &Deps, head: Head) -> Self {
        // The beginning of the page has the job's phase, which follows from all its results.
        let key = object_keys::gallery(&head.job);
        let object = deps.bucket.writer(&key, MEDIA_TYPE).with_late_beginning();
        Self::new(head, Target::Object(object))
    }

    /// Begins a page that is kept in memory.
    pub(crate) fn in_memory(head: Head) -> Self {
        Self::new(head, Target::Memory(Vec::new()))
    }

    fn new(head: Head, to: Target) -> Self {
        Self {
            page: Page::begin(&head).0,
            head,
            to,
            open: (0, 0),
        }
    }

    /// Returns the number of bytes of the sections so far.
    pub(crate) fn len(&self) -> u64 {
        match &self.to {
            Target::Object(object) => object.len(),
            Target::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Returns the number of rows without a result so far, and of those that wait for an approval.
    pub(crate) fn open_rows(&self) -> (u64, u64) {
        self.open
    }

    /// Adds the row of an image with a result.
    ///
    /// # Errors
    /// [`ReportError::Bucket`] if a part of the page can't be written.
    pub(crate) async fn add_result(
        &mut self,
        plan: &PlanLine,
        line: &ResultLine,
        thumbnails: &Thumbnails,
    ) -> Result<(), ReportError> {
        let row = Row::of_result(&self.head, plan, line, thumbnails);
        let section = self.page.row(&row)?;
        self.to.write(section).await
    }

    /// Adds the row of an image without a result.
    ///
    /// # Errors
    /// [`ReportError::Bucket`] if a part of the page can't be written.
    pub(crate) async fn add_open(
        &mut self,
        plan: &PlanLine,
        is_held: bool,
    ) -> Result<(), ReportError> {
        let row = Row::waiting(&self.head, plan, is_held);
        let section = self.page.row(&row)?;
        let (waiting, held) = &mut self.open;
        *(if is_held { held } else { waiting }) += 1;
        self.to.write(section).await
    }

    /// Completes the page and makes it visible.
    ///
    /// # Errors
    /// [`ReportError::Bucket`] if it can't be written.
    pub(crate) async fn finish(mut self, phase: JobPhase, sums: &Sums) -> Result<(), ReportError> {
        self.head.phase = phase;
        let beginning = Page::begin(&self.head).1;
        let end = self.page.end(sums)?;
        if let Target::Object(mut object) = self.to {
            object.write(&end).await?;
            object.finish_with(&beginning).await?;
        }
        Ok(())
    }

    /// Completes a page in memory, and returns it.
    ///
    /// # Errors
    /// [`ReportError::Encoding`], which does not occur.
    pub(crate) fn into_bytes(self, sums: &Sums) -> Result<Vec<u8>, ReportError> {
        let mut bytes = Page::begin(&self.head).1;
        if let Target::Memory(sections) = self.to {
            bytes.extend(sections);
        }
        bytes.extend(self.page.end(sums)?);
        Ok(bytes)
    }
}

impl Target {
    async fn write(&mut self, section: Option<Vec<u8>>) -> Result<(), ReportError> {
        let Some(section) = section else {
            return Ok(());
        };
        match self {
            Self::Object(object) => object.write(&section).await?,
            Self::Memory(bytes) => bytes.extend(section),
        }
        Ok(())
    }
}
