//! Writes the user's own table with the results, and the table that a Shopify store imports, in one
//! pass over the plan and the rows that were stored with it.
//!
//! Both are a convenience, made of a file that the user has. So rows that are missing or damaged do
//! not block the job, as other documents do: the tables are left out, and the summary gives the
//! reason.

use darkroom::{
    image_url::ImageBaseUrl,
    names::JobId,
    object_keys,
    plan::{PlanLine, PlanLock, TableRow},
    report::{Finished, Links, NewImage, OwnTable, ShopifyTable},
};
use runtime::bucket::ObjectWriter;

use crate::{deps::Deps, documents::DocumentLines, error::ReportError};

/// The user's tables while they are written. They become visible when they are finished.
pub(crate) struct OwnTables<'a> {
    /// None if the manifest is not a table, or its rows can't be read.
    open: Option<Open<'a>>,
    job: JobId,
    notes: Vec<String>,
}

/// The tables and the rows of which they are made.
struct Open<'a> {
    rows: DocumentLines<'a>,
    /// The row whose images come now.
    current: Option<TableRow<'static>>,
    /// Whether the row has been written with an image.
    has_image: bool,
    table: OwnTable,
    file: ObjectWriter,
    shopify: Option<Shopify>,
}

/// The table of a Shopify store.
struct Shopify {
    base_url: ImageBaseUrl,
    table: ShopifyTable,
    file: ObjectWriter,
    /// The images of the current row.
    images: Vec<NewImage>,
}

impl<'a> OwnTables<'a> {
    /// Opens the rows of a job, if its plan has rows.
    ///
    /// # Errors
    /// [`ReportError`] if S3 fails.
    pub(crate) async fn open(
        deps: &'a Deps,
        job: &JobId,
        lock: &PlanLock,
    ) -> Result<Self, ReportError> {
        let mut tables = Self {
            open: None,
            job: job.clone(),
            notes: Vec::new(),
        };
        if lock.has_rows {
            let opened = tables.open_rows(deps).await;
            tables.open = tables.or_without(opened)?;
        }
        Ok(tables)
    }

    /// Reads the header and begins the tables.
    async fn open_rows(&mut self, deps: &'a Deps) -> Result<Open<'a>, ReportError> {
        let mut rows = DocumentLines::open(deps, &object_keys::table_rows(&self.job)).await?;
        let Some(TableRow { cells: names, .. }) = rows.next::<TableRow<'_>>().await? else {
            return Err(rows.damaged("it has no header"));
        };
        let csv = "text/csv; charset=utf-8";
        let base_url = deps.image_base_url.clone();
        let table = OwnTable::new(&self.job, names.len(), base_url.clone());
        let mut file = deps.bucket.writer(&object_keys::own_table(&self.job), csv);
        file.write(&table.header(&names)?).await?;

        // A store fetches the images from the web, so its table needs their addresses.
        let shopify = match (ShopifyTable::recognize(&names), base_url) {
            (Some(table), Some(base_url)) => {
                let key = object_keys::shopify_table(&self.job);
                let mut file = deps.bucket.writer(&key, csv);
                file.write(&table.header()?).await?;
                Some(Shopify {
                    base_url,
                    table,
                    file,
                    images: Vec::new(),
                })
            }
            (Some(_), None) => {
                self.note(
                    "shopify.csv was not written, because a store can't import s3:// addresses: \
                     set ImageBaseUrl (--image-base-url) to where images are published",
                );
                None
            }
            (None, _) => None,
        };
        Ok(Open {
            rows,
            current: None,
            has_image: false,
            table,
            file,
            shopify,
        })
    }

    /// Writes the row of an image, after the rows before it that became no image. Images come in
    /// the order of the plan.
    ///
    /// # Errors
    /// [`ReportError`] if S3 fails.
    pub(crate) async fn write(
        &mut self,
        plan: &PlanLine,
        finished: &Finished,
    ) -> Result<(), ReportError> {
        if let Some(open) = &mut self.open {
            let written = open.write(plan, finished).await;
            if self.or_without(written)?.is_none() {
                self.open = None;
            }
        }
        Ok(())
    }

    /// Writes the remaining rows and makes the tables visible. Returns the links of the summary,
    /// and what the user should know.
    ///
    /// # Errors
    /// [`ReportError`] if S3 fails.
    pub(crate) async fn finish(mut self) -> Result<(Links, Vec<String>), ReportError> {
        let mut links = Links::of(&self.job);
        if let Some(open) = self.open.take() {
            let has_shopify = open.shopify.is_some();
            let finished = open.finish().await;
            if self.or_without(finished)?.is_some() {
                links.own_table = Some(object_keys::own_table(&self.job));
                links.shopify = has_shopify.then(|| object_keys::shopify_table(&self.job));
            }
        }
        Ok((links, self.notes))
    }

    /// Turns rows that are missing or damaged into a note.
    fn or_without<T>(&mut self, result: Result<T, ReportError>) -> Result<Option<T>, ReportError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReportError::Blocked(blocker)) => {
                self.notes.clear();
                self.note(&format!("table.csv was not written: {}", blocker.what));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, note: &str) {
        tracing::warn!(correlation_id = %self.job, note, "a table is missing");
        self.notes.push(note.to_owned());
    }
}

impl Open<'_> {
    async fn write(&mut self, plan: &PlanLine, finished: &Finished) -> Result<(), ReportError> {
        while self.current.as_ref().is_none_or(|row| row.line < plan.line) {
            self.end_row().await?;
            self.current = self.rows.next().await?;
            if self.current.is_none() {
                break;
            }
        }
        let Some(row) = self.current.as_ref().filter(|row| row.line == plan.line) else {
            let damage = format!("it lacks the row of the manifest's line {}", plan.line);
            return Err(self.rows.damaged(&damage));
        };

        self.has_image = true;
        let written = self.table.row(&row.cells, Some(finished))?;
        self.file.write(&written).await?;
        if let Some(shopify) = &mut self.shopify
            && let Some(image) = &finished.line.image
        {
            let url = shopify.base_url.of_object(&image.uri.key);
            shopify
                .images
                .push(NewImage::new(url, plan.prompt.as_deref()));
        }
        Ok(())
    }

    /// Writes what is left of the current row: all of it, if it became no image.
    async fn end_row(&mut self) -> Result<(), ReportError> {
        let had_image = std::mem::take(&mut self.has_image);
        let Some(row) = self.current.take() else {
            return Ok(());
        };
        if !had_image {
            let written = self.table.row(&row.cells, None)?;
            self.file.write(&written).await?;
        }
        if let Some(shopify) = &mut self.shopify {
            let images = std::mem::take(&mut shopify.images);
            let ended = shopify.table.add(&row.cells, images)?;
            shopify.file.write(&ended).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), ReportError> {
        self.end_row().await?;
        while let Some(row) = self.rows.next().await? {
            self.current = Some(row);
            self.end_row().await?;
        }
        self.file.finish().await?;
        if let Some(Shopify {
            table, mut file, ..
        }) = self.shopify
        {
            file.write(&table.finish()?).await?;
            file.finish().await?;
        }
        Ok(())
    }
}
