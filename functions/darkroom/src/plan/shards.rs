//! How requests are dealt into shards.

use std::collections::BTreeMap;

use crate::{job::ShardLimits, names::ShardId};

/// What one request adds to its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSize {
    /// Bytes of its line in the request file.
    pub input_bytes: u64,
    /// Bytes that its result is expected to have.
    pub response_bytes: u64,
    /// Input tokens it is expected to have.
    pub tokens: u64,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The shard it goes to.
    pub shard: ShardId,
    /// The shard of the same model that is full, and closed by this placement.
    pub closed: Option<ShardId>,
}

/// Deals requests into shards in manifest order: one model a shard, as a batch has one model, and none over its limits.
#[derive(Debug)]
pub struct Sharder {
    limits: ShardLimits,
    open: BTreeMap<String, Open>,
    shards: u32,
}

#[derive(Debug)]
struct Open {
    shard: ShardId,
    requests: u32,
    size: RequestSize,
}

impl Sharder {
    /// An empty sharder.
    pub fn new(limits: ShardLimits) -> Self {
        Self { limits, open: BTreeMap::new(), shards: 0 }
    }

    /// Places the next request of `model`. A request that alone is over a limit gets a shard of its own.
    pub fn place(&mut self, model: &str, size: RequestSize) -> Placement {
        if let Some(open) = self.open.get_mut(model)
            && open.fits(size, &self.limits)
        {
            open.add(size);
            return Placement { shard: open.shard, closed: None };
        }
        let shard = ShardId::first(self.shards);
        self.shards += 1;
        let closed = self.open.insert(model.to_owned(), Open { shard, requests: 1, size });
        Placement { shard, closed: closed.map(|full| full.shard) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.shards
    }
}

impl Open {
    fn fits(&self, more: RequestSize, limits: &ShardLimits) -> bool {
        self.requests < limits.requests
            && self.size.input_bytes + more.input_bytes <= limits.input_bytes
            && self.size.response_bytes + more.response_bytes <= limits.response_bytes
            && self.size.tokens + more.tokens <= limits.tokens
    }

    fn add(&mut self, more: RequestSize) {
        self.requests += 1;
        self.size.input_bytes += more.input_bytes;
        self.size.response_bytes += more.response_bytes;
        self.size.tokens += more.tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RequestSize = RequestSize { input_bytes: 1, response_bytes: 1, tokens: 1 };

    fn limits() -> ShardLimits {
        ShardLimits { requests: 3, input_bytes: 100, response_bytes: 100, tokens: 100 }
    }

    fn deal(requests: &[(&str, RequestSize)]) -> Vec<String> {
        let mut sharder = Sharder::new(limits());
        requests.iter().map(|(model, size)| sharder.place(model, *size).shard.to_string()).collect()
    }

    #[test]
    fn a_full_shard_is_closed_and_the_next_begins() {
        let mut sharder = Sharder::new(limits());
        let placements: Vec<Placement> = (0..4).map(|_| sharder.place("m", SMALL)).collect();
        assert_eq!(placements[2], Placement { shard: ShardId::first(0), closed: None });
        assert_eq!(placements[3], Placement { shard: ShardId::first(1), closed: Some(ShardId::first(0)) });
        assert_eq!(sharder.shards(), 2);
    }

    #[test]
    fn models_do_not_share_a_shard() {
        assert_eq!(deal(&[("a", SMALL), ("b", SMALL), ("a", SMALL), ("b", SMALL)]), ["0000", "0001", "0000", "0001"]);
    }

    #[test]
    fn each_limit_alone_closes_a_shard() {
        for big in [
            RequestSize { input_bytes: 60, ..SMALL },
            RequestSize { response_bytes: 60, ..SMALL },
            RequestSize { tokens: 60, ..SMALL },
        ] {
            assert_eq!(deal(&[("m", big), ("m", SMALL), ("m", big)]), ["0000", "0000", "0001"]);
        }
    }

    #[test]
    fn a_request_over_a_limit_is_alone() {
        let huge = RequestSize { response_bytes: 1_000, ..SMALL };
        assert_eq!(deal(&[("m", SMALL), ("m", huge), ("m", SMALL)]), ["0000", "0001", "0002"]);
    }
}
