//! The cost of jobs with images in several lanes, to the micro-dollar.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    chunks::{ChunkLine, UnmatchedReason, UnmatchedResult},
    cost::{self, Estimate, Share, ShareKey, Usage},
    manifest::Reading,
    models::Model,
    money::Usd,
    names::{BatchName, JobId, RequestKey, ShardId},
    plan::PlanSummary,
    results::{NO_ANSWER, NO_CAPACITY, Reason},
    state::{Demand, EndedBatch, Phase, Shard},
};

const MODEL: &str = "gemini-3-pro-image";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A job with one shard for each lane. Its images are numbered.
struct Job {
    catalog: Catalog,
    reading: Reading,
    shards: Vec<(ShardResults, Vec<PlanLine>)>,
    finished: Vec<Finished>,
    tally: Tally,
}

impl Job {
    fn new() -> Self {
        Self {
            catalog: Catalog::built_in(),
            reading: Reading::default(),
            shards: Vec::new(),
            finished: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn model(&self) -> &Model {
        self.catalog.model(MODEL).unwrap()
    }

    /// Adds a shard with images of these sizes and input tokens, and returns their request keys.
    fn plan(&mut self, lane: Lane, images: &[(&str, u64)]) -> Vec<RequestKey> {
        let mut breakdown = std::mem::take(&mut self.reading.breakdown);
        let mut lines = Vec::new();
        for &(size, tokens) in images {
            let estimate = cost::estimate(self.model(), lane, Some(size), tokens);
            let key = ShareKey {
                model: MODEL.to_owned(),
                size: size.to_owned(),
                lane,
                is_proof: false,
            };
            let share = Share {
                images: 1,
                estimate,
                ..Share::default()
            };
            breakdown.add(key, share);
            self.reading.estimate = self.reading.estimate + estimate;
            let number = self.reading.images;
            self.reading.images += 1;
            let id = ShardId::first(u32::try_from(self.shards.len()).unwrap());
            lines.push(plan_line(number, id, size, estimate));
        }
        self.reading.breakdown = breakdown;
        let keys = lines.iter().map(|line| line.key.clone()).collect();
        self.shards.push((ShardResults::default(), lines));
        keys
    }

    /// Adds a round of the last shard, with its results.
    fn round(&mut self, round: u8, lane: Lane, lines: Vec<ChunkLine>) {
        let id = ShardId {
            number: u32::try_from(self.shards.len()).unwrap() - 1,
            round,
        };
        let demand = Demand {
            requests: u32::try_from(lines.len()).unwrap(),
            ..Demand::default()
        };
        let shard = Shard {
            phase: done(),
            ..Shard::planned(&JobId::new("job"), id, MODEL, demand, (0, 0), NOW)
        };
        let (results, _) = self.shards.last_mut().unwrap();
        results.begin_in(lane, &shard, None);
        for line in lines {
            results.add(match line {
                ChunkLine::Result(result) => ChunkLine::Result(Box::new(ResultLine {
                    shard: Some(id),
                    ..*result
                })),
                unmatched @ ChunkLine::Unmatched(_) => unmatched,
            });
        }
    }

    /// Closes the job, and returns `cost` of its summary.
    fn close(&mut self) -> Value {
        for (mut results, lines) in std::mem::take(&mut self.shards) {
            for line in lines {
                let finished = finish(&line, &mut results, &self.catalog);
                self.tally.add(&line, &finished);
                self.finished.push(finished);
            }
            self.tally.add_shard(MODEL, &results, &self.catalog);
        }
        let cost = self.tally.cost(&PlanSummary::of(&self.reading, 0, NOW));
        let value = serde_json::to_value(&cost).unwrap();
        assert_eq!(serde_json::from_value::<Cost>(value.clone()).unwrap(), cost);
        value
    }

    /// Returns `lane` and `cost_usd` of each published line.
    fn lines(&self) -> Vec<(Option<Lane>, Usd)> {
        self.finished
            .iter()
            .map(|finished| (finished.line.lane, finished.line.cost_usd.unwrap()))
            .collect()
    }
}

fn plan_line(number: u64, shard: ShardId, size: &str, estimate: Estimate) -> PlanLine {
    let key = format!("stone-{number}");
    PlanLine {
        key: RequestKey::new(key.clone()),
        item: key.clone(),
        key_name: None,
        vars: Default::default(),
        variant: 1,
        line: number + 1,
        shard,
        model: MODEL.to_owned(),
        lane: Lane::Batch,
        proof: false,
        aspect_ratio: None,
        image_size: Some(size.to_owned()),
        thinking: None,
        path: key,
        prompt: None,
        refs: Vec::new(),
        estimate,
        retry: None,
    }
}

fn done() -> Phase {
    Phase::Done {
        ended: Some(EndedBatch {
            batch: BatchName::new("batches/b"),
            attempt: 1,
            state: "SUCCEEDED".to_owned(),
            output: None,
            error: None,
            submitted_at: NOW,
            ended_at: NOW,
        }),
        chunks: Vec::new(),
        next: None,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: None,
    }
}

fn usage(prompt: u64, image: u64, thoughts: u64) -> Option<Usage> {
    Some(Usage {
        prompt_tokens: prompt,
        output_image_tokens: image,
        output_text_tokens: 0,
        thought_tokens: thoughts,
    })
}

/// The line of an image that a lane served.
fn image(key: &RequestKey, lane: Lane, usage: Option<Usage>) -> ChunkLine {
    ChunkLine::Result(Box::new(ResultLine {
        lane: Some(lane),
        usage,
        response_id: Some(format!("response-{key}")),
        ..ResultLine::new(key.clone(), Status::Succeeded)
    }))
}

/// The line of a request that failed.
fn failure(key: &RequestKey, lane: Lane, code: &str) -> ChunkLine {
    ChunkLine::Result(Box::new(ResultLine {
        lane: Some(lane),
        error: Some(Reason {
            code: code.to_owned(),
            message: String::new(),
            retryable: true,
        }),
        ..ResultLine::new(key.clone(), Status::Failed)
    }))
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

#[test]
fn a_job_in_three_lanes_costs_what_its_lanes_cost() {
    let mut job = Job::new();
    let lane = Lane::Batch;
    let keys = job.plan(lane, &[("1K", 100), ("2K", 100), ("4K", 100)]);
    let lines = [
        image(&keys[0], lane, usage(100, 1120, 200)),
        image(&keys[1], lane, usage(100, 1120, 0)),
        image(&keys[2], lane, usage(100, 2000, 150)),
    ];
    job.round(1, lane, lines.into());
    let lane = Lane::Flex;
    let keys = job.plan(lane, &[("1K", 1234), ("4K", 7)]);
    let lines = [
        image(&keys[0], lane, usage(1234, 1120, 131)),
        image(&keys[1], lane, usage(7, 2000, 0)),
    ];
    job.round(1, lane, lines.into());
    let lane = Lane::Interactive;
    let keys = job.plan(lane, &[("1K", 11), ("4K", 13)]);
    let lines = [
        image(&keys[0], lane, usage(11, 1120, 333)),
        image(&keys[1], lane, usage(13, 2000, 77)),
    ];
    job.round(1, lane, lines.into());

    let by_round = json!([{
        "round": 1, "requests": 7, "images": 7,
        "actual_usd": 0.825395, "interactive_usd": 1.271422, "saved_usd": 0.446027,
    }]);
    let expected = json!({
        "estimated_usd": 0.816789, "actual_usd": 0.825395, "variance_percent": 1.05,
        "interactive_usd": 1.271422, "saved_usd": 0.446027, "unattributed_usd": 0,
        "unaccounted": { "requests": 0, "estimated_usd": 0 },
        "by_model": [{
            "model": MODEL, "images": 7, "estimated_usd": 0.816789, "actual_usd": 0.825395,
            "variance_percent": 1.05, "interactive_usd": 1.271422, "saved_usd": 0.446027,
            "by_round": by_round,
        }],
        "by_round": by_round,
        "by_lane": [
            {
                "lane": "batch", "requests": 3, "images": 3, "estimated_usd": 0.2543,
                "actual_usd": 0.2568, "interactive_usd": 0.5136, "saved_usd": 0.2568,
            },
            {
                "lane": "flex", "requests": 2, "images": 2, "estimated_usd": 0.188441,
                "actual_usd": 0.189227, "interactive_usd": 0.378454, "saved_usd": 0.189227,
            },
            {
                "lane": "interactive", "requests": 2, "images": 2, "estimated_usd": 0.374048,
                "actual_usd": 0.379368, "interactive_usd": 0.379368, "saved_usd": 0,
            },
        ],
    });
    assert_eq!(job.close(), expected);
    let lines = [
        (Some(Lane::Batch), usd("0.0685")),
        (Some(Lane::Batch), usd("0.0673")),
        (Some(Lane::Batch), usd("0.121")),
        (Some(Lane::Flex), usd("0.06922")),
        (Some(Lane::Flex), usd("0.120007")),
        (Some(Lane::Interactive), usd("0.138418")),
        (Some(Lane::Interactive), usd("0.24095")),
    ];
    assert_eq!(job.lines(), lines);
}

#[test]
fn a_flex_request_that_is_served_at_full_price_costs_the_full_price() {
    let mut job = Job::new();
    let keys = job.plan(Lane::Flex, &[("1K", 100), ("1K", 100)]);
    let lines = [
        image(&keys[0], Lane::Flex, usage(100, 1120, 200)),
        image(&keys[1], Lane::Interactive, usage(100, 1120, 200)),
    ];
    job.round(1, Lane::Flex, lines.into());

    let cost = job.close();
    let by_lane = json!([
        {
            "lane": "flex", "requests": 2, "images": 1, "estimated_usd": 0.1346,
            "actual_usd": 0.0685, "interactive_usd": 0.137, "saved_usd": 0.0685,
        },
        {
            "lane": "interactive", "requests": 0, "images": 1, "estimated_usd": 0,
            "actual_usd": 0.137, "interactive_usd": 0.137, "saved_usd": 0,
        },
    ]);
    assert_eq!(cost["by_lane"], by_lane);
    assert_eq!(
        (
            &cost["estimated_usd"],
            &cost["actual_usd"],
            &cost["saved_usd"]
        ),
        (&json!(0.1346), &json!(0.2055), &json!(0.0685))
    );
    assert_eq!(cost["by_round"][0]["requests"], 2);
    let lines = [
        (Some(Lane::Flex), usd("0.0685")),
        (Some(Lane::Interactive), usd("0.137")),
    ];
    assert_eq!(job.lines(), lines);
}

#[test]
fn an_image_without_tokens_costs_the_estimate_of_the_lane_that_served_it() {
    let mut job = Job::new();
    let keys = job.plan(Lane::Flex, &[("1K", 100), ("4K", 100)]);
    let lines = [
        image(&keys[0], Lane::Flex, None),
        image(&keys[1], Lane::Interactive, None),
    ];
    job.round(1, Lane::Flex, lines.into());
    let cost = job.close();
    assert_eq!(
        (&cost["actual_usd"], &cost["interactive_usd"]),
        (&json!(0.3075), &json!(0.3744))
    );
    assert!(job.finished.iter().all(|one| one.line.warnings.len() == 1));
}

/// Of three flex requests, one meets no capacity and one loses its answer. Both are retried in the
/// interactive lane, where one loses its answer too.
#[test]
fn a_lost_answer_is_unaccounted_for_and_a_lack_of_capacity_is_free() {
    let mut job = Job::new();
    let keys = job.plan(Lane::Flex, &[("1K", 0), ("1K", 0), ("1K", 0)]);
    let lines = [
        failure(&keys[0], Lane::Flex, NO_CAPACITY),
        failure(&keys[1], Lane::Flex, NO_ANSWER),
        image(&keys[2], Lane::Flex, usage(0, 1120, 0)),
    ];
    job.round(1, Lane::Flex, lines.into());
    let lines = [
        image(&keys[0], Lane::Interactive, usage(0, 1120, 0)),
        failure(&keys[1], Lane::Interactive, NO_ANSWER),
    ];
    job.round(2, Lane::Interactive, lines.into());

    let cost = job.close();
    assert_eq!(
        cost["unaccounted"],
        json!({ "requests": 2, "estimated_usd": 0.2012 })
    );
    let by_round = json!([
        {
            "round": 1, "requests": 3, "images": 1,
            "actual_usd": 0.0672, "interactive_usd": 0.1344, "saved_usd": 0.0672,
        },
        {
            "round": 2, "requests": 2, "images": 1,
            "actual_usd": 0.1344, "interactive_usd": 0.1344, "saved_usd": 0,
        },
    ]);
    assert_eq!(cost["by_round"], by_round);
    let by_lane = json!([
        {
            "lane": "flex", "requests": 3, "images": 1, "estimated_usd": 0.2016,
            "actual_usd": 0.0672, "interactive_usd": 0.1344, "saved_usd": 0.0672,
        },
        {
            "lane": "interactive", "requests": 2, "images": 1, "estimated_usd": 0,
            "actual_usd": 0.1344, "interactive_usd": 0.1344, "saved_usd": 0,
        },
    ]);
    assert_eq!(cost["by_lane"], by_lane);
    // One of the three images that are planned in the flex tier is missing.
    let lanes = serde_json::to_value(job.tally.lanes()).unwrap();
    assert_eq!(
        lanes,
        json!([{ "lane": "flex", "images": 3, "finished": 2 }])
    );
    let line = &job.finished[1].line;
    assert_eq!(
        (line.status, &line.error.as_ref().unwrap().code[..]),
        (Status::Failed, NO_ANSWER)
    );
}

#[test]
fn a_request_that_was_never_made_is_not_counted() {
    let mut job = Job::new();
    let keys = job.plan(Lane::Interactive, &[("1K", 0), ("1K", 0)]);
    let skipped = ResultLine::new(keys[1].clone(), Status::Skipped);
    let lines = vec![
        image(&keys[0], Lane::Interactive, usage(0, 1120, 0)),
        ChunkLine::Result(Box::new(skipped)),
    ];
    job.round(1, Lane::Interactive, lines);
    let cost = job.close();
    assert_eq!(
        (
            &cost["by_lane"][0]["requests"],
            &cost["by_round"][0]["requests"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(job.lines()[1], (None, Usd::ZERO));
}

#[test]
fn an_answer_that_belongs_to_no_image_has_the_prices_of_its_shard() {
    for (lane, cost) in [(Lane::Batch, 0.0672), (Lane::Interactive, 0.1344)] {
        let mut job = Job::new();
        job.plan(lane, &[]);
        let unmatched = UnmatchedResult {
            usage: usage(0, 1120, 0),
            ..UnmatchedResult::new(UnmatchedReason::UnknownKey, 0)
        };
        job.round(1, lane, vec![ChunkLine::Unmatched(Box::new(unmatched))]);
        assert_eq!(job.close()["unattributed_usd"], json!(cost), "{lane}");
    }
}

/// Lines of earlier versions, and of some tests, name no lane.
#[test]
fn a_job_of_batches_has_no_costs_by_lane() {
    let mut job = Job::new();
    let keys = job.plan(Lane::Batch, &[("1K", 0), ("1K", 0)]);
    let mut unnamed = ResultLine::new(keys[1].clone(), Status::Succeeded);
    unnamed.usage = usage(0, 1120, 0);
    let lines = vec![
        image(&keys[0], Lane::Batch, usage(0, 1120, 0)),
        ChunkLine::Result(Box::new(unnamed)),
    ];
    job.round(1, Lane::Batch, lines);
    let cost = job.close();
    assert_eq!(
        (&cost["actual_usd"], &cost["by_round"][0]["requests"]),
        (&json!(0.1344), &json!(2))
    );
    assert_eq!(cost.get("by_lane"), None);
    assert_eq!(job.tally.lanes(), []);
}
