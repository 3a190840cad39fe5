//! `scale`: what a job costs as it grows, from simulations on one machine, and how many images a
//! stack can make in a day.
//!
//! It exits with 0 if all checks pass, with 1 if one fails, and with 2 if it could not run.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use darkroom::chain::{CHAIN, SWEEP};
use jiff::SignedDuration;
use tests::scale::{
    alone::{self, Alone},
    bill::{self, GeminiPrice, UsualSize},
    figures::Figures,
    fit::Line,
    meter::{Count, Kind, Service},
    plot::{Panel, svg},
    prices::Aws,
    simulation::{Simulation, start},
    tables::{Table, short, whole},
    template::Template,
    throughput::{self, Capacity, Load, TIERS},
};

/// The highest share of AWS in what the images cost at Gemini, in percent.
const MAX_SHARE_PERCENT: f64 = 1.0;

/// The highest exponent of the requests by the images. A cost that grew with the square of the
/// images would have the exponent 2.
const MAX_EXPONENT: f64 = 1.02;

/// The images of the two jobs whose batches take one hour and 23 hours.
const WAITING_IMAGES: u64 = 3_000;

/// The images of the jobs that show what the size of an image adds.
const USUAL_IMAGES: u64 = 200;

/// The load of the simulated day, with its tier: one that is limited by tokens.
const DAY_TIER: usize = 0;
const DAY_LOAD: Load = Load {
    size: "1K",
    references: 5,
    batch: SignedDuration::from_hours(2),
};

/// The simulated images of a day may differ from the calculated ones by this share. With one batch
/// at a time, the last one has not ended when the day ends, and each has to be admitted first.
const DAY_TOLERANCE: f64 = 0.15;

/// Simulates jobs of several sizes through the whole chain, and prints what they cost and how many
/// images a stack can make in a day.
#[derive(Debug, Parser)]
struct Arguments {
    /// The images of each job.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 3_000, 10_000],
        value_parser = clap::value_parser!(u64).range(1..))]
    images: Vec<u64>,
    /// Also simulate a job of 100,000 images, and plan and close one of a million.
    #[arg(long)]
    large: bool,
    /// As --large, and also simulate a job of a million images, which takes about an hour.
    #[arg(long)]
    million: bool,
    /// Write the plot of the cost to this file.
    #[arg(
        long,
        value_name = "FILE.svg",
        default_value = "target/bench/scale.svg"
    )]
    plot: PathBuf,
    /// Print these parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Run this function once, with one job, in this process, and print what it used as JSON.
    #[arg(long, value_enum, hide = true)]
    alone: Option<Alone>,
    /// Only show that it works, with small jobs.
    #[arg(long, conflicts_with_all = ["images", "large", "million"])]
    quick: bool,
}

/// A part of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What jobs cost.
    Cost,
    /// What planning and closing large jobs takes.
    Alone,
    /// How many images a stack can make in a day.
    Throughput,
}

