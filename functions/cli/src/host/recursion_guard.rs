//! Lambda's recursive loop detection.
//!
//! Each invocation has a trace header. Messages that the function sends to SQS carry this header in
//! the attribute `AWSTraceHeader`, and so pass it to the next invocation:
//!
//! ```text
//! Root=1-6921c1f0-3f0c5a1be2d94c7788aa01f3;Lineage=plan:1|poll:16|submit:1
//! ```
//!
//! `Lineage` counts how many times each function has run in this chain of messages. Lambda does not
//! invoke a function that has run 16 times in the chain
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>, read 2026-11). A
//! message that returns after its visibility timeout keeps its header, so waiting does not count.
//!
//! This implementation differs from Lambda, or fills a gap in its documentation, as follows:
//! - `Lineage` contains the functions' names. Lambda writes hashes in an undocumented form.
//! - Each message of an event is checked by its own chain. What the function then sends belongs to
//!   all of these chains, so each count is the highest among them.
//! - A refused message is moved to the dead-letter queue immediately. On AWS, it is first received
//!   until it reaches the queue's maximum receive count.
//! - Notifications from S3 start a new chain.

use std::collections::BTreeMap;

use aws_sim::queue::Delivery;
use darkroom::chain::Function;

/// How many times a function may run in one chain.
const MAX_RUNS: u32 = 16;

/// How many times each function has run in a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lineage(BTreeMap<String, u32>);

/// Whether the function has already run [`MAX_RUNS`] times in the chain of this message.
pub(super) fn is_recursive(function: Function, delivery: &Delivery) -> bool {
    Lineage::of(delivery)
        .0
        .get(function.name())
        .is_some_and(|runs| *runs >= MAX_RUNS)
}

/// Returns the trace header for an invocation of the function with these messages.
pub(super) fn header(function: Function, deliveries: &[Delivery]) -> String {
    // Each count is the highest among the chains of the messages.
    let mut lineage = Lineage::default();
    for (name, runs) in deliveries
        .iter()
        .flat_map(|delivery| Lineage::of(delivery).0)
    {
        let highest = lineage.0.entry(name).or_default();
        *highest = runs.max(*highest);
    }

    // This invocation counts, too. Of several roots, the first one represents all chains.
    *lineage.0.entry(function.name().to_owned()).or_default() += 1;
    let runs: Vec<String> = lineage
        .0
        .iter()
        .map(|(name, runs)| format!("{name}:{runs}"))
        .collect();
    let root = deliveries.first().map(root).unwrap_or_default();
    format!("Root={root};Lineage={}", runs.join("|"))
}

impl Lineage {
    /// Returns the counts of a message's chain. Parts that can't be parsed count as zero.
    fn of(delivery: &Delivery) -> Self {
        let counts = part(delivery, "Lineage").unwrap_or_default().split('|');
        Self(
            counts
                .filter_map(|count| count.split_once(':'))
                .filter_map(parse)
                .collect(),
        )
    }
}

fn parse((name, runs): (&str, &str)) -> Option<(String, u32)> {
    Some((name.to_owned(), runs.parse().ok()?))
}

/// Returns the trace ID of the message's chain, or a new one in the form `1-<seconds>-<24 digits>`,
/// all in hexadecimal.
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

/// Returns a part of the message's trace header.
fn part<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    let parts = delivery.trace_header.as_deref()?.split(';');
    parts
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
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
    fn the_first_message_starts_a_chain() {
        let header = header(Function::Plan, &[delivery(None)]);
        assert_eq!(
            header,
            "Root=1-6921c1f0-0123abcd0123abcd0123abcd;Lineage=plan:1"
        );
    }

    #[test]
    fn an_invocation_keeps_the_root_and_adds_one_run() {
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
    fn messages_of_one_event_share_the_highest_counts() {
        let chains = [
            "Root=1-a-b;Lineage=poll:3|submit:1",
            "Root=1-c-d;Lineage=poll:2|submit:5",
        ];
        let header = header(Function::Poll, &chains.map(|chain| delivery(Some(chain))));
        assert_eq!(header, "Root=1-a-b;Lineage=poll:4|submit:5");
    }

    #[test]
    fn the_seventeenth_run_of_the_same_function_is_recursive() {
        let after = |runs: u32| delivery(Some(&format!("Root=1-a-b;Lineage=poll:{runs}")));
        assert!(!is_recursive(Function::Poll, &after(15)));
        assert!(is_recursive(Function::Poll, &after(16)));
        assert!(!is_recursive(Function::Submit, &after(16)));
    }

    #[test]
    fn a_foreign_header_counts_as_no_runs() {
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
            assert!(!is_recursive(Function::Poll, &delivery(Some(foreign))));
        }
    }
}
