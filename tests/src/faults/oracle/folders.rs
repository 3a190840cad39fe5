//! Checks the money of folders: in the end, what was reserved is settled or returned.

use std::{collections::BTreeMap, fs};

use darkroom::{
    ledger::Ledger,
    money::Usd,
    names::FolderPath,
    object_keys,
    state::{Settlement, Shard},
};

use jiff::Timestamp;

use super::{FaultCloud, Wrong};

/// When the ledger may forget the month in which every simulation starts: it keeps two.
const FORGOTTEN_FROM: &str = "2027-01-01T00:00:00Z";

/// Compares what the ledger counts for each folder with the states of the folder's shards.
pub(super) fn check(
    cloud: &FaultCloud,
    jobs: &[String],
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let path = cloud.local.path_of(object_keys::LEDGER);
    if !path.exists() {
        return Ok(());
    }
    let mut ledger: Ledger = serde_json::from_slice(&fs::read(path)?)?;

    // An invocation that was killed may leave a reservation behind. The next sweep would end it by
    // the state of its shard, as is done here.
    let mut costs: BTreeMap<FolderPath, Usd> = BTreeMap::new();
    for job in jobs {
        for shard in shards(cloud, job)? {
            let Some(settlement) = shard.settlement() else {
                continue;
            };
            ledger.close(&shard.job, shard.shard, settlement, cloud.now());
            let cost = match settlement {
                Settlement::NeverBought => Usd::ZERO,
                Settlement::Billed(cost) => cost.unwrap_or(shard.demand.usd),
            };
            if let Some(folder) = shard.folder {
                *costs.entry(folder).or_default() += cost;
            }
        }
    }

    let live = ledger.live.keys();
    for name in live.chain(ledger.unsettled.keys()) {
        report(Wrong::Unsettled, format!("money of {name} stays reserved"));
    }
    if cloud.now() >= FORGOTTEN_FROM.parse::<Timestamp>()? {
        return Ok(());
    }
    for (folder, cost) in costs {
        let spending = ledger.folders.get(&folder);
        let months = spending.into_iter().flat_map(|all| all.months.values());
        let counted: Usd = months.copied().sum();
        // Stored amounts are rounded, once for each change.
        if (counted - cost).micros().abs() > 100 {
            report(
                Wrong::Unsettled,
                format!("the ledger counts {counted} for {folder}, and its shards cost {cost}"),
            );
        }
    }
    Ok(())
}

/// Returns the states of all shards and rounds of a job.
fn shards(cloud: &FaultCloud, job: &str) -> anyhow::Result<Vec<Shard>> {
    let folder = cloud.local.path_of(&format!("{job}shards"));
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut shards = Vec::new();
    for shard in fs::read_dir(folder)? {
        let state = shard?.path().join("state.json");
        // A round that its parent does not name has keys and no state.
        if state.exists() {
            shards.push(serde_json::from_slice(&fs::read(state)?)?);
        }
    }
    Ok(shards)
}
