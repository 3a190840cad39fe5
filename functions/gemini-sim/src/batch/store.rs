//! The store of batches: a document for each, with its input and its rows in separate files.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use disk::documents::{DocumentError, Documents};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    batch::{
        Batch, Deleted,
        input::{Input, Row},
        record::Record,
    },
    files::remove_except,
    scenario::{Scenario, batch_outcome::BatchOutcome},
    wire::{paging::Page, reply::ApiError},
};

/// All batches. Deleted ones remain, because they still count and cost.
#[derive(Debug)]
pub(crate) struct Batches {
    documents: Documents<Batch>,
    inputs: PathBuf,
    rows: PathBuf,
    batches: Mutex<BTreeMap<String, Batch>>,
    /// The number of create calls by display name.
    create_calls: Mutex<BTreeMap<String, u64>>,
}

impl Batches {
    /// Opens the store below `folder`, and removes the inputs of batches that were never stored.
    ///
    /// # Errors
    /// [`DocumentError`] when the folder can't be read or changed.
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents: Documents<Batch> = Documents::open(folder.join("batches"))?;
        let batches: BTreeMap<_, _> = documents.load_all()?.into_iter().collect();
        let (inputs, rows) = (folder.join("inputs"), folder.join("rows"));
        let stored = |id: &str| batches.get(id).is_some_and(|batch| batch.deleted.is_none());
        remove_except(&inputs, stored)?;
        remove_except(&rows, stored)?;
        let mut create_calls: BTreeMap<String, u64> = BTreeMap::new();
        batches
            .values()
            .for_each(|batch| *create_calls.entry(batch.display_name.clone()).or_default() += 1);
        Ok(Self {
            documents,
            inputs,
            rows,
            batches: Mutex::new(batches),
            create_calls: Mutex::new(create_calls),
        })
    }

    /// Counts a create call for this display name, and returns its ordinal, from 1.
    pub(crate) fn next_ordinal_of(&self, display_name: &str) -> u64 {
        let mut create_calls = self
            .create_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = create_calls.entry(display_name.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Returns the file with a batch's input lines.
    pub(crate) fn input(&self, id: &str) -> PathBuf {
        self.inputs.join(id)
    }

    /// Stores a batch's rows. Call this before the batch is added.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn write_rows(&self, id: &str, rows: &[Row]) -> io::Result<()> {
        fs::write(self.rows.join(id), serde_json::to_vec(rows)?)
    }

    /// Returns the rows of a batch that have results at `now`, in processing order: those that are
    /// done, then those that a cancel left unserved, if the batch reports them.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn rows(&self, batch: &Batch, now: Timestamp) -> io::Result<Vec<Row>> {
        let mut rows: Vec<Row> = serde_json::from_slice(&fs::read(self.rows.join(&batch.id))?)?;
        let progress = batch.progress(now);
        rows.truncate(progress.done + progress.unserved);
        rows.iter_mut()
            .skip(progress.done)
            .for_each(Row::mark_unserved);
        Ok(rows)
    }

    /// Adds the batch that `make` returns and returns it, unless that would exceed `limits`. Its
    /// input and rows must be stored already. `make` receives the batch's ordinal among all batches
    /// ever created, from 1.
    ///
    /// # Errors
    /// Those of `make`; 429 when too much is live; 500 when the state can't be written.
    pub(crate) fn add(
        &self,
        now: Timestamp,
        limits: &Scenario,
        make: impl FnOnce(u64) -> Result<Batch, ApiError>,
    ) -> Result<Batch, ApiError> {
        let mut batches = self.lock();
        let batch = make(batches.len() as u64 + 1)?;
        let live = || batches.values().filter(|other| other.is_live(now));
        let same_model = live().filter(|other| other.model == batch.model);
        let enqueued = same_model.map(|other| other.input_tokens).sum::<u64>() + batch.input_tokens;
        if live().count() >= limits.live_batches
            || limits.enqueued_tokens.is_some_and(|most| enqueued > most)
        {
            return Err(ApiError::exhausted());
        }
        self.documents.put(&batch.id, &batch)?;
        batches.insert(batch.id.clone(), batch.clone());
        Ok(batch)
    }

    /// Removes the files of a batch that was not added.
    pub(crate) fn discard(&self, id: &str) {
        // Files that can't be removed now are removed when the store is next opened.
        let _ = fs::remove_file(self.inputs.join(id));
        let _ = fs::remove_file(self.rows.join(id));
    }

    /// Returns the batch with this id.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn find(&self, id: &str) -> Result<Batch, ApiError> {
        let batches = self.lock();
        let batch = batches.get(id).filter(|batch| batch.deleted.is_none());
        batch.cloned().ok_or_else(ApiError::not_found)
    }

    /// Returns a page of the batches that lists show by now, newest first, without inline results.
    pub(crate) fn list(&self, page: &Page, now: Timestamp) -> Value {
        let batches = self.lock();
        let listed = |batch: &&Batch| batch.deleted.is_none() && batch.listed <= now;
        let mut newest: Vec<&Batch> = batches.values().filter(listed).collect();
        newest.sort_by_key(|batch| Reverse(batch.number));
        page.of(
            "operations",
            newest.into_iter().map(|batch| (batch.number, batch)),
            |batch| batch.operation(now, None),
        )
    }

    /// Cancels a batch. A batch that has ended or will expire is left unchanged.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn cancel(&self, id: &str, now: Timestamp) -> Result<(), ApiError> {
        self.change(id, |batch| {
            let cancellable = batch.outcome != Some(BatchOutcome::Expired);
            if cancellable && batch.cancelled.is_none() && !batch.progress(now).state.is_terminal()
            {
                batch.cancelled = Some(now);
            }
            Ok(())
        })
    }

    /// Makes the live batches fail that have this input file.
    ///
    /// # Errors
    /// 500 when the state can't be written.
    pub(crate) fn fail_batches_with_input(
        &self,
        file: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let is_input = |batch: &Batch| matches!(&batch.input, Input::File(id) if id == file);
        for batch in self
            .lock()
            .values_mut()
            .filter(|batch| is_input(batch) && batch.is_live(now))
        {
            let failed = Batch {
                input_deleted: Some(now),
                ..batch.clone()
            };
            self.documents.put(&failed.id, &failed)?;
            *batch = failed;
        }
        Ok(())
    }

    /// Changes a batch's display name or priority, and returns its resource.
    ///
    /// # Errors
    /// 404 when there is none, 400 for a field that can't be changed.
    pub(crate) fn update(
        &self,
        id: &str,
        mask: &str,
        wanted: &Value,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let mut resource = Value::Null;
        self.change(id, |batch| {
            // Only the fields in the mask may change.
            for member in mask.split(',') {
                match (member, wanted["displayName"].as_str()) {
                    ("displayName" | "display_name", Some(name)) => {
                        batch.display_name = name.to_owned()
                    }
                    ("priority", _) => batch.priority = wanted["priority"].as_i64().unwrap_or(0),
                    _ => {
                        return Err(ApiError::invalid(format!(
                            "Invalid update_mask: {member} can't be updated"
                        )));
                    }
                }
            }
            resource = batch.resource(now);
            Ok(())
        })?;
        Ok(resource)
    }

    /// Deletes a batch and its results. Its cost remains counted.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Result<(), ApiError> {
        self.change(id, |batch| {
            batch.deleted = Some(Deleted {
                billed_nanodollars: self.cost(batch, now)?,
            });
            Ok(())
        })?;
        self.discard(id);
        Ok(())
    }

    /// Returns the number of batches ever created.
    pub(crate) fn created(&self) -> usize {
        self.lock().len()
    }

    /// Returns what all batches have cost until `now`, in billionths of a dollar.
    ///
    /// # Errors
    /// When rows can't be read.
    pub(crate) fn billed_nanodollars(&self, now: Timestamp) -> io::Result<u64> {
        self.lock()
            .values()
            .map(|batch| self.cost(batch, now))
            .sum()
    }

    /// Returns a record of every batch that is not deleted, in the order of creation. Output files
    /// are kept for `lifetime`.
    ///
    /// # Errors
    /// When an input can't be read.
    pub(crate) fn records(
        &self,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> io::Result<Vec<Record>> {
        let mut batches: Vec<Batch> = self
            .lock()
            .values()
            .filter(|batch| batch.deleted.is_none())
            .cloned()
            .collect();
        batches.sort_by_key(|batch| batch.number);
        let record = |batch: &Batch| {
            Record::of(
                batch,
                &self.rows(batch, now)?,
                &self.input(&batch.id),
                lifetime,
                now,
            )
        };
        batches.iter().map(record).collect()
    }

    /// Returns the next time after `now` at which a batch changes its state or its output becomes
    /// available.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock()
            .values()
            .flat_map(Batch::events)
            .filter(|moment| *moment > now)
            .min()
    }

    fn cost(&self, batch: &Batch, now: Timestamp) -> io::Result<u64> {
        match batch.deleted {
            Some(Deleted { billed_nanodollars }) => Ok(billed_nanodollars),
            None => Ok(self.rows(batch, now)?.iter().map(Row::billed).sum()),
        }
    }

    fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Batch) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut batches = self.lock();
        let stored = batches
            .get_mut(id)
            .filter(|batch| batch.deleted.is_none())
            .ok_or_else(ApiError::not_found)?;
        let mut changed = stored.clone();
        change(&mut changed)?;
        self.documents.put(id, &changed)?;
        *stored = changed;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
