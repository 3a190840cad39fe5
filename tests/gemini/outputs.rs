//! Outputs that come late, never, inline or as one array, and what the service itself knows of
//! them.

use gemini_sim::{BatchFate, DoneFlag, FateRule, Scenario, Selector};
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

/// State, whether it is done, and whether there is an output; the operation has it in both places
/// or in none.
async fn look(service: &Service, batch: &Value) -> (String, bool, bool) {
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
async fn late_output_is_missing_until_its_time() {
    for (done, before, after) in [
        (DoneFlag::Early, true, true),
        (DoneFlag::Late, false, true),
        (DoneFlag::Absent, false, false),
    ] {
        let service = Service::new(late("45m", done));
        let batch = service.batch(MODEL, &plain_lines(2)).await;
        service.pass_minutes(100);
        assert_eq!(
            look(&service, &batch).await,
            ("SUCCEEDED".to_owned(), before, false)
        );
        assert_eq!(
            service.call("GET", &download_path(&batch)).await.error().0,
            403
        );
        assert!(
            service.gemini.next_event().is_some(),
            "the output is still to come"
        );
        // What it was created with stays, whatever is asked for later.
        let service = service.reopened(steady());
        service.pass_minutes(44);
        assert_eq!(
            look(&service, &batch).await,
            ("SUCCEEDED".to_owned(), before, false)
        );
        service.pass_minutes(1);
        assert_eq!(
            look(&service, &batch).await,
            ("SUCCEEDED".to_owned(), after, true)
        );
        assert_eq!(service.results(&batch).await.len(), 2);
        assert_eq!(service.gemini.next_event(), None);
    }
}

#[tokio::test]
async fn late_output_means_the_batches_that_it_names() {
    let service = Service::new(late("1h:2", DoneFlag::Early));
    let (first, second) = (
        service.batch(MODEL, &plain_lines(1)).await,
        service.batch(MODEL, &plain_lines(1)).await,
    );
    service.pass_minutes(100);
    assert!(look(&service, &first).await.2 && !look(&service, &second).await.2);
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
    assert_eq!(listed, [false, true], "a list says the same");
}

#[tokio::test]
async fn partial_results_of_a_cancelled_batch_come_late_too() {
    let fates = vec![FateRule {
        which: Selector::Nth(1),
        fate: BatchFate::Cancelled,
    }];
    let service = Service::new(Scenario {
        batch_fates: fates,
        ..late("1h", DoneFlag::Late)
    });
    let batch = service.batch(MODEL, &plain_lines(8)).await;
    service.pass_minutes(55);
    assert_eq!(
        look(&service, &batch).await,
        ("CANCELLED".to_owned(), false, false)
    );
    service.pass_minutes(60);
    assert_eq!(
        look(&service, &batch).await,
        ("CANCELLED".to_owned(), true, true)
    );
    assert_eq!(service.results(&batch).await.len(), 4);
}

#[tokio::test]
async fn an_end_without_results_is_done_at_once_unless_nothing_ever_is() {
    for (done, told) in [
        (DoneFlag::Late, json!(true)),
        (DoneFlag::Absent, Value::Null),
    ] {
        let fates = vec![FateRule {
            which: Selector::Nth(1),
            fate: BatchFate::Failed,
        }];
        let service = Service::new(Scenario {
            batch_fates: fates,
            ..late("1h", done)
        });
        let batch = service.batch(MODEL, &plain_lines(1)).await;
        service.pass_minutes(100);
        let failed = service.get(&batch).await;
        assert_eq!(
            (&failed["done"], &failed["error"]["code"]),
            (&told, &json!(13)),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn lost_output_never_comes_and_is_billed() {
    let service = Service::new(Scenario {
        lost_outputs: vec![Selector::First(1)],
        ..late("1h", DoneFlag::Late)
    });
    let lost = service.batch(MODEL, &plain_lines(2)).await;
    let late = service.batch(MODEL, &plain_lines(2)).await;
    service.pass_minutes(60 * 24 * 60);
    assert_eq!(
        look(&service, &lost).await,
        ("SUCCEEDED".to_owned(), false, false)
    );
    assert!(look(&service, &late).await.2);
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
async fn counts_are_in_no_answer_where_they_are_left_out() {
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
async fn inline_output_of_a_file_is_in_the_operation_twice_and_in_no_list_and_no_file() {
    let lies = Scenario {
        repeated_percent: 50,
        unknown_percent: 50,
        served_twice_percent: 50,
        ..steady()
    };
    let service = Service::new(Scenario {
        inline_outputs: vec![Selector::Nth(1)],
        ..lies.clone()
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
        "what is repeated, served twice or stray is there too"
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
async fn late_inline_output_comes_at_its_time() {
    let service = Service::new(Scenario {
        inline_outputs: vec![Selector::Percent(100)],
        ..late("1h", DoneFlag::Early)
    });
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    service.pass_minutes(100);
    assert!(!look(&service, &batch).await.2);
    service.pass_minutes(60);
    assert!(look(&service, &batch).await.2);
}

#[tokio::test]
async fn an_array_holds_the_same_lines_in_either_style() {
    let honest = Service::steady();
    let batch = honest.batch(MODEL, &plain_lines(3)).await;
    honest.pass_minutes(100);
    let lines = honest.results(&batch).await;
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
async fn an_array_may_be_empty_or_cut_off_and_may_be_read_in_parts() {
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
    let fate = |fate| {
        vec![FateRule {
            which: Selector::Nth(1),
            fate,
        }]
    };
    for batch_fates in [Vec::new(), fate(BatchFate::Truncated)] {
        let service = Service::new(Scenario {
            arrays: array("compact"),
            batch_fates,
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
        "the second is not whole"
    );
    let part = request("GET", &download_path(batch)).header("range", "bytes=100-");
    let part = service
        .send(part.body(seam::transport::empty()).unwrap())
        .await;
    assert!(part.bytes == cut[100..]);
}

#[tokio::test]
async fn output_files_are_kept_as_long_as_is_asked_for_from_when_they_are_there() {
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
        look(&service, &batch).await.2,
        "the batch still names the file"
    );
    let delivered = service.gemini.delivered(name(&batch)).unwrap();
    assert_eq!(
        delivered.images().keys().collect::<Vec<_>>(),
        [&"k0"],
        "what it held is still known"
    );
}

#[tokio::test]
async fn records_say_when_an_output_can_be_had() {
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
        "so far"
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
