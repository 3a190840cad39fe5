//! Lambda's guard against functions that trigger themselves.
//!
//! Each invocation has a trace header. What the function sends to SQS during it carries the header
//! on, as the message's `AWSTraceHeader`, and so into the next invocation:
//!
//! ```text
//! Root=1-6921c1f0-3f0c5a1be2d94c7788aa01f3;Lineage=plan:1|poll:16|submit:1
//! ```
//!
//! `Lineage` counts how often each function has run in this chain of messages. Lambda does not
//! invoke a function that has run 16 times in the chain
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>, read 2026-11). A
//! message that comes back by visibility keeps its header: waiting counts nothing.
//!
//! Where Lambda leaves it open or cannot be followed, this is what happens here:
//! - `Lineage` holds the functions' names; Lambda writes hashes, in a form that it does not
//!   document.
//! - Of an event with several messages, each is judged by its own chain. What the function then
//!   sends belongs to all of them: each count is the highest that one of them has.
//! - A refused message goes to the dead-letter queue at once; on AWS it is received in vain until
//!   it has been received too often.
//! - S3's notifications begin a new chain.

use std::collections::BTreeMap;

use aws_sim::queue::Delivery;
use darkroom::chain::Function;

/// How often a function may run in one chain.
const MOST_RUNS: u32 = 16;

/// How often each function ran in a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lineage(BTreeMap<String, u32>);

/// Whether the function has run too often in the chain that this message ends.
pub(super) fn is_loop(function: Function, delivery: &Delivery) -> bool {
    Lineage::of(delivery)
        .0
        .get(name(function))
        .is_some_and(|runs| *runs >= MOST_RUNS)
}

/// The trace header of the function's invocation with these messages.
pub(super) fn header(function: Function, deliveries: &[Delivery]) -> String {
    let mut lineage = Lineage::default();
    for (name, runs) in deliveries
        .iter()
        .flat_map(|delivery| Lineage::of(delivery).0)
    {
        let most = lineage.0.entry(name).or_default();
        *most = runs.max(*most);
    }
    *lineage.0.entry(name(function).to_owned()).or_default() += 1;
    let runs: Vec<String> = lineage
        .0
        .iter()
        .map(|(name, runs)| format!("{name}:{runs}"))
        .collect();
    let root = deliveries.first().map(root).unwrap_or_default();
    format!("Root={root};Lineage={}", runs.join("|"))
}

impl Lineage {
    /// That of a message's chain. What can't be read counts nothing.
    fn of(delivery: &Delivery) -> Self {
        let counts = part(delivery, "Lineage").unwrap_or_default().split('|');
        Self(
            counts
                .filter_map(|count| count.split_once(':'))
                .filter_map(read)
                .collect(),
        )
    }
}

fn read((name, runs): (&str, &str)) -> Option<(String, u32)> {
    Some((name.to_owned(), runs.parse().ok()?))
}

/// The trace that the message belongs to, or a new one: `1-<seconds>-<24 digits>`, all in
/// hexadecimal.
fn root(delivery: &Delivery) -> String {
    part(delivery, "Root").map_or_else(
        || {
            let digits: String = delivery
                .message_id
                .chars()
                .filter(char::is_ascii_hexdigit)
                .take(24)
                .collect();
            format!("1-{:08x}-{digits}", delivery.sent_at.as_second())
        },
        str::to_owned,
    )
}

fn part<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    let parts = delivery.trace_header.as_deref()?.split(';');
    parts
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn name(function: Function) -> &'static str {
    match function {
        Function::Plan => "plan",
        Function::Submit => "submit",
        Function::Poll => "poll",
        Function::Collect => "collect",
        Function::Report => "report",
        Function::Control => "control",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn delivery(trace_header: Option<&str>) -> Delivery {
        Delivery {
            message_id: "0123abcd-0123-abcd-0123-abcdef456789".to_owned(),
            receipt_handle: String::new(),
            body: String::new(),
            receive_count: 1,
            sent_at: Timestamp::from_second(0x6921_c1f0).unwrap(),
            first_received_at: Timestamp::UNIX_EPOCH,
            attributes: BTreeMap::new(),
            trace_header: trace_header.map(str::to_owned),
            dead_letter_source: None,
        }
    }

    #[test]
    fn first_message_begins_a_chain() {
        let header = header(Function::Plan, &[delivery(None)]);
        assert_eq!(
            header,
            "Root=1-6921c1f0-0123abcd0123abcd0123abcd;Lineage=plan:1"
        );
    }

    #[test]
    fn chain_goes_on_under_its_root_with_one_run_more() {
        let sent = delivery(Some("Root=1-a-b;Parent=c;Sampled=1;Lineage=plan:1|poll:3"));
        assert_eq!(
            header(Function::Poll, std::slice::from_ref(&sent)),
            "Root=1-a-b;Lineage=plan:1|poll:4"
        );
        assert_eq!(
            header(Function::Submit, &[sent]),
            "Root=1-a-b;Lineage=plan:1|poll:3|submit:1"
        );
    }

    #[test]
    fn messages_handled_together_share_the_highest_counts() {
        let chains = [
            "Root=1-a-b;Lineage=poll:3|submit:1",
            "Root=1-c-d;Lineage=poll:2|submit:5",
        ];
        let header = header(Function::Poll, &chains.map(|chain| delivery(Some(chain))));
        assert_eq!(header, "Root=1-a-b;Lineage=poll:4|submit:5");
    }

    #[test]
    fn seventeenth_run_is_a_loop_and_only_of_the_function_that_ran() {
        let after = |runs: u32| delivery(Some(&format!("Root=1-a-b;Lineage=poll:{runs}")));
        assert!(!is_loop(Function::Poll, &after(15)));
        assert!(is_loop(Function::Poll, &after(16)));
        assert!(!is_loop(Function::Submit, &after(16)));
    }

    #[test]
    fn foreign_header_counts_nothing() {
        for foreign in [
            "",
            "Root=1-a-b",
            "Root=1-a-b;Lineage=a87bd80c",
            "Root=1-a-b;Lineage=poll:many",
            "=;:|",
        ] {
            assert_eq!(
                Lineage::of(&delivery(Some(foreign))),
                Lineage::default(),
                "{foreign}"
            );
            assert!(!is_loop(Function::Poll, &delivery(Some(foreign))));
        }
    }
}
