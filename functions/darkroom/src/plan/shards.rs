//! Assigns requests to shards.

use std::collections::BTreeMap;

use crate::{
    batch_bounds::BatchBounds, job::ShardLimits, lane::Lane, manifest::PlannedImage,
    models::Catalog, money::Usd, names::ShardId, requests, state::Demand,
};

/// The bytes of a response per pixel: a JPEG of a detailed image in base64, with a margin.
const RESPONSE_BYTES_PER_PIXEL: u64 = 2;

/// The bytes of a response without its image.
const RESPONSE_BYTES: u64 = 4096;

/// The amount by which one request adds to the limits of its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSize {
    /// The bytes of its line in the request file.
    pub input_bytes: u64,
    /// The expected bytes of its result.
    pub response_bytes: u64,
    /// The expected input tokens.
    pub tokens: u64,
    /// The cost to reserve for it.
    pub usd: Usd,
}

impl RequestSize {
    /// Returns the size of the request for an image.
    pub fn of(expected: &PlannedImage, catalog: &Catalog) -> Self {
        let ratio = expected.aspect_ratio.as_deref().unwrap_or("1:1");
        let size = expected.image_size.as_deref();
        let model = catalog.priced(&expected.model);
        let pixels = model
            .and_then(|model| model.pixels(ratio, size))
            .unwrap_or((1024, 1024));
        Self {
            input_bytes: requests::line_bytes(&expected.key, &expected.request),
            response_bytes: Self::response_bytes(pixels),
            tokens: expected.input_tokens,
            usd: expected.ceiling_usd,
        }
    }

    /// Returns the expected bytes of a result whose image has this width and height.
    pub fn response_bytes((width, height): (u32, u32)) -> u64 {
        RESPONSE_BYTES + u64::from(width) * u64::from(height) * RESPONSE_BYTES_PER_PIXEL
    }
}

/// The most requests of a shard of a synchronous lane. Its state names each of its results until it
/// is done, and is written for each of them.
const SYNCHRONOUS_REQUESTS: u32 = 100;

/// What all requests of a shard have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardGroup {
    /// The model, a full id.
    pub model: String,
    /// How the images are requested.
    pub lane: Lane,
    /// Whether the images are the job's proof.
    pub is_proof: bool,
}

impl ShardGroup {
    /// The group of an image.
    pub fn of(image: &PlannedImage) -> Self {
        Self {
            model: image.model.clone(),
            lane: image.lane,
            is_proof: image.proof,
        }
    }

    /// The images of a model that are requested in batches.
    pub fn batch(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            lane: Lane::Batch,
            is_proof: false,
        }
    }
}

/// A shard of the first round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedShard {
    /// What its requests have in common.
    pub group: ShardGroup,
    /// The usage of the project's limits.
    pub demand: Demand,
}

/// The assignment of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The shard of the request.
    pub shard: ShardId,
    /// The previous shard of the same model, if it was full and this request closed it.
    pub closed: Option<ShardId>,
}

/// Assigns requests to shards in manifest order. A shard has one model, since a batch has one
/// model, and one lane, and stays within its limits.
#[derive(Debug)]
pub struct Sharder {
    limits: ShardLimits,
    bounds: BatchBounds,
    open: BTreeMap<ShardGroup, Open>,
    planned: Vec<PlannedShard>,
}

#[derive(Debug)]
struct Open {
    shard: ShardId,
    requests: u32,
    size: RequestSize,
}

impl Sharder {
    /// Creates a sharder without shards.
    pub fn new(limits: ShardLimits, bounds: BatchBounds) -> Self {
        Self {
            limits,
            bounds,
            open: BTreeMap::new(),
            planned: Vec::new(),
        }
    }

    /// Assigns the request for the next image of the manifest.
    pub fn place_image(&mut self, image: &PlannedImage, catalog: &Catalog) -> Placement {
        self.place(&ShardGroup::of(image), RequestSize::of(image, catalog))
    }

