//! The batches' store: a document each, with its input and its rows beside it.

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
    files::keep_only,
    scenario::{Scenario, batch_outcome::BatchFate},
    wire::{paging::Page, reply::Refused},
};

/// All batches, deleted ones included: those still count and cost.
#[derive(Debug)]
pub(crate) struct Batches {
    documents: Documents<Batch>,
    inputs: PathBuf,
    rows: PathBuf,
    batches: Mutex<BTreeMap<String, Batch>>,
    /// How many batches were asked for, by their display names.
    asked: Mutex<BTreeMap<String, u64>>,
}

impl Batches {
    /// Opens the store below `folder`. Inputs whose batch was never written are removed.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents: Documents<Batch> = Documents::open(folder.join("batches"))?;
        let batches: BTreeMap<_, _> = documents.load_all()?.into_iter().collect();
        let (inputs, rows) = (folder.join("inputs"), folder.join("rows"));
        let stored = |id: &str| batches.get(id).is_some_and(|batch| batch.deleted.is_none());
        keep_only(&inputs, stored)?;
        keep_only(&rows, stored)?;
        let mut asked: BTreeMap<String, u64> = BTreeMap::new();
        batches
            .values()
            .for_each(|batch| *asked.entry(batch.display_name.clone()).or_default() += 1);
        Ok(Self {
            documents,
            inputs,
            rows,
            batches: Mutex::new(batches),
            asked: Mutex::new(asked),
        })
    }

    /// Counts one more call for a batch of this display name: which one it is, from 1.
    pub(crate) fn next_of(&self, display_name: &str) -> u64 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(display_name.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Where a batch's input lines are.
    pub(crate) fn input(&self, id: &str) -> PathBuf {
        self.inputs.join(id)
    }

    /// Keeps a batch's rows; before the batch itself is added.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn write_rows(&self, id: &str, rows: &[Row]) -> io::Result<()> {
        fs::write(self.rows.join(id), serde_json::to_vec(rows)?)
    }

    /// The rows of a batch that have results at `now`, in their order: first those that are done,
    /// then those that a cancel left unserved, where these are told.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn rows(&self, batch: &Batch, now: Timestamp) -> io::Result<Vec<Row>> {
        let mut rows: Vec<Row> = serde_json::from_slice(&fs::read(self.rows.join(&batch.id))?)?;
        let progress = batch.progress(now);
        rows.truncate(progress.done + progress.unserved);
        rows.iter_mut()
            .skip(progress.done)
            .for_each(Row::leave_unserved);
        Ok(rows)
    }

    /// Adds the batch that `make` gives, whose input and rows are there, and answers with it,
    /// unless that would be more than `limits` allow. `make` is told that it is the so many-th ever
    /// created.
    ///
    /// # Errors
    /// Those of `make`; 429 when too much is live; 500 when the state can't be written.
    pub(crate) fn add(
        &self,
        now: Timestamp,
        limits: &Scenario,
        make: impl FnOnce(u64) -> Result<Batch, Refused>,
    ) -> Result<Batch, Refused> {
        let mut batches = self.lock();
        let batch = make(batches.len() as u64 + 1)?;
        let live = || batches.values().filter(|other| other.is_live(now));
        let of_the_model = live().filter(|other| other.model == batch.model);
        let enqueued =
            of_the_model.map(|other| other.input_tokens).sum::<u64>() + batch.input_tokens;
        if live().count() >= limits.live_batches
            || limits.enqueued_tokens.is_some_and(|most| enqueued > most)
        {
            return Err(Refused::exhausted());
        }
        self.documents.put(&batch.id, &batch)?;
        batches.insert(batch.id.clone(), batch.clone());
        Ok(batch)
    }

    /// Removes what a batch that was not added left behind.
    pub(crate) fn discard(&self, id: &str) {
        // What stays is removed at the next opening.
        let _ = fs::remove_file(self.inputs.join(id));
        let _ = fs::remove_file(self.rows.join(id));
    }

    /// The batch of this id.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn find(&self, id: &str) -> Result<Batch, Refused> {
        let batches = self.lock();
        let batch = batches.get(id).filter(|batch| batch.deleted.is_none());
        batch.cloned().ok_or_else(Refused::not_found)
    }

    /// A page of the batches that lists have by now, newest first, without inline results.
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

    /// Cancels a batch; one that has ended, or is to expire, stays as it is.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn cancel(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        self.change(id, |batch| {
            let heard = batch.fate != Some(BatchFate::Expired);
            if heard && batch.cancelled.is_none() && !batch.progress(now).state.is_terminal() {
                batch.cancelled = Some(now);
            }
            Ok(())
        })
    }

    /// Fails the live batches whose input this file was.
    ///
    /// # Errors
    /// 500 when the state can't be written.
    pub(crate) fn take_input(&self, file: &str, now: Timestamp) -> Result<(), Refused> {
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

    /// Changes a batch's display name or priority, and answers with it.
    ///
    /// # Errors
    /// 404 when there is none, 400 for a member that can't be changed.
    pub(crate) fn update(
        &self,
        id: &str,
        mask: &str,
        wanted: &Value,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let mut resource = Value::Null;
        self.change(id, |batch| {
            for member in mask.split(',') {
                match (member, wanted["displayName"].as_str()) {
                    ("displayName" | "display_name", Some(name)) => {
                        batch.display_name = name.to_owned()
                    }
                    ("priority", _) => batch.priority = wanted["priority"].as_i64().unwrap_or(0),
                    _ => {
                        return Err(Refused::invalid(format!(
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

    /// Deletes a batch and its results. What it has cost stays counted.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        self.change(id, |batch| {
            batch.deleted = Some(Deleted {
                billed_nanodollars: self.cost(batch, now)?,
            });
            Ok(())
        })?;
        self.discard(id);
        Ok(())
    }

    /// The number of batches ever created.
    pub(crate) fn created(&self) -> usize {
        self.lock().len()
    }

    /// What all batches have cost until `now`, in billionths of a dollar.
    ///
    /// # Errors
    /// When rows can't be read.
    pub(crate) fn billed_nanodollars(&self, now: Timestamp) -> io::Result<u64> {
        self.lock()
            .values()
            .map(|batch| self.cost(batch, now))
            .sum()
    }

    /// Every batch that is not deleted, in the order of their creation. Output files are kept for
    /// `lifetime`.
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

    /// The next moment after `now` at which a batch changes its state, or its output comes.
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
        change: impl FnOnce(&mut Batch) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut batches = self.lock();
        let stored = batches
            .get_mut(id)
            .filter(|batch| batch.deleted.is_none())
            .ok_or_else(Refused::not_found)?;
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
