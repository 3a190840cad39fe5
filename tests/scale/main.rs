//! The requests of a job are linear in its images, and hours of waiting add few. Counts are
//! asserted, and times are not.

use darkroom::job::ShardLimits;
use jiff::SignedDuration;
use tests::scale::{
    figures::Figures,
    fit::Line,
    meter::{Kind, Service},
    simulation::{CpuTime, Simulation},
};

/// A job whose shards have 10 images, so that a small job has as many shards as a large one.
fn sharded(shards: u64) -> Simulation {
    Simulation {
        images: shards * 10,
        shard: ShardLimits {
            requests: 10,
            ..ShardLimits::default()
        },
        ..scheduled()
    }
}

/// A job whose schedule does not depend on the speed of this machine.
fn scheduled() -> Simulation {
    Simulation {
        cpu: CpuTime::Ignored,
        ..Simulation::default()
    }
}

fn requests(job: &Figures, service: Service) -> u64 {
    job.of_functions(|kind| kind.service() == service, |count| count.requests)
}

#[test]
fn requests_are_linear_in_the_images() {
    let jobs = [4, 8, 16, 32].map(|shards| sharded(shards).run().unwrap());
    let points = jobs
        .each_ref()
        .map(|job| (job.images as f64, job.all_requests() as f64));
    let exponent = Line::exponent(&points);
    assert!(exponent < 1.05, "{exponent}: {points:?}");

    // If `report` read all states for each message, a job with 32 shards would have about 32 here.
    let reads = jobs.each_ref().map(Figures::state_reads_per_report);
    assert!(reads.iter().all(|reads| *reads < 4.0), "{reads:?}");
}

#[test]
fn a_thousand_images_take_a_few_requests_each() {
    let job = scheduled().run().unwrap();
    let per_image = |service| requests(&job, service) as f64 / job.images as f64;
    // The image and its thumbnail are written, and the image is read.
    assert!(
        (3.0..3.6).contains(&per_image(Service::S3)),
        "{:?}",
        job.counts
    );
    assert!(per_image(Service::Sqs) < 0.3, "{:?}", job.counts);
    assert!(per_image(Service::Gemini) < 0.1, "{:?}", job.counts);
    assert_eq!(job.requests(Kind::CreateBatch), 1);
}

#[test]
fn plan_and_report_can_be_measured_alone() {
    let job = sharded(3);
    let (plan, report) = (job.plan().unwrap(), job.close().unwrap());
    assert_eq!((plan.invocations, plan.messages), (1, 1));
    assert_eq!(report.messages, 3, "one for each shard: {report:?}");
}

#[test]
fn hours_of_waiting_add_a_few_requests_for_each_shard() {
    let job = |hours| Simulation {
        batch: SignedDuration::from_hours(hours),
        ..sharded(8)
    };
    let (short, long) = (job(1).run().unwrap(), job(23).run().unwrap());
    assert_eq!(short.shards, long.shards);
    let added = (long.all_requests() - short.all_requests()) as f64 / short.shards as f64;
    // One poll every quarter of an hour, with what `report` does after it, and one sweep every hour.
    let polls = long.requests(Kind::GetBatch) - short.requests(Kind::GetBatch);
    let polls = polls as f64 / short.shards as f64;
    assert!((80.0..100.0).contains(&polls), "{polls} polls per shard");
    assert!(added < 800.0, "{added} requests per shard");
}