    /// Assigns the next request of `group`. A request that exceeds a limit on its own gets a
    /// separate shard.
    pub fn place(&mut self, group: &ShardGroup, size: RequestSize) -> Placement {
        let fits = self
            .open
            .get(group)
            .is_some_and(|open| self.fits(group, open, size));
        let mut closed = None;
        if !fits {
            let shard = ShardId::first(u32::try_from(self.planned.len()).unwrap_or(u32::MAX));
            let full = self.open.insert(
                group.clone(),
                Open {
                    shard,
                    requests: 0,
                    size: RequestSize::default(),
                },
            );
            closed = full.map(|full| full.shard);
            self.planned.push(PlannedShard {
                group: group.clone(),
                demand: Demand::default(),
            });
        }
        let Some(open) = self.open.get_mut(group) else {
            unreachable!("the shard was opened above")
        };
        open.add(size);
        if let Some(planned) = self.planned.get_mut(open.shard.number as usize) {
            planned.demand = Demand {
                requests: open.requests,
                tokens: open.size.tokens,
                usd: open.size.usd,
            };
        }
        Placement {
            shard: open.shard,
            closed,
        }
    }

    /// Whether a request fits an open shard.
    fn fits(&self, group: &ShardGroup, open: &Open, more: RequestSize) -> bool {
        let (limits, size) = (&self.limits, open.size.with(more));
        let fits_the_day = self.bounds.usd.is_none_or(|cap| size.usd <= cap);
        // Tokens and bytes are limits of one batch.
        if group.lane.is_synchronous() {
            return open.requests < limits.requests.min(SYNCHRONOUS_REQUESTS) && fits_the_day;
        }
        let tokens = self
            .bounds
            .tokens
            .get(&group.model)
            .map_or(limits.tokens, |limit| limits.tokens.min(*limit));
        open.requests < limits.requests
            && size.input_bytes <= limits.input_bytes
            && size.response_bytes <= limits.response_bytes
            && size.tokens <= tokens
            && fits_the_day
    }

    /// Returns the shards in the order of their numbers.
    pub fn planned(self) -> Vec<PlannedShard> {
        self.planned
    }
}

impl Open {
    fn add(&mut self, more: RequestSize) {
        self.requests += 1;
        self.size = self.size.with(more);
    }
}

