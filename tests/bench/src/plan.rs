//! The plan of the benchmark's only shard.

use std::collections::BTreeMap;

use darkroom::{
    cost::Estimate,
    lane::Lane,
    money::Usd,
    names::{RequestKey, ShardId},
    plan::PlanLine,
};

/// The model of all requests.
pub const MODEL: &str = "gemini-2.5-flash-image";

/// Returns the only shard of a job.
pub fn shard_id() -> ShardId {
    ShardId::first(0)
}

/// Returns the line of the plan for the image `key`, which line `line` of the manifest asks for.
pub fn line(key: &str, line: u64) -> PlanLine {
    PlanLine {
        key: RequestKey::new(key),
        item: key.to_owned(),
        key_name: None,
        vars: BTreeMap::new(),
        variant: 1,
        line,
        shard: shard_id(),
        model: MODEL.to_owned(),
        aspect_ratio: Some("1:1".to_owned()),
        image_size: None,
        thinking: None,
        path: key.to_owned(),
        prompt: Some("the shoe on white".to_owned()),
        refs: Vec::new(),
        lane: Lane::Batch,
        proof: false,
        estimate: Estimate {
            batch_usd: Usd::default(),
            interactive_usd: Usd::default(),
            lanes_usd: None,
        },
        retry: None,
    }
}
