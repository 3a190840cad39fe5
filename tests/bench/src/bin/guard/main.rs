//! The work whose instructions and allocations `tests/bench/guard` counts, with valgrind.
//!
//! `guard list` prints the names of all works. `guard <name>` prepares one and does it once, in
//! [`measured`], the only function in which valgrind counts. The program fails if a work has
//! another result than it must have, so that nothing becomes cheap by being left out.

mod control;
mod manifest;
mod report;
mod scanner;

use std::{env, hint::black_box, io::Write};

use anyhow::Context;

/// A work that is prepared. It returns the number of things that it has read or written.
type Work = Box<dyn FnMut() -> anyhow::Result<usize>>;

/// A work that is counted.
struct Case {
    /// The name, `<part>/<input>`.
    name: &'static str,
    /// Makes its input.
    prepare: fn() -> anyhow::Result<Work>,
    /// The number that the work must return.
    expected: usize,
}

impl Case {
    const fn new(
        name: &'static str,
        expected: usize,
        prepare: fn() -> anyhow::Result<Work>,
    ) -> Self {
        Self {
            name,
            prepare,
            expected,
        }
    }
}

/// All works, in the order of the table. A null control has the name `control/<work>/<quantity>`.
/// It is the work with an additional step that takes more of the quantity, which the guard must
/// notice.
const CASES: [Case; 15] = [
    Case::new("scanner/png", scanner::PNG_IMAGES, scanner::png),
    Case::new("scanner/jpeg", scanner::JPEG_IMAGES, scanner::jpeg),
    Case::new("scanner/escaped", 1, scanner::escaped),
    Case::new("scanner/refusals", scanner::LINES, scanner::refusals),
    Case::new("scanner/samples", scanner::SAMPLE_LINES, scanner::samples),
    Case::new("manifest/table", manifest::ITEMS, manifest::table),
    Case::new("manifest/lines", manifest::ITEMS, manifest::lines),
    Case::new("manifest/envelope", manifest::ITEMS, manifest::envelope),
    Case::new("manifest/matrix", manifest::ITEMS, manifest::matrix),
    Case::new(
        "manifest/samples",
        manifest::SAMPLE_IMAGES,
        manifest::samples,
    ),
    Case::new("report/results", report::IMAGES, report::results),
    Case::new("report/table", report::IMAGES, report::table),
    Case::new("report/gallery", report::IMAGES, report::gallery),
    Case::new(
        "control/scanner/png/instructions",
        scanner::PNG_IMAGES,
        control::searched,
    ),
    Case::new(
        "control/scanner/png/allocations",
        scanner::PNG_IMAGES,
        control::copied,
    ),
];

fn main() -> anyhow::Result<()> {
    let name = env::args().nth(1).unwrap_or_default();
    if name == "list" {
        let mut out = std::io::stdout().lock();
        for case in &CASES {
            writeln!(out, "{}", case.name)?;
        }
        return Ok(());
    }
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.context("usage: guard list | guard NAME")?;
    let mut work = (case.prepare)()?;
    let mut found = Ok(0);
    measured(&mut || found = work());
    let found = found?;
    anyhow::ensure!(
        found == case.expected,
        "{name} found {found}, and must find {}",
        case.expected
    );
    Ok(())
}

/// Does the work that is counted. Valgrind starts to count when this function is entered, and stops
/// when it returns.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Without this the call would become a jump, and valgrind would not see the return.
    black_box(());
}
