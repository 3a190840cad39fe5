//! Outputs that are late, lost, inline or one array, and the service's own record of them.

use gemini_sim::{BatchOutcome, BatchOutcomeRule, DoneFlag, Scenario, Selector};
use serde_json::{Value, json};

use super::service::{
    Service, assert_schema, download_path, image, jpeg_pixels, name, plain_lines, request, steady,
};

const MODEL: &str = "gemini-3.1-flash-image";

fn late(rule: &str, done: DoneFlag) -> Scenario {
    Scenario {
        late_outputs: vec![rule.parse().unwrap()],
        done,
        ..steady()
    }
}

/// Returns the state, whether the operation is done, and whether there is an output. Asserts that
/// the output is in both places of the operation or in neither.
async fn observe(service: &Service, batch: &Value) -> (String, bool, bool) {
    let operation = service.get(batch).await;
    assert_schema("Operation", &operation);
    let metadata = &operation["metadata"];
    assert_eq!(
        metadata.get("output").is_some(),
        operation.get("response").is_some()
    );
    assert_eq!(operation.get("error"), None);
    let state = metadata["state"]
        .as_str()
        .unwrap()
        .trim_start_matches("BATCH_STATE_")
        .to_owned();
    (
        state,
        operation.get("done").is_some(),
        operation.get("response").is_some(),
    )
}

#[tokio::test]
async fn a_late_output_is_missing_until_its_time() {
    for (done, before, after) in [
        (DoneFlag::Early, true, true),
        (DoneFlag::Late, false, true),
        (DoneFlag::Absent, false, false),
    ] {
        let service = Service::new(late("45m", done));
        let batch = service.batch(MODEL, &plain_lines(2)).await;
        service.pass_minutes(100);
        assert_eq!(
            observe(&service, &batch).await,
            ("SUCCEEDED".to_owned(), before, false)
        );
        assert_eq!(
            service.call("GET", &download_path(&batch)).await.error().0,
            403
        );
        assert!(
            service.gemini.next_event().is_some(),
            "the arrival of the output is an event"
        );
        // A batch keeps the delivery that it was created with.
        let service = service.reopened(steady());
        service.pass_minutes(44);
        assert_eq!(
            observe(&service, &batch).await,
            ("SUCCEEDED".to_owned(), before, false)
        );
        service.pass_minutes(1);
        assert_eq!(
            observe(&service, &batch).await,
            ("SUCCEEDED".to_owned(), after, true)
        );
        assert_eq!(service.results(&batch).await.len(), 2);
        assert_eq!(service.gemini.next_event(), None);
    }
}