impl Arguments {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Returns the images of each job, in ascending order.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes = self.images.clone();
        if self.quick {
            sizes = vec![1_000, 3_000];
        }
        if self.large || self.million {
            sizes.push(100_000);
        }
        if self.million {
            sizes.push(1_000_000);
        }
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Returns the images of the jobs that are planned and closed alone, in ascending order.
    fn sizes_alone(&self) -> Vec<u64> {
        let mut sizes = if self.quick {
            vec![1_000, 3_000]
        } else {
            vec![10_000, 100_000]
        };
        if self.large || self.million {
            sizes.push(1_000_000);
        }
        sizes
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            for failure in failures {
                let _ = writeln!(io::stderr(), "scale: {failure}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "scale: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the figures, and returns what they should not be.
fn run(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    if let Some(function) = arguments.alone {
        alone::print_usage(function, arguments.images[0])?;
        return Ok(Vec::new());
    }
    let (aws, template) = (Aws::read()?, Template::read()?);
    let mut failures = Vec::new();
    if arguments.has(Part::Cost) || arguments.has(Part::Throughput) {
        let (usual, small) = UsualSize::measure(USUAL_IMAGES, &aws, &template)?;
        progress("images of the usual size")?;
        if arguments.has(Part::Cost) {
            failures.extend(print_cost(arguments, &usual, &aws, &template)?);
        }
        if arguments.has(Part::Throughput) {
            failures.extend(print_throughput(&small, &aws, arguments.quick)?);
        }
    }
    if arguments.has(Part::Alone) {
        failures.extend(print_alone(arguments, &template)?);
    }
    Ok(failures)
}

/// Prints what planning and closing large jobs takes, and returns what it should not take.
fn print_alone(arguments: &Arguments, template: &Template) -> anyhow::Result<Vec<String>> {
    let sizes = arguments.sizes_alone();
    let (table, failures) = alone::compare(&sizes, template, |function, images| {
        progress(&format!("{function}: {} images", whole(images as f64)))
    })?;
    print(
        "Planning and closing alone",
        &table,
        "A table is planned; and a job is closed whose shards have all ended, and a tenth of whose \
         images have failed. Each runs in a separate process. CPU time and memory include the \
         stand-ins. The duration on Lambda is modeled as in the other tables.",
    )?;
    Ok(failures)
}

/// Simulates the jobs, prints what they cost, and returns what they should not cost.
fn print_cost(
    arguments: &Arguments,
    usual: &UsualSize,
    aws: &Aws,
    template: &Template,
) -> anyhow::Result<Vec<String>> {
    let mut jobs = Vec::new();
    for images in arguments.sizes() {
        let simulation = Simulation {
            images,
            ..Simulation::default()
        };
        let figures = simulation.run()?;
        let seconds = figures.wall.as_secs_f64();
        progress(&format!(
            "{} images in {seconds:.1} s",
            whole(images as f64)
        ))?;
        jobs.push(figures);
    }

    print_requests(&jobs)?;
    print_functions(&jobs, template)?;
    print_bytes(&jobs, usual)?;
    let costs = Costs::of(&jobs, usual, aws, template)?;
    let mut failures = print_fits(&jobs, &costs)?;
    let waiting = if arguments.quick {
        1_000
    } else {
        WAITING_IMAGES
    };
    print_waiting(waiting, usual, aws, template)?;
    failures.extend(print_bill(&jobs, usual, aws, template)?);

    if let Some(folder) = arguments.plot.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&arguments.plot, costs.plot(&jobs))?;
    progress(&format!("plot: {}", arguments.plot.display()))?;
    Ok(failures)
}

/// Prints a line about the progress.
fn progress(line: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{line}")
}

/// Prints a heading, a table and a note.
fn print(heading: &str, table: &Table, note: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "## {heading}\n\n{}", table.markdown())?;
    if note.is_empty() {
        return Ok(());
    }
    writeln!(out, "{note}\n")
}

/// Returns the names of columns: one for each job.
fn columns(first: &str, jobs: &[Figures]) -> Vec<String> {
    let images = jobs
        .iter()
        .map(|job| format!("{} images", whole(job.images as f64)));
    std::iter::once(first.to_owned()).chain(images).collect()
}

/// Returns a row with a number for each job.
fn row(name: &str, jobs: &[Figures], of: impl Fn(&Figures) -> String) -> Vec<String> {
    std::iter::once(name.to_owned())
        .chain(jobs.iter().map(of))
        .collect()
}

fn print_requests(jobs: &[Figures]) -> io::Result<()> {
    let mut table = Table::new(columns("requests", jobs));
    for kind in Kind::ALL {
        if jobs.iter().any(|job| job.requests(kind) > 0) {
            table.row(row(kind.name(), jobs, |job| {
                whole(job.requests(kind) as f64)
            }));
        }
    }
    table.row(row("all", jobs, |job| whole(job.all_requests() as f64)));
    table.row(row("all, per image", jobs, |job| {
        short(job.all_requests() as f64 / job.images as f64)
    }));
    table.row(row("shards", jobs, |job| whole(job.shards as f64)));
    table.row(row("invocations", jobs, |job| {
        whole(job.invocations() as f64)
    }));
    table.row(row("states read per message of `report`", jobs, |job| {
        short(job.state_reads_per_report())
    }));
    table.row(row("hours simulated", jobs, |job| {
        short(job.simulated.as_secs_f64() / 3_600.0)
    }));
    table.row(row("seconds here", jobs, |job| {
        short(job.wall.as_secs_f64())
    }));
    print(
        "Requests",
        &table,
        "Requests of the functions and of their triggers. Batches take an hour.",
    )
}

fn print_functions(jobs: &[Figures], template: &Template) -> anyhow::Result<()> {
    let mut table = Table::new(columns("GB-seconds", jobs));
    let names = CHAIN.map(|source| source.function.name());
    for name in names.iter().chain(&[SWEEP]) {
        if jobs.iter().all(|job| !job.usage.contains_key(name)) {
            continue;
        }
        let memory = template.function(name)?.memory_mb;
        let values: Vec<f64> = jobs
            .iter()
            .map(|job| job.gb_seconds(template, name))
            .collect::<anyhow::Result<_>>()?;
        let cells = values.iter().map(|value| short(*value));
        table.row(std::iter::once(format!("{name}, {memory} MB")).chain(cells));
    }
    let all: Vec<f64> = jobs
        .iter()
        .map(|job| job.all_gb_seconds(template))
        .collect::<anyhow::Result<_>>()?;
    table.row(std::iter::once("all".to_owned()).chain(all.iter().map(|value| short(*value))));
    table.row(row("longest invocation, seconds", jobs, |job| {
        let longest = job.usage.values().map(|usage| usage.longest).max();
        short(longest.unwrap_or_default().as_secs_f64())
    }));
    table.row(row("CPU seconds of this machine", jobs, |job| {
        short(
            job.usage
                .values()
                .map(|usage| usage.computing.as_secs_f64())
                .sum(),
        )
    }));
    print(
        "Computing time, with tiny images",
        &table,
        "Modeled: waiting for answers and transferring bytes by the model in aws.toml, plus the \
         CPU time of this process, scaled to the share of a core of the function. The CPU time \
         includes the stand-ins, so it is an upper bound.",
    )?;
    Ok(())
}

/// Selects what to sum of the counts of requests.
type Quantity = fn(Count) -> u64;

fn print_bytes(jobs: &[Figures], usual: &UsualSize) -> io::Result<()> {
    let mut table = Table::new(columns("MB", jobs));
    let mb = |bytes: f64| short(bytes / 1e6);
    let of = |job: &Figures, service, quantity: Quantity| {
        job.of_functions(|kind| kind.service() == service, quantity) as f64
    };
    let (sent, received): (Quantity, Quantity) = (|count| count.sent, |count| count.received);
    for (name, service, quantity, more) in [
        ("to S3", Service::S3, sent, usual.sent_to_s3),
        ("from S3", Service::S3, received, usual.read_from_s3),
        ("to Gemini", Service::Gemini, sent, 0.0),
        (
            "from Gemini",
            Service::Gemini,
            received,
            usual.received_from_gemini,
        ),
    ] {
        table.row(row(&format!("{name}, tiny images"), jobs, |job| {
            mb(of(job, service, quantity))
        }));
        if more > 0.0 {
            table.row(row(&format!("{name}, usual images"), jobs, |job| {
                mb(of(job, service, quantity) + more * job.images as f64)
            }));
        }
    }
    table.row(row("stored, tiny images", jobs, |job| {
        mb(job.stored_bytes as f64)
    }));
    table.row(row("stored, usual images", jobs, |job| {
        mb(job.stored_bytes as f64 + usual.stored * job.images as f64)
    }));
    print(
        "Bytes",
        &table,
        &format!(
            "Usual images add {} MB each from Gemini as base64, {} MB each to S3, and {} \
             GB-seconds, measured with {USUAL_IMAGES} images.",
            mb(usual.received_from_gemini),
            mb(usual.sent_to_s3),
            short(usual.gb_seconds),
        ),
    )
}

/// The quantities that must be linear in the images, for each job.
struct Costs {
    requests: Vec<(f64, f64)>,
    gb_seconds: Vec<(f64, f64)>,
    usd: Vec<(f64, f64)>,
}

impl Costs {
    fn of(
        jobs: &[Figures],
        usual: &UsualSize,
        aws: &Aws,
        template: &Template,
    ) -> anyhow::Result<Self> {
        let points = |of: &dyn Fn(&Figures) -> anyhow::Result<f64>| {
            let point = |job: &Figures| anyhow::Ok((job.images as f64, of(job)?));
            jobs.iter().map(point).collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(Self {
            requests: points(&|job| Ok(job.all_requests() as f64))?,
            gb_seconds: points(&|job| {
                Ok(job.all_gb_seconds(template)? + job.images as f64 * usual.gb_seconds)
            })?,
            usd: points(&|job| Ok(bill::of_job(job, usual, aws, template)?.usd()))?,
        })
    }

    /// Returns the plot of requests and dollars per image.
    fn plot(&self, jobs: &[Figures]) -> String {
        let largest = jobs.iter().map(|job| job.images).max().unwrap_or(0);
        let panel = |title: &str, points: &[(f64, f64)], fit: Line, rate: String| Panel {
            title: title.to_owned(),
            subtitle: format!(
                "{rate}; total ∝ images^{:.3}, up to {}",
                Line::exponent(points),
                whole(largest as f64)
            ),
            points: points.to_vec(),
            fit,
        };
        let requests = Line::through(&self.requests);
        // Dollars per thousand images are easier to read than dollars per image.
        let dollars: Vec<_> = self.usd.iter().map(|(x, y)| (*x, y * 1e3)).collect();
        let usd = Line::through(&dollars);
        svg(&[
            panel(
                "Requests per image",
                &self.requests,
                requests,
                format!("slope {}", short(requests.slope)),
            ),
            panel(
                "AWS dollars per 1,000 images",
                &dollars,
                usd,
                format!("slope ${}", short(usd.slope)),
            ),
        ])
    }
}

/// Prints the lines through the jobs, and returns what is not linear.
fn print_fits(jobs: &[Figures], costs: &Costs) -> io::Result<Vec<String>> {
    let mut table = Table::new(["quantity", "per image", "per job", "exponent"]);
    let mut failures = Vec::new();
    // GB-seconds include CPU time, which depends on the load of this machine. They are only shown.
    for (name, points, is_checked) in [
        ("requests", &costs.requests, true),
        ("GB-seconds, usual images", &costs.gb_seconds, false),
        ("AWS dollars, usual images", &costs.usd, true),
    ] {
        let (line, exponent) = (Line::through(points), Line::exponent(points));
        table.row([
            name.to_owned(),
            short(line.slope),
            short(line.intercept),
            format!("{exponent:.3}"),
        ]);
        if is_checked && jobs.len() > 1 && exponent > MAX_EXPONENT {
            failures.push(format!(
                "{name} grow with the power {exponent:.3} of the images, at most {MAX_EXPONENT} \
                 is expected"
            ));
        }
    }
    print(
        "Growth with the images",
        &table,
        "The line through all jobs, and the exponent of the power law: 1 is linear.",
    )?;
    Ok(failures)
}

/// Prints what 22 more hours of waiting add.
fn print_waiting(
    images: u64,
    usual: &UsualSize,
    aws: &Aws,
    template: &Template,
) -> anyhow::Result<()> {
    let job = |hours| {
        let simulation = Simulation {
            images,
            batch: SignedDuration::from_hours(hours),
            ..Simulation::default()
        };
        simulation.run()
    };
    let (short_wait, long_wait) = (job(1)?, job(23)?);
    progress("1 and 23 hours of waiting")?;
    let dollars = |job: &Figures| anyhow::Ok(bill::of_job(job, usual, aws, template)?.usd());
    let shards = short_wait.shards as f64;
    let mut table = Table::new(["requests", "1 hour", "23 hours", "added", "added per shard"]);
    let mut add = |name: &str, before: f64, after: f64| {
        table.row([
            name.to_owned(),
            whole(before),
            whole(after),
            whole(after - before),
            short((after - before) / shards),
        ]);
    };
    for kind in Kind::ALL {
        let (before, after) = (short_wait.requests(kind), long_wait.requests(kind));
        if before != after {
            add(kind.name(), before as f64, after as f64);
        }
    }
    let (before, after) = (
        short_wait.all_requests() as f64,
        long_wait.all_requests() as f64,
    );
    add("all", before, after);
    add(
        "invocations",
        short_wait.invocations() as f64,
        long_wait.invocations() as f64,
    );
    print(
        &format!("Waiting, {} images", whole(images as f64)),
        &table,
        &format!(
            "22 more hours add {} requests per image, {:.1} % of all, and {:.2} % to AWS's bill.",
            short((after - before) / images as f64),
            (after - before) / before * 100.0,
            (dollars(&long_wait)? / dollars(&short_wait)? - 1.0) * 100.0
        ),
    )?;
    Ok(())
}

/// Prints the bill of 1,000 images by the largest job, and returns what is too expensive.
fn print_bill(
    jobs: &[Figures],
    usual: &UsualSize,
    aws: &Aws,
    template: &Template,
) -> anyhow::Result<Vec<String>> {
    let mut failures = Vec::new();
    let gemini = GeminiPrice::of_default_model(start())?;
    for job in jobs {
        let usd = bill::of_job(job, usual, aws, template)?.usd();
        let share = usd / (gemini.usd * job.images as f64) * 100.0;
        if share >= MAX_SHARE_PERCENT {
            failures.push(format!(
                "AWS costs {share:.2} % of Gemini's price for {} images, expected less than \
                 {MAX_SHARE_PERCENT} %",
                job.images
            ));
        }
    }
    let Some(largest) = jobs.last() else {
        return Ok(failures);
    };

    let thousands = largest.images as f64 / 1e3;
    let items = bill::of_job(largest, usual, aws, template)?;
    let mut table = Table::new(["item", "quantity", "dollars", "unit"]);
    for item in &items.0 {
        table.row([
            item.name.to_owned(),
            short(item.quantity / thousands),
            format!("{:.5}", item.usd / thousands),
            item.unit.clone(),
        ]);
    }
    let (usd, price) = (items.usd() / thousands, gemini.usd * 1e3);
    table.row(["AWS".to_owned(), String::new(), format!("{usd:.5}")]);
    table.row([
        format!("Gemini, {} {}", gemini.model, gemini.size),
        "1,000".to_owned(),
        format!("{price:.2}"),
        "image in a batch, published price".to_owned(),
    ]);
    let share = usd / price * 100.0;
    print(
        &format!(
            "The bill of 1,000 images, in a job of {}",
            whole(largest.images as f64)
        ),
        &table,
        &format!(
            "AWS costs {share:.2} % of Gemini's price. Prices of {} as of {}, without free tiers.",
            aws.region, aws.price.lambda_gb_seconds.as_of
        ),
    )?;

    let idle = bill::of_idle_month(aws, template);
    let mut table = Table::new(["item", "quantity", "dollars", "unit"]);
    for item in &idle.0 {
        table.row([
            item.name.to_owned(),
            whole(item.quantity),
            format!("{:.2}", item.usd),
            item.unit.clone(),
        ]);
    }
    table.row([
        "all".to_owned(),
        String::new(),
        format!("{:.2}", idle.usd()),
    ]);
    print("A month of a stack without jobs", &table, "")?;
    Ok(failures)
}

/// Prints how many images a stack can make in a day, and returns whether a simulated day differs.
fn print_throughput(small: &Figures, aws: &Aws, quick: bool) -> anyhow::Result<Vec<String>> {
    let model = throughput::default_model()?;
    let mut table = Table::new([
        "tier, size, references",
        "tokens per image",
        "images per batch",
        "live batches",
        "images in flight",
        "a day at 2 h",
        "at 6 h",
        "at 24 h",
        "limited by",
    ]);
    for (number, tier) in TIERS {
        for (size, references) in [("1K", 0), ("1K", 1), ("1K", 5), ("1K", 14), ("4K", 0)] {
            let of = |hours| {
                let batch = SignedDuration::from_hours(hours);
                Capacity::of(
                    &model,
                    tier,
                    Load {
                        size,
                        references,
                        batch,
                    },
                )
            };
            let capacity = of(6)?;
            table.row([
                format!("{number}, {size}, {references}"),
                whole(capacity.tokens_per_image as f64),
                whole(capacity.images_per_batch.into()),
                whole(capacity.batches.into()),
                whole(capacity.images_in_flight() as f64),
                whole(of(2)?.images_a_day),
                whole(capacity.images_a_day),
                whole(of(24)?.images_a_day),
                capacity.limit().to_owned(),
            ]);
        }
    }
    print(
        &format!("Gemini's limits: images of {} a day", model.id),
        &table,
        &format!(
            "By the time that a batch takes. Prompts of about 100 characters; {}.",
            throughput::assumptions()
        ),
    )?;
    print_stack_limits(small, aws)?;
    print_day(&model, quick)
}

/// Prints the limits of the stack and of AWS, from a small job with images of the usual size.
fn print_stack_limits(job: &Figures, aws: &Aws) -> io::Result<()> {
    let images = job.images as f64;
    let mut table = Table::new(["limit", "value", "per image", "images a day"]);
    const DAY: f64 = 86_400.0;
    for source in CHAIN {
        let name = source.function.name();
        let Some(usage) = job.usage.get(name) else {
            continue;
        };
        let seconds = usage.billed.as_secs_f64() / images;
        table.row([
            format!("concurrent `{name}`"),
            source.concurrency.to_string(),
            format!("{} s", short(seconds)),
            whole(source.concurrency as f64 * DAY / seconds),
        ]);
    }
    let writes = [Kind::Put, Kind::Multipart, Kind::Delete].map(|kind| job.requests(kind));
    let reads = [Kind::Get, Kind::GetState, Kind::Head].map(|kind| job.requests(kind));
    for (name, limit, requests) in [
        (
            "S3 writes in a second",
            &aws.limit.s3_writes_per_second,
            writes.iter().sum::<u64>(),
        ),
        (
            "S3 reads in a second",
            &aws.limit.s3_reads_per_second,
            reads.iter().sum(),
        ),
    ] {
        let each = requests as f64 / images;
        table.row([
            name.to_owned(),
            whole(limit.value as f64),
            short(each),
            whole(limit.value as f64 * DAY / each),
        ]);
    }
    table.row([
        "messages in flight of a queue".to_owned(),
        whole(aws.limit.sqs_in_flight.value as f64),
        "one per shard".to_owned(),
    ]);
    table.row([
        "concurrent invocations of the account".to_owned(),
        whole(aws.limit.lambda_concurrency.value as f64),
        format!(
            "the stack has at most {}",
            throughput::concurrent_invocations()
        ),
    ]);
    print(
        "The limits of the stack and of AWS",
        &table,
        &format!("Modeled durations of a job with {USUAL_IMAGES} images of the usual size."),
    )?;
    Ok(())
}

/// Simulates one day with the ledger's limits, and compares it with the calculation.
fn print_day(model: &darkroom::models::Model, quick: bool) -> anyhow::Result<Vec<String>> {
    let (number, tier) = TIERS[DAY_TIER];
    let mut load = DAY_LOAD;
    // Longer batches make fewer images.
    if quick {
        load.batch *= 2;
    }
    let capacity = Capacity::of(model, tier, load)?;
    let day = throughput::day(&capacity, tier, load).run()?;
    let (calculated, simulated) = (capacity.images_a_day, day.images as f64);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "One simulated day of tier {number}, {} references, batches of {} hours: {} images, {} \
         calculated ({:+.1} %). The batch that has not ended when the day ends does not count, and \
         a shard asks for admission at most every minute and at least every 15 minutes.",
        load.references,
        load.batch.as_hours(),
        whole(simulated),
        whole(calculated),
        (simulated / calculated - 1.0) * 100.0
    )?;
    Ok(if (simulated / calculated - 1.0).abs() > DAY_TOLERANCE {
        vec![format!(
            "the simulated day has {simulated} images, expected {calculated:.0} within {} %",
            DAY_TOLERANCE * 100.0
        )]
    } else {
        Vec::new()
    })
}