impl RequestSize {
    fn with(self, more: Self) -> Self {
        Self {
            input_bytes: self.input_bytes.saturating_add(more.input_bytes),
            response_bytes: self.response_bytes.saturating_add(more.response_bytes),
            tokens: self.tokens.saturating_add(more.tokens),
            usd: self.usd + more.usd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RequestSize = RequestSize {
        input_bytes: 1,
        response_bytes: 1,
        tokens: 1,
        usd: Usd::ZERO,
    };

    fn limits() -> ShardLimits {
        ShardLimits {
            requests: 3,
            input_bytes: 100,
            response_bytes: 100,
            tokens: 100,
        }
    }

    fn bounds() -> BatchBounds {
        BatchBounds {
            usd: Some(usd("1")),
            folder: None,
            tokens: BTreeMap::from([("few".to_owned(), 50)]),
        }
    }

    fn usd(dollars: &str) -> Usd {
        dollars.parse().unwrap()
    }

    fn assign(requests: &[(&str, RequestSize)]) -> Vec<String> {
        let mut sharder = Sharder::new(limits(), bounds());
        requests
            .iter()
            .map(|(model, size)| {
                sharder
                    .place(&ShardGroup::batch(*model), *size)
                    .shard
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn a_full_shard_is_closed_and_the_next_one_is_opened() {
        let mut sharder = Sharder::new(limits(), bounds());
        let placements: Vec<Placement> = (0..4)
            .map(|_| sharder.place(&ShardGroup::batch("m"), SMALL))
            .collect();
        assert_eq!(
            placements[2],
            Placement {
                shard: ShardId::first(0),
                closed: None
            }
        );
        assert_eq!(
            placements[3],
            Placement {
                shard: ShardId::first(1),
                closed: Some(ShardId::first(0))
            }
        );
        let planned: Vec<u32> = sharder
            .planned()
            .iter()
            .map(|shard| shard.demand.requests)
            .collect();
        assert_eq!(planned, [3, 1]);
    }

    #[test]
    fn models_do_not_share_a_shard() {
        assert_eq!(
            assign(&[("a", SMALL), ("b", SMALL), ("a", SMALL), ("b", SMALL)]),
            ["0000", "0001", "0000", "0001"]
        );
    }

    #[test]
    fn lanes_and_the_proof_do_not_share_a_shard() {
        let mut sharder = Sharder::new(limits(), bounds());
        let proof = ShardGroup {
            lane: Lane::Interactive,
            is_proof: true,
            ..ShardGroup::batch("m")
        };
        let interactive = ShardGroup {
            is_proof: false,
            ..proof.clone()
        };
        let groups = [ShardGroup::batch("m"), proof, interactive];
        let of = |sharder: &mut Sharder, group| sharder.place(group, SMALL).shard.number;
        let shards: Vec<u32> = groups.iter().map(|group| of(&mut sharder, group)).collect();
        assert_eq!(shards, [0, 1, 2]);
        let again: Vec<u32> = groups.iter().map(|group| of(&mut sharder, group)).collect();
        assert_eq!(again, shards);
    }

    #[test]
    fn tokens_and_bytes_do_not_limit_a_synchronous_shard() {
        let mut sharder = Sharder::new(
            ShardLimits {
                requests: 1_000,
                ..limits()
            },
            BatchBounds::default(),
        );
        let group = ShardGroup {
            lane: Lane::Flex,
            ..ShardGroup::batch("few")
        };
        let big = RequestSize {
            input_bytes: 60,
            response_bytes: 60,
            tokens: 60,
            usd: Usd::ZERO,
        };
        let last = (0..=SYNCHRONOUS_REQUESTS).map(|_| sharder.place(&group, big).shard.number);
        assert_eq!(last.sum::<u32>(), 1, "only the last request is in shard 1");
    }

    #[test]
    fn each_limit_alone_closes_a_shard() {
        for big in [
            RequestSize {
                input_bytes: 60,
                ..SMALL
            },
            RequestSize {
                response_bytes: 60,
                ..SMALL
            },
            RequestSize {
                tokens: 60,
                ..SMALL
            },
            RequestSize {
                usd: usd("0.60"),
                ..SMALL
            },
        ] {
            assert_eq!(
                assign(&[("m", big), ("m", SMALL), ("m", big)]),
                ["0000", "0000", "0001"]
            );
        }
    }

    #[test]
    fn a_model_with_a_lower_token_limit_gets_smaller_shards() {
        let request = RequestSize {
            tokens: 30,
            ..SMALL
        };
        assert_eq!(
            assign(&[
                ("few", request),
                ("m", request),
                ("few", request),
                ("m", request)
            ]),
            ["0000", "0001", "0002", "0001"]
        );
    }

    #[test]
    fn the_demand_of_a_shard_is_the_sum_of_its_requests() {
        let mut sharder = Sharder::new(limits(), bounds());
        for size in [RequestSize {
            tokens: 30,
            usd: usd("0.10"),
            ..SMALL
        }; 2]
        {
            sharder.place(&ShardGroup::batch("m"), size);
        }
        let demand = Demand {
            requests: 2,
            tokens: 60,
            usd: usd("0.20"),
        };
        assert_eq!(
            sharder.planned(),
            [PlannedShard {
                group: ShardGroup::batch("m"),
                demand
            }]
        );
    }

    #[test]
    fn a_request_that_exceeds_a_limit_gets_a_separate_shard() {
        let huge = RequestSize {
            response_bytes: 1_000,
            ..SMALL
        };
        assert_eq!(
            assign(&[("m", SMALL), ("m", huge), ("m", SMALL)]),
            ["0000", "0001", "0002"]
        );
    }
}