#[tokio::test]
async fn a_late_output_rule_applies_to_the_selected_batches() {
    let service = Service::new(late("1h:2", DoneFlag::Early));
    let (first, second) = (
        service.batch(MODEL, &plain_lines(1)).await,
        service.batch(MODEL, &plain_lines(1)).await,
    );
    service.pass_minutes(100);
    assert!(observe(&service, &first).await.2 && !observe(&service, &second).await.2);
    let list = service
        .call("GET", "/v1beta/batches?pageSize=9")
        .await
        .json();
    let listed: Vec<_> = list["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.get("response").is_some())
        .collect();
    assert_eq!(listed, [false, true], "lists show the same");
}

#[tokio::test]
async fn partial_results_of_a_cancelled_batch_come_late_too() {
    let rules = vec![BatchOutcomeRule {
        which: Selector::Nth(1),
        outcome: BatchOutcome::Cancelled,
    }];
    let service = Service::new(Scenario {
        batch_outcomes: rules,
        ..late("1h", DoneFlag::Late)
    });
    let batch = service.batch(MODEL, &plain_lines(8)).await;
    service.pass_minutes(55);
    assert_eq!(
        observe(&service, &batch).await,
        ("CANCELLED".to_owned(), false, false)
    );
    service.pass_minutes(60);
    assert_eq!(
        observe(&service, &batch).await,
        ("CANCELLED".to_owned(), true, true)
    );
    assert_eq!(service.results(&batch).await.len(), 4);
}

#[tokio::test]
async fn a_batch_without_results_is_done_at_once_unless_done_is_absent() {
    for (done, shown) in [
        (DoneFlag::Late, json!(true)),
        (DoneFlag::Absent, Value::Null),
    ] {
        let rules = vec![BatchOutcomeRule {
            which: Selector::Nth(1),
            outcome: BatchOutcome::Failed,
        }];
        let service = Service::new(Scenario {
            batch_outcomes: rules,
            ..late("1h", done)
        });
        let batch = service.batch(MODEL, &plain_lines(1)).await;
        service.pass_minutes(100);
        let failed = service.get(&batch).await;
        assert_eq!(
            (&failed["done"], &failed["error"]["code"]),
            (&shown, &json!(13)),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_output_is_never_available_but_billed() {
    let service = Service::new(Scenario {
        lost_outputs: vec![Selector::First(1)],
        ..late("1h", DoneFlag::Late)
    });
    let lost = service.batch(MODEL, &plain_lines(2)).await;
    let late = service.batch(MODEL, &plain_lines(2)).await;
    service.pass_minutes(60 * 24 * 60);
    assert_eq!(
        observe(&service, &lost).await,
        ("SUCCEEDED".to_owned(), false, false)
    );
    assert!(observe(&service, &late).await.2);
    assert_eq!(
        service.call("GET", &download_path(&lost)).await.error().0,
        403
    );
    let records = service.gemini.records().unwrap();
    let [lost, late] = &records[..] else {
        panic!("two")
    };
    assert_eq!(
        (lost.output_from, lost.bill.undelivered_nanodollars),
        (None, lost.bill.nanodollars)
    );
    assert_eq!(
        (late.bill.nanodollars, late.bill.undelivered_nanodollars),
        (lost.bill.nanodollars, 0)
    );
}

#[tokio::test]
async fn counts_can_be_left_out() {
    let service = Service::new(Scenario {
        without_counts: true,
        ..steady()
    });
    let batch = service.batch(MODEL, &plain_lines(2)).await;
    assert_eq!(batch["metadata"].get("batchStats"), None);
    service.pass_minutes(100);
    assert_eq!(
        service.get(&batch).await["metadata"].get("batchStats"),
        None
    );
    let list = service
        .call("GET", "/v1beta/batches?pageSize=9")
        .await
        .json();
    assert_eq!(list["operations"][0]["metadata"].get("batchStats"), None);
    assert_eq!(service.results(&batch).await.len(), 2);
}

#[tokio::test]
async fn inline_output_of_a_file_is_in_the_operation_only() {
    let scenario = Scenario {
        repeated_percent: 50,
        unknown_percent: 50,
        served_twice_percent: 50,
        ..steady()
    };
    let service = Service::new(Scenario {
        inline_outputs: vec![Selector::Nth(1)],
        ..scenario.clone()
    });
    let batch = service.batch(MODEL, &plain_lines(6)).await;
    let file = service.batch(MODEL, &plain_lines(6)).await;
    service.pass_minutes(100);
    let ended = service.get(&batch).await;
    assert_schema("Operation", &ended);
    assert!(ended["metadata"]["inputConfig"]["fileName"].is_string());
    let output = &ended["metadata"]["output"];
    assert_schema("GenerateContentBatchOutput", output);
    assert_eq!(
        output["inlinedResponses"],
        ended["response"]["inlinedResponses"]
    );
    assert_eq!(output.get("responsesFile"), None);
    let responses = output["inlinedResponses"]["inlinedResponses"]
        .as_array()
        .unwrap();
    assert!(
        responses.len() > 6,
        "repeated, second and stray answers are included"
    );
    for (response, line) in responses.iter().zip((0..6).map(|n| format!("k{n}"))) {
        assert_eq!(response["metadata"], json!({"key": line}));
        assert_eq!(jpeg_pixels(&image(response)), (512, 512));
    }
    assert_eq!(
        service.call("GET", &download_path(&batch)).await.error().0,
        403
    );
    let list = service
        .call("GET", "/v1beta/batches?pageSize=9")
        .await
        .json();
    assert_eq!(list["operations"][1]["name"], batch["name"]);
    assert_eq!(list["operations"][1]["metadata"].get("output"), None);
    assert!(!service.results(&file).await.is_empty());

    let record = &service.gemini.records().unwrap()[0];
    assert_eq!(
        (
            record.inline_output,
            &record.output,
            record.bill.undelivered_nanodollars
        ),
        (true, &None, 0)
    );
    let delivered = service.gemini.delivered(name(&batch)).unwrap();
    assert_eq!(
        (delivered.lines.len(), delivered.nanodollars()),
        (responses.len(), record.bill.nanodollars)
    );
}

#[tokio::test]
async fn late_inline_output_is_missing_until_its_time() {
    let service = Service::new(Scenario {
        inline_outputs: vec![Selector::Percent(100)],
        ..late("1h", DoneFlag::Early)
    });
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    service.pass_minutes(100);
    assert!(!observe(&service, &batch).await.2);
    service.pass_minutes(60);
    assert!(observe(&service, &batch).await.2);
}

#[tokio::test]
async fn an_array_holds_the_same_lines_in_either_style() {
    let regular = Service::steady();
    let batch = regular.batch(MODEL, &plain_lines(3)).await;
    regular.pass_minutes(100);
    let lines = regular.results(&batch).await;
    for (rule, first, last) in [("100%:compact", "[{", "}]"), ("1:lines", "[\n{", "}\n]\n")] {
        let service = Service::new(Scenario {
            arrays: vec![rule.parse().unwrap()],
            ..steady()
        });
        let batch = service.batch(MODEL, &plain_lines(3)).await;
        service.pass_minutes(100);
        let output = service.output(&batch).await;
        let text = std::str::from_utf8(&output).unwrap();
        assert!(text.starts_with(first) && text.ends_with(last), "{rule}");
        assert_eq!(
            text.lines().count(),
            if rule.ends_with("compact") { 1 } else { 5 }
        );
        assert_eq!(serde_json::from_str::<Vec<Value>>(text).unwrap(), lines);
        let delivered = service.gemini.delivered(name(&batch)).unwrap();
        assert_eq!(delivered.images().len(), 3);
    }
}

#[tokio::test]
async fn an_array_may_be_empty_truncated_or_read_in_ranges() {
    let array = |style: &str| vec![format!("100%:{style}").parse().unwrap()];
    for (style, empty) in [("compact", "[]"), ("lines", "[\n\n]\n")] {
        let service = Service::new(Scenario {
            arrays: array(style),
            missing_percent: 100,
            ..steady()
        });
        let batch = service.batch(MODEL, &plain_lines(2)).await;
        service.pass_minutes(100);
        assert_eq!(service.output(&batch).await, empty);
    }
    let mut outputs = Vec::new();
    let outcome = |outcome| {
        vec![BatchOutcomeRule {
            which: Selector::Nth(1),
            outcome,
        }]
    };
    for batch_outcomes in [Vec::new(), outcome(BatchOutcome::Truncated)] {
        let service = Service::new(Scenario {
            arrays: array("compact"),
            batch_outcomes,
            ranges: true,
            ..steady()
        });
        let batch = service.batch(MODEL, &plain_lines(4)).await;
        service.pass_minutes(100);
        outputs.push((service.output(&batch).await, service, batch));
    }
    let [(whole, ..), (cut, service, batch)] = &outputs[..] else {
        panic!("two")
    };
    assert!(whole.starts_with(cut) && cut.len() < whole.len() && !cut.ends_with(b"]"));
    assert_eq!(
        service.gemini.delivered(name(batch)).unwrap().lines.len(),
        1,
        "the second line is incomplete"
    );
    let part = request("GET", &download_path(batch)).header("range", "bytes=100-");
    let part = service
        .send(part.body(seam::transport::empty()).unwrap())
        .await;
    assert!(part.bytes == cut[100..]);
}

#[tokio::test]
async fn output_files_expire_after_the_configured_time() {
    let service = Service::new(Scenario {
        keep_output_days: 2,
        ..late("1d", DoneFlag::Early)
    });
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    service.pass_minutes(100 + 3 * 24 * 60 - 1);
    let record = service.gemini.records().unwrap()[0].clone();
    let (from, until) = (record.output_from.unwrap(), record.output_until.unwrap());
    assert_eq!(
        (
            until.duration_since(from).as_hours(),
            from.duration_since(record.ended.unwrap()).as_hours()
        ),
        (48, 24)
    );
    assert_eq!(
        service.call("GET", &download_path(&batch)).await.status,
        200
    );
    service.pass_minutes(1);
    let (code, status, _) = service.call("GET", &download_path(&batch)).await.error();
    assert_eq!((code, status.as_str()), (404, "NOT_FOUND"));
    assert!(
        observe(&service, &batch).await.2,
        "the batch still names the file"
    );
    let delivered = service.gemini.delivered(name(&batch)).unwrap();
    assert_eq!(
        delivered.images().keys().collect::<Vec<_>>(),
        [&"k0"],
        "the record outlives the file"
    );
}

#[tokio::test]
async fn records_show_when_an_output_is_available() {
    let service = Service::new(late("1h", DoneFlag::Early));
    service.batch(MODEL, &plain_lines(1)).await;
    let record = || service.gemini.records().unwrap()[0].clone();
    assert_eq!(
        (record().ended, record().output_from, record().output_until),
        (None, None, None)
    );
    service.pass_minutes(100);
    let waiting = record();
    assert_eq!(waiting.output, None);
    assert_eq!(
        waiting
            .output_from
            .unwrap()
            .duration_since(waiting.ended.unwrap())
            .as_mins(),
        60
    );
    assert_eq!(
        waiting.bill.undelivered_nanodollars, waiting.bill.nanodollars,
        "nothing is delivered yet"
    );
    service.pass_minutes(60);
    assert!(record().output.is_some() && record().bill.undelivered_nanodollars == 0);
    assert_eq!(
        record()
            .output_until
            .unwrap()
            .duration_since(record().output_from.unwrap())
            .as_hours(),
        42 * 24
    );
    assert!(service.gemini.delivered("batches/none").is_err());
}
