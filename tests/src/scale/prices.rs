//! The prices and limits of AWS, and the assumptions about its speed, as data:
//! `tests/bench/aws.toml`.

use serde::Deserialize;

const TEXT: &str = include_str!("../../bench/aws.toml");

/// The content of `tests/bench/aws.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The region of the prices.
    pub region: String,
    /// The prices.
    pub price: Prices,
    /// What determines how long a function runs.
    pub model: Model,
    /// The limits.
    pub limit: Limits,
}

/// The prices that a job or a stack pays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each price has its unit in the file")]
pub struct Prices {
    pub lambda_gb_seconds: Price,
    pub lambda_requests: Price,
    pub s3_writes: Price,
    pub s3_reads: Price,
    pub s3_storage: Price,
    pub sqs_requests: Price,
    pub transfer_out: Price,
    pub logs: Price,
    pub alarms: Price,
}

/// A price.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Dollars for [`Self::per`] units.
    usd: f64,
    per: f64,
    /// What is charged for.
    pub unit: String,
    /// The page with the price.
    pub source: String,
    /// The month of which the price was known.
    pub as_of: String,
}

impl Price {
    /// Returns what a quantity costs, in dollars.
    pub fn of(&self, quantity: f64) -> f64 {
        quantity * self.usd / self.per
    }
}

/// What determines how long a function waits and computes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How long S3 takes to answer.
    pub s3_milliseconds: u64,
    /// How long SQS takes to answer.
    pub sqs_milliseconds: u64,
    /// How long Gemini takes to answer.
    pub gemini_milliseconds: u64,
    /// The network of a function, both directions together.
    pub bytes_per_second: u64,
    /// The memory with which a function has a whole core.
    pub mb_per_core: u32,
    /// The log of one invocation.
    pub log_bytes_per_invocation: u64,
    /// The bytes of a usual image.
    pub image_bytes: u32,
    /// The receives of an idle trigger.
    pub idle_receives_per_minute: u64,
}

/// The limits of an account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each limit has its description in the file")]
pub struct Limits {
    pub lambda_concurrency: Limit,
    pub s3_writes_per_second: Limit,
    pub s3_reads_per_second: Limit,
    pub sqs_in_flight: Limit,
}

/// A limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its value.
    pub value: u64,
    /// What it limits.
    pub what: String,
    /// The page with the limit.
    pub source: String,
    /// The month of which the limit was known.
    pub as_of: String,
}

impl Aws {
    /// Reads the file.
    ///
    /// # Errors
    /// If it does not have the expected form.
    pub fn read() -> Result<Self, toml::de::Error> {
        toml::from_str(TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_price_has_a_page_and_a_month() {
        let aws = Aws::read().unwrap();
        let prices = &aws.price;
        for price in [
            &prices.lambda_gb_seconds,
            &prices.lambda_requests,
            &prices.s3_writes,
            &prices.s3_reads,
            &prices.s3_storage,
            &prices.sqs_requests,
            &prices.transfer_out,
            &prices.logs,
            &prices.alarms,
        ] {
            assert!(price.of(1.0) > 0.0 && price.of(1.0) < 1.0, "{price:?}");
            assert!(price.source.starts_with("https://"), "{price:?}");
            format!("{}-01", price.as_of)
                .parse::<jiff::civil::Date>()
                .unwrap();
        }
    }

    #[test]
    fn a_price_is_for_a_number_of_units() {
        let aws = Aws::read().unwrap();
        assert!((aws.price.lambda_requests.of(2e6) - 0.40).abs() < 1e-9);
    }
}
