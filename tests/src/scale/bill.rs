//! What AWS charges for a job and for an idle stack, and what Gemini charges for the same images.

use anyhow::Context;
use darkroom::{job::JobSettings, models::Catalog};
use jiff::Timestamp;

use super::{
    figures::Figures,
    meter::{Kind, Service},
    prices::{Aws, Price},
    simulation::{Pictures, Simulation},
    template::Template,
};

const GB: f64 = 1e9;

/// One line of a bill.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is charged for.
    pub name: &'static str,
    /// The quantity, in the unit of the price.
    pub quantity: f64,
    /// The unit of the price.
    pub unit: String,
    /// Dollars.
    pub usd: f64,
}

/// The lines of a bill.
#[derive(Clone, Debug)]
pub struct Bill(pub Vec<Item>);

impl Bill {
    /// Returns the sum in dollars.
    pub fn usd(&self) -> f64 {
        self.0.iter().map(|item| item.usd).sum()
    }

    fn item(name: &'static str, price: &Price, quantity: f64) -> Item {
        Item {
            name,
            quantity,
            unit: price.unit.clone(),
            usd: price.of(quantity),
        }
    }
}

/// What an image of a usual size adds to a tiny one. The counts of requests are the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsualSize {
    /// The bytes of the image that Gemini returns more, as base64.
    pub received_from_gemini: f64,
    /// The bytes that are read from S3 more, to make the thumbnail.
    pub read_from_s3: f64,
    /// The bytes that are sent to S3 more: the image, and the rest of its larger thumbnail.
    pub sent_to_s3: f64,
    /// The bytes that are stored more.
    pub stored: f64,
    /// The additional GB-seconds.
    pub gb_seconds: f64,
}

impl UsualSize {
    /// Measures the difference by two small jobs that differ only in the size of their images.
    ///
    /// # Errors
    /// If one of the jobs fails.
    pub fn measure(images: u64, aws: &Aws, template: &Template) -> anyhow::Result<(Self, Figures)> {
        let job = |pictures| Simulation {
            images,
            pictures,
            ..Simulation::default()
        };
        let tiny = job(Pictures::Tiny).run()?;
        let usual = job(Pictures::Padded(aws.model.image_bytes)).run()?;
        let each = |of: &dyn Fn(&Figures) -> f64| (of(&usual) - of(&tiny)) / images as f64;
        let received = |figures: &Figures, service| {
            let select = |kind: Kind| kind.service() == service;
            figures.of_functions(select, |count| count.received) as f64
        };
        let sent_to_s3 = |figures: &Figures| {
            let select = |kind: Kind| kind.service() == Service::S3;
            figures.of_functions(select, |count| count.sent) as f64
        };
        let gb_seconds =
            (usual.all_gb_seconds(template)? - tiny.all_gb_seconds(template)?) / images as f64;
        let difference = Self {
            received_from_gemini: each(&|figures| received(figures, Service::Gemini)),
            read_from_s3: each(&|figures| received(figures, Service::S3)),
            sent_to_s3: each(&sent_to_s3),
            stored: each(&|figures| figures.stored_bytes as f64),
            gb_seconds,
        };
        Ok((difference, usual))
    }
}

/// Returns what AWS charges for a job whose images have the usual size, with a month of storage.
///
/// # Errors
/// If the template lacks one of the functions.
pub fn of_job(
    figures: &Figures,
    usual: &UsualSize,
    aws: &Aws,
    template: &Template,
) -> anyhow::Result<Bill> {
    let (images, prices) = (figures.images as f64, &aws.price);
    let requests = |kinds: &[Kind]| -> f64 {
        let sum: u64 = kinds.iter().map(|kind| figures.requests(*kind)).sum();
        sum as f64
    };
    let of_service = |service| {
        let select = |kind: Kind| kind.service() == service;
        figures.of_functions(select, |count| count.requests) as f64
    };
    let sent_to_gemini =
        figures.of_functions(|kind| kind.service() == Service::Gemini, |count| count.sent);
    let invocations = figures.invocations() as f64;
    let log_bytes = invocations * aws.model.log_bytes_per_invocation as f64;
    let gb_seconds = figures.all_gb_seconds(template)? + images * usual.gb_seconds;
    let stored = figures.stored_bytes as f64 + images * usual.stored;
    Ok(Bill(vec![
        Bill::item("Lambda, duration", &prices.lambda_gb_seconds, gb_seconds),
        Bill::item("Lambda, requests", &prices.lambda_requests, invocations),
        Bill::item(
            "S3, writes and lists",
            &prices.s3_writes,
            requests(&[Kind::Put, Kind::Multipart, Kind::List]),
        ),
        Bill::item(
            "S3, reads",
            &prices.s3_reads,
            requests(&[Kind::Get, Kind::GetState, Kind::Head]),
        ),
        Bill::item("S3, storage for a month", &prices.s3_storage, stored / GB),
        Bill::item("SQS", &prices.sqs_requests, of_service(Service::Sqs)),
        Bill::item(
            "Transfer to Gemini",
            &prices.transfer_out,
            sent_to_gemini as f64 / GB,
        ),
        Bill::item("Logs", &prices.logs, log_bytes / GB),
    ]))
}

/// Returns what a stack without jobs costs in a month of 30 days: its triggers poll, and its alarms
/// watch.
pub fn of_idle_month(aws: &Aws, template: &Template) -> Bill {
    let triggers = darkroom::chain::CHAIN.len() as u64;
    let receives = triggers * aws.model.idle_receives_per_minute * 60 * 24 * 30;
    Bill(vec![
        Bill::item(
            "SQS, empty receives",
            &aws.price.sqs_requests,
            receives as f64,
        ),
        Bill::item("Alarms", &aws.price.alarms, template.alarms.into()),
    ])
}

/// The model of items that name none, and what Gemini charges for its images in a batch.
#[derive(Clone, Debug)]
pub struct GeminiPrice {
    /// The full id of the model.
    pub model: String,
    /// The size of the images.
    pub size: String,
    /// Dollars for one image, as published. Input tokens and thinking are charged in addition, so
    /// AWS's share of the whole is lower than its share of this price.
    pub usd: f64,
}

impl GeminiPrice {
    /// Reads the price of the default model in its default size from the catalog.
    ///
    /// # Errors
    /// If the catalog has no such model at that time.
    pub fn of_default_model(at: Timestamp) -> anyhow::Result<Self> {
        let catalog = Catalog::built_in();
        let name = JobSettings::default().default_model;
        let day = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let model = catalog.resolve(&name, day, false)?.model;
        let size = model.size(None).context("the model has no default size")?;
        Ok(Self {
            model: model.id.clone(),
            size: size.name.clone(),
            usd: size.batch.as_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_stack_costs_a_few_dollars_a_month() {
        let aws = Aws::read().unwrap();
        let bill = of_idle_month(&aws, &Template::read().unwrap());
        assert!(bill.usd() > 0.0 && bill.usd() < 20.0, "{bill:?}");
    }

    #[test]
    fn the_price_is_that_of_the_catalog() {
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        let price = GeminiPrice::of_default_model(at).unwrap();
        let catalog = Catalog::built_in();
        let size = catalog.model(&price.model).unwrap().size(Some(&price.size));
        assert_eq!(size.unwrap().batch.as_f64(), price.usd);
    }
}
