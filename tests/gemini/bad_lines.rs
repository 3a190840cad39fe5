//! Valid request lines that the service rejects, over the wire.

use std::collections::BTreeSet;

use gemini_sim::{Scenario, Selector};
use serde_json::{Value, json};

use super::service::{Service, line, lines_of, plain_lines, steady};

const MODEL: &str = "gemini-3.1-flash-image";

fn bad(which: &[&str]) -> Scenario {
    Scenario {
        bad_lines: which.iter().map(|which| which.parse().unwrap()).collect(),
        ..steady()
    }
}

/// Returns the numbers of the lines that the rejection names.
async fn refused(service: &Service, lines: &[Value]) -> Vec<usize> {
    let (code, status, message) = service.try_batch(MODEL, &lines_of(lines)).await.error();
    assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
    let number = |line_error: &str| {
        let (number, rest) = line_error
            .strip_prefix("Error on line ")?
            .split_once(": invalid JSON, near column ")?;
        let (column, name) = rest.split_once(": no such field: '")?;
        let length = lines[number.parse::<usize>().ok()? - 1].to_string().len() + 1;
        assert!(
            (1..=length).contains(&column.parse().unwrap())
                && name.len() > 1
                && name.ends_with('\''),
            "{line_error}"
        );
        number.parse().ok()
    };
    message
        .lines()
        .map(|line_error| number(line_error).unwrap_or_else(|| panic!("{line_error}")))
        .collect()
}

#[tokio::test]
async fn bad_lines_are_all_named_and_the_rest_is_accepted() {
    let service = Service::new(bad(&["20%"]));
    let lines = plain_lines(40);
    let named = refused(&service, &lines).await;
    assert!((2..20).contains(&named.len()), "{named:?}");
    assert_eq!(service.gemini.batches_created(), 0);
    let good: Vec<Value> = lines
        .iter()
        .zip(1..)
        .filter(|(_, number)| !named.contains(number))
        .map(|(line, _)| line.clone())
        .collect();
    service.batch(MODEL, &good).await;
    assert_eq!(
        service.gemini.billed().unwrap(),
        0,
        "a rejected batch is free"
    );
}

#[tokio::test]
async fn a_key_is_bad_in_every_batch_and_after_a_restart() {
    let service = Service::new(bad(&["30%", "2"]));
    let lines = plain_lines(20);
    let keys = |named: Vec<usize>, lines: &[Value]| {
        named
            .into_iter()
            .map(|number| lines[number - 1]["key"].to_string())
            .collect::<BTreeSet<_>>()
    };
    let first = keys(refused(&service, &lines).await, &lines);
    assert!(first.contains("\"k1\""), "k1 is the second key: {first:?}");
    let service = service.reopened(bad(&["30%", "2"]));
    let reversed: Vec<Value> = lines.iter().rev().cloned().collect();
    assert_eq!(keys(refused(&service, &reversed).await, &reversed), first);
    let other = Service::new(Scenario {
        seed: 1,
        ..bad(&["30%"])
    });
    assert_ne!(
        keys(refused(&other, &lines).await, &lines),
        first,
        "another seed"
    );
}

#[tokio::test]
async fn bad_lines_and_invalid_ones_are_reported_in_order() {
    let service = Service::new(Scenario {
        bad_lines: vec![Selector::First(1), Selector::Nth(3)],
        ..steady()
    });
    let wrong = json!({"key": "w", "request": {"contents": [], "model": "models/x"}});
    let input = format!(
        "{}\n\n{wrong}\n{}\n{}\n",
        line("a", json!({})),
        line("b", json!({})),
        line("c", json!({}))
    );
    let (_, _, message) = service.try_batch(MODEL, &input).await.error();
    let starts: Vec<&str> = message
        .lines()
        .filter_map(|line_error| line_error.split(':').next())
        .collect();
    assert_eq!(
        starts,
        ["Error on line 1", "Error on line 3", "Error on line 5"]
    );
}

#[tokio::test]
async fn inline_requests_are_bad_by_the_key_in_their_metadata() {
    let service = Service::new(bad(&["2"]));
    let request =
        |key: &str| json!({"request": line(key, json!({}))["request"], "metadata": {"key": key}});
    let body = |keys: &[&str]| {
        let requests: Vec<Value> = keys.iter().map(|key| request(key)).collect();
        json!({"batch": {"displayName": "inl", "inputConfig": {"requests": {"requests": requests}}}})
    };
    let path = format!("/v1beta/models/{MODEL}:batchGenerateContent");
    let (code, _, message) = service.post(&path, &body(&["x", "y"])).await.error();
    assert!(
        code == 400 && message.starts_with("Error on line 2: "),
        "{message}"
    );
    assert!(
        service
            .post(&path, &body(&["y", "x"]))
            .await
            .error()
            .2
            .starts_with("Error on line 1: ")
    );
    assert_eq!(service.post(&path, &body(&["x"])).await.status, 200);
}
