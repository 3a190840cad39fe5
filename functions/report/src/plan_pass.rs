//! One pass over the plan of a job, joined with the results of its shards. Each chunk and each
//! request file is read once.
//!
//! In the plan, the lines of a shard are in order, with lines of shards of other models in between.
//! So one shard per model is open at a time: its results are in memory, and its request file is
//! read from where the previous line of the shard ended.

use std::collections::{HashMap, hash_map::Entry};

use darkroom::{
    names::{JobId, ShardId},
    object_keys,
    plan::PlanLine,
    status::DocumentVersion,
};
use runtime::shard_store::Rounds;

use crate::{deps::Deps, documents::DocumentLines, error::ReportError, open_shard::OpenShard};

/// The lines of a plan that are still to be read.
pub(crate) struct PlanPass<'a> {
    deps: &'a Deps,
    job: &'a JobId,
    chains: &'a [Rounds],
    lines: DocumentLines<'a>,
    /// The value is None for a shard whose lines were all read.
    open: HashMap<ShardId, Option<OpenShard<'a>>>,
}

/// Opens the plan of a job.
///
/// # Errors
/// [`ReportError::Blocked`] if the plan is missing.
pub(crate) async fn open_plan<'a>(
    deps: &'a Deps,
    job: &JobId,
) -> Result<DocumentLines<'a>, ReportError> {
    DocumentLines::open(deps, &object_keys::plan(job)).await
}

impl<'a> PlanPass<'a> {
    /// Begins a pass over `lines`, which come from [`open_plan`]. `chains` are the states of all
    /// shards.
    pub(crate) fn begin(
        deps: &'a Deps,
        job: &'a JobId,
        lines: DocumentLines<'a>,
        chains: &'a [Rounds],
    ) -> Self {
        Self {
            deps,
            job,
            chains,
            lines,
            open: HashMap::new(),
        }
    }

    /// Returns the version of the plan.
    pub(crate) fn version(&self) -> &DocumentVersion {
        self.lines.version()
    }

    /// Returns the next line, or `None` at the end.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if the plan is damaged.
    pub(crate) async fn next(&mut self) -> Result<Option<PlanLine>, ReportError> {
        self.lines.next().await
    }

    /// Returns the shard of the line that was read last. Its first line loads its results.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if a document is missing or damaged.
    pub(crate) async fn shard(
        &mut self,
        line: &PlanLine,
    ) -> Result<&mut OpenShard<'a>, ReportError> {
        let (lines, number) = (&self.lines, self.lines.line());
        let shard = match self.open.entry(line.shard) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let Some(chain) = chain_of(self.chains, line.shard) else {
                    return Err(
                        lines.damaged(&format!("line {number} names a shard that does not exist"))
                    );
                };
                entry.insert(Some(OpenShard::load(self.deps, self.job, chain).await?))
            }
        };
        let Some(shard) = shard else {
            return Err(lines.damaged(&format!(
                "line {number} exceeds the number of requests of its shard"
            )));
        };
        if line.model != shard.model() {
            return Err(lines.damaged(&format!(
                "line {number} names a different model than its shard"
            )));
        }
        Ok(shard)
    }

    /// Counts a line of the plan as read. Returns the shard if this was its last line, which frees
    /// its results.
    pub(crate) fn leave(&mut self, line: &PlanLine) -> Option<OpenShard<'a>> {
        let shard = self.open.get_mut(&line.shard)?;
        let is_last = shard.as_mut().is_some_and(OpenShard::count_line);
        if is_last { shard.take() } else { None }
    }

    /// Compares the number of lines that were read with that of the expected images.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if the numbers differ.
    pub(crate) fn check_count(&self, images: u64) -> Result<(), ReportError> {
        self.lines.check_count(images)
    }
}

fn chain_of(chains: &[Rounds], id: ShardId) -> Option<&Rounds> {
    chains
        .get(usize::try_from(id.number).ok()?)
        .filter(|_| id.round == 1)
}
