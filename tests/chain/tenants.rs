//! Folders of tenants: caps, defaults, allowed models, and who is notified.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex},
};

use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::{GENERATIONS, MANIFESTS, SHARDS},
    ledger::{Ledger, Window},
    money::Usd,
    names::FolderPath,
};
use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud};

use super::{another_run, stones};

const FOLDERS: &str = "stack/folders.toml";

/// The folder `acme` with these settings.
fn acme(settings: &str) -> String {
    format!("[[folder]]\npath = \"inbox/acme/**\"\n{settings}\n")
}

/// Drops a manifest of six images, whose job is named after it.
async fn drop_six(cloud: &TestCloud, folder: &str, name: &str) {
    let manifest = another_run(name, &stones(6));
    let key = format!("inbox/{folder}{name}.jsonl");
    cloud.put(&key, manifest).await;
}

/// Returns the notes of all shards of all jobs.
async fn notes(cloud: &TestCloud) -> BTreeSet<String> {
    let mut notes = BTreeSet::new();
    for job in cloud.jobs() {
        let Some(status) = cloud.read(&format!("{job}job.json")).await else {
            continue;
        };
        let status: Value = serde_json::from_str(&status).unwrap();
        let shards = status["shards"].as_array().into_iter().flatten();
        notes.extend(shards.filter_map(|shard| shard["note"].as_str().map(str::to_owned)));
    }
    notes
}

/// Runs the chain to its end, and returns every note that users could read meanwhile.
async fn run_and_read(cloud: &TestCloud) -> BTreeSet<String> {
    let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let all = Arc::clone(&seen);
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        let notes = notes(cloud).await;
        all.lock().unwrap().extend(notes);
        Ok(false)
    })
    .await
    .unwrap();
    seen.lock().unwrap().clone()
}

/// Returns the day on which the batch of each job was created, by the name of its manifest.
fn days(cloud: &TestCloud) -> BTreeMap<String, String> {
    let day = |record: gemini_sim::Record| {
        let job = record.display_name.split('/').nth(1).unwrap();
        let name = job.rsplit_once('-').unwrap().0.to_owned();
        (name, record.created.to_string()[..10].to_owned())
    };
    cloud
        .gemini
        .records()
        .unwrap()
        .into_iter()
        .map(day)
        .collect()
}

async fn ledger(cloud: &TestCloud) -> Ledger {
    cloud.local.deps.submit.ledger.read().await.unwrap()
}

/// Returns what the ledger counts for the folder `acme` on a day, or in its month.
async fn spent(cloud: &TestCloud, window: Window, day: &str) -> Usd {
    let ledger = ledger(cloud).await;
    let folder = FolderPath::new("inbox/acme/**");
    let day: Date = day.parse().unwrap();
    let spending = ledger.folders.get(&folder);
    spending.map_or(Usd::ZERO, |spending| spending.spent(window, day))
}

/// Checks that all money that was reserved was settled or returned. The place of a job that waited
/// reserves nothing, and expires.
async fn assert_settled(cloud: &TestCloud) {
    let ledger = ledger(cloud).await;
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
}

#[tokio::test]
async fn a_folder_at_its_daily_cap_waits_for_the_next_day_and_another_does_not() {
    // Six images cost about $0.13 with thoughts, so only one job of the folder fits into a day.
    let cloud = TestCloud::new();
    cloud.put(FOLDERS, acme("daily_cap_usd = 0.20")).await;
    for (folder, name) in [
        ("acme/", "one"),
        ("acme/", "two"),
        ("other/", "three"),
        ("", "four"),
    ] {
        drop_six(&cloud, folder, name).await;
    }
    let seen = run_and_read(&cloud).await;
    let about_the_cap: Vec<&String> = seen.iter().filter(|note| note.contains("cap")).collect();
    assert!(
        !about_the_cap.is_empty()
            && about_the_cap.iter().all(|note| {
                note.contains("of the daily cap of $0.20 of inbox/acme/** is spent or reserved")
                    && note.contains("at 2026-11-22T00:00:00Z, when the next day begins")
            }),
        "{seen:?}"
    );

    let days = days(&cloud);
    assert_eq!(
        (&*days["three"], &*days["four"]),
        ("2026-11-21", "2026-11-21")
    );
    let of_folder = BTreeSet::from([&*days["one"], &*days["two"]]);
    assert_eq!(of_folder, BTreeSet::from(["2026-11-21", "2026-11-22"]));
    for job in cloud.jobs() {
        assert!(cloud.exists(&format!("{job}_SUCCESS")), "{job}");
    }

    // The ledger counts what Gemini billed for the folder, by day and by month.
    assert_settled(&cloud).await;
    let billed = |name: &str| -> u64 {
        let records = cloud.gemini.records().unwrap();
        let of_job = records
            .iter()
            .filter(|record| record.display_name.contains(&format!("/{name}-")));
        of_job.map(|record| record.bill.nanodollars).sum()
    };
    let usd = |nanodollars: u64| Usd::new(Decimal::from(nanodollars) * Decimal::new(1, 9));
    let month = spent(&cloud, Window::Month, "2026-11-22").await;
    let both = usd(billed("one") + billed("two"));
    assert!((month - both).micros().abs() <= 2, "{month} and {both}");
    for day in ["2026-11-21", "2026-11-22"] {
        let of_day = spent(&cloud, Window::Day, day).await;
        assert!(
            of_day > Usd::ZERO && of_day <= "0.20".parse().unwrap(),
            "{of_day}"
        );
    }
}

#[tokio::test]
async fn a_cap_that_is_raised_has_an_effect_at_once() {
    let cloud = TestCloud::new();
    cloud.put(FOLDERS, acme("daily_cap_usd = 0.20")).await;
    for name in ["one", "two"] {
        drop_six(&cloud, "acme/", name).await;
    }
    let until_capped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        let notes = notes(&cloud).await;
        Ok(notes
            .iter()
            .any(|note| note.contains("once the cap in stack/folders.toml is raised")))
    });
    assert_eq!(until_capped.await.unwrap(), StopReason::ConditionMet);
    cloud.put(FOLDERS, acme("daily_cap_usd = 1")).await;
    cloud.run().await;
    let days: BTreeSet<String> = days(&cloud).into_values().collect();
    assert_eq!(days, BTreeSet::from(["2026-11-21".to_owned()]));
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn a_monthly_cap_lasts_until_the_next_month() {
    let cloud = TestCloud::new();
    cloud.advance_to("2026-11-29T20:00:00Z".parse().unwrap());
    cloud.put(FOLDERS, acme("monthly_cap_usd = 0.20")).await;
    for name in ["one", "two"] {
        drop_six(&cloud, "acme/", name).await;
    }
    let seen = run_and_read(&cloud).await;
    let expected = "at 2026-12-01T00:00:00Z, when the next month begins";
    assert!(seen.iter().any(|note| note.contains(expected)), "{seen:?}");
    let days: BTreeSet<String> = days(&cloud).into_values().collect();
    let expected = ["2026-11-29", "2026-12-01"].map(str::to_owned);
    assert_eq!(days, BTreeSet::from(expected));
    for month in ["2026-11-30", "2026-12-01"] {
        let spent = spent(&cloud, Window::Month, month).await;
        assert!(
            spent > Usd::ZERO && spent <= "0.20".parse().unwrap(),
            "{spent}"
        );
    }
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn a_job_that_a_monthly_cap_stops_for_a_week_is_given_up_as_announced() {
    let cloud = TestCloud::new();
    cloud.put(FOLDERS, acme("monthly_cap_usd = 0.20")).await;
    for name in ["one", "two"] {
        drop_six(&cloud, "acme/", name).await;
    }
    let seen = run_and_read(&cloud).await;
    let announced = "If that is not before 2026-11-28T09:00:00Z, the images are given up and \
                     listed in retry.jsonl";
    assert!(
        seen.iter().any(|note| note.ends_with(announced)),
        "{seen:?}"
    );
    let failed: Vec<String> = cloud
        .jobs()
        .into_iter()
        .filter(|job| cloud.exists(&format!("{job}_FAILED")))
        .collect();
    let [failed] = &failed[..] else {
        panic!("{failed:?}")
    };
    let retry = cloud.lines(&format!("{failed}retry.jsonl")).await;
    assert_eq!(
        retry.iter().filter(|line| line["key"].is_string()).count(),
        6
    );
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn defaults_apply_below_the_jobs_own_settings_and_synchronous_lanes_count() {
    let cloud = TestCloud::new();
    let defaults = "defaults = { model = \"nano-banana-pro\", lane = \"interactive\" }";
    let folders = acme(&format!("daily_cap_usd = 1.50\n{defaults}"));
    cloud.put(FOLDERS, folders).await;
    drop_six(&cloud, "acme/", "one").await;
    drop_six(&cloud, "acme/", "two").await;
    // The job and the item come first.
    let items = [
        json!({"key": "a", "prompt": "x"}),
        json!({"key": "b", "prompt": "x", "model": "nano-banana-2"}),
    ];
    let own = json!({"job": {"lane": "batch"}, "items": items}).to_string();
    cloud.put("inbox/acme/own.json", own).await;
    let seen = run_and_read(&cloud).await;

    let plan = cloud.job_named("one").lines("plan.jsonl").await;
    assert!(
        plan.iter()
            .all(|line| line["model"] == "gemini-3-pro-image" && line["lane"] == "interactive"),
        "{plan:?}"
    );
    let plan = cloud.job_named("own").lines("plan.jsonl").await;
    let models: Vec<&Value> = plan.iter().map(|line| &line["model"]).collect();
    assert_eq!(models, ["gemini-3-pro-image", "gemini-nano-banana-2.1"]);
    assert!(plan.iter().all(|line| line["lane"].is_null()), "{plan:?}");

    // Six images of that model cost more than half of the cap.
    let expected = "of the daily cap of $1.50 of inbox/acme/** is spent or reserved, and these";
    assert!(seen.iter().any(|note| note.contains(expected)), "{seen:?}");
    for day in ["2026-11-21", "2026-11-22"] {
        let spent = spent(&cloud, Window::Day, day).await;
        assert!(
            spent > Usd::ZERO && spent <= "1.50".parse().unwrap(),
            "{day}: {spent}"
        );
    }
    for name in ["one", "two", "own"] {
        assert!(cloud.job_named(name).has("_SUCCESS"), "{name}");
    }
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn defaults_are_a_part_of_the_identity_of_a_job_and_caps_are_not() {
    let mut ids = Vec::new();
    for settings in [
        "",
        "daily_cap_usd = 5\nnotify = \"acme\"",
        "defaults = { image_size = \"2K\" }",
        "daily_cap_usd = 5\n[folder.defaults]\nimage_size = '2K'",
        "defaults = { image_size = \"512\" }",
    ] {
        let cloud = TestCloud::new();
        cloud.put(FOLDERS, acme(settings)).await;
        drop_six(&cloud, "acme/", "one").await;
        assert!(cloud.plan().await.acknowledged());
        ids.push(cloud.only_job().id());
    }
    assert_eq!((&ids[0], &ids[2]), (&ids[1], &ids[3]));
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "{ids:?}");

    // Without the file, the job is that of a folder without defaults.
    let cloud = TestCloud::new();
    drop_six(&cloud, "acme/", "one").await;
    assert!(cloud.plan().await.acknowledged());
    assert_eq!(cloud.only_job().id(), ids[0]);
}

#[tokio::test]
async fn a_model_that_is_not_allowed_rejects_the_manifest() {
    let cloud = TestCloud::new();
    let settings = "models = [\"nano-banana-2\", \"nano-banana-2-lite\"]\n\
                    notify = [\"studio@acme.example\", \"acme\"]";
    cloud.put(FOLDERS, acme(settings)).await;
    let items = "{\"key\":\"a\",\"prompt\":\"x\"}\n\
                 {\"key\":\"b\",\"prompt\":\"x\",\"model\":\"nano-banana-pro\"}\n";
    cloud.put("inbox/acme/skus.jsonl", items).await;
    cloud
        .put("inbox/outside.jsonl", another_run("2", items))
        .await;
    cloud.run().await;
    assert!(cloud.job_named("outside").has("_SUCCESS"));
    let rejected = cloud.job_named("skus");
    assert!(rejected.has("_REJECTED"));
    let validation = rejected.text("validation.csv").await;
    assert!(
        validation.contains(
            "2,b,error,model_not_allowed,gemini-3-pro-image is not allowed in inbox/acme/**: use \
             nano-banana-2 or nano-banana-2-lite"
        ),
        "{validation}"
    );
    let status = rejected.json("job.json").await;
    assert_eq!(
        status["folder"],
        json!({"path": "inbox/acme/**", "notify": ["studio@acme.example", "acme"]})
    );

    // Once the model is allowed, the same manifest is the same job, and is planned.
    cloud.put(FOLDERS, acme("")).await;
    cloud.put("inbox/acme/skus.jsonl", items).await;
    cloud.run().await;
    assert!(cloud.job_named("skus").has("_SUCCESS") && cloud.jobs().len() == 2);
}

#[tokio::test]
async fn a_job_keeps_the_folder_that_it_was_planned_in() {
    let cloud = TestCloud::new();
    let settings = "daily_cap_usd = 1\nnotify = \"studio@acme.example\"";
    cloud.put(FOLDERS, acme(settings)).await;
    drop_six(&cloud, "acme/", "one").await;
    assert!(cloud.plan().await.acknowledged());
    let folder = json!({"path": "inbox/acme/**", "notify": ["studio@acme.example"]});
    assert_eq!(cloud.job().json("plan.lock").await["folder"], folder);
    assert_eq!(cloud.job().json("job.json").await["folder"], folder);

    // The folder is renamed, and the new one could not buy anything.
    let renamed = "[[folder]]\npath = \"inbox/**\"\ndaily_cap_usd = 0.000001\n";
    cloud.put(FOLDERS, renamed).await;
    cloud.run().await;
    let job = cloud.only_job();
    assert!(job.has("_SUCCESS"));
    assert_eq!(job.json("job.json").await["folder"], folder);
    let ledger = ledger(&cloud).await;
    let counted: Vec<&str> = ledger.folders.keys().map(FolderPath::as_str).collect();
    assert_eq!(counted, ["inbox/acme/**"]);
}

#[tokio::test]
async fn rounds_and_proofs_count_for_the_folder() {
    let scenario = gemini_sim::Scenario {
        seed: 3,
        internal_error_percent: 40,
        ..gemini_sim::Scenario::default()
    };
    let proof = json!({"count": 2, "hold": false});
    for (scenario, job) in [
        (scenario, json!({})),
        (gemini_sim::Scenario::default(), json!({"proof": proof})),
    ] {
        let cloud = TestCloud::builder().scenario(scenario).build();
        cloud.put(FOLDERS, acme("monthly_cap_usd = 50")).await;
        let items: Vec<Value> = (0..20)
            .map(|number| json!({"key": format!("k-{number}"), "prompt": "x"}))
            .collect();
        let manifest = json!({"job": job, "items": items}).to_string();
        cloud.put("inbox/acme/one.json", manifest).await;
        cloud.run().await;
        assert_settled(&cloud).await;

        // There are no other jobs, so the deployment has spent the same.
        let ledger = ledger(&cloud).await;
        let months = ledger.folders.values().flat_map(|all| all.months.values());
        let of_folder: Usd = months.copied().sum();
        let of_deployment: Usd = ledger.spent.values().copied().sum();
        assert_eq!(of_folder, of_deployment, "{ledger:?}");
        let shards = cloud.only_job().json("summary.json").await["shards"].clone();
        assert!(shards.as_array().unwrap().len() > 1, "{shards}");
    }
}

#[tokio::test]
async fn a_broken_file_stops_planning_until_it_is_fixed_and_rejects_nothing() {
    for (text, line) in [
        (acme("daily_cap = 1"), 3),
        (acme("\n\nmonthly_cap_usd = 0"), 5),
        (acme("defaults = { lane = \"fast\" }"), 3),
        ("[[folder]".to_owned(), 1),
    ] {
        let cloud = TestCloud::new();
        cloud.put(FOLDERS, text.clone()).await;
        // A manifest outside the folder is held too: it could belong to a folder with a cap.
        drop_six(&cloud, "other/", "one").await;
        assert!(!cloud.plan().await.acknowledged(), "{text}");
        assert!(!cloud.exists("jobs"), "{text}");
        assert_eq!((cloud.messages(MANIFESTS), cloud.messages(SHARDS)), (1, 0));
        let fault = cloud.local.deps.plan.folders.read().await.unwrap_err();
        let expected = format!("stack/folders.toml: line {line}: ");
        assert!(fault.to_string().starts_with(&expected), "{fault}");

        cloud.put(FOLDERS, acme("daily_cap_usd = 1")).await;
        cloud.run().await;
        assert!(cloud.job().has("_SUCCESS"));
    }
}

#[tokio::test]
async fn a_broken_file_holds_planned_jobs_of_folders_with_a_reason_and_no_others() {
    let cloud = TestCloud::new();
    let good = acme("daily_cap_usd = 9");
    cloud.put(FOLDERS, good.clone()).await;
    drop_six(&cloud, "acme/", "one").await;
    drop_six(&cloud, "", "two").await;
    for _ in 0..2 {
        assert!(cloud.plan().await.acknowledged());
    }
    cloud.put(FOLDERS, acme("daily_cap_usd = -9")).await;
    let until_done = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(cloud.job_named("two").has("_SUCCESS"))
    });
    assert_eq!(until_done.await.unwrap(), StopReason::ConditionMet);
    let seen = notes(&cloud).await;
    let expected = "the caps of inbox/acme/** can't be read, so nothing is bought there until they \
                    can: stack/folders.toml: line 3: invalid cap -$9.00";
    assert!(seen.iter().any(|note| note.contains(expected)), "{seen:?}");
    assert_eq!(days(&cloud).len(), 1);

    cloud.put(FOLDERS, good).await;
    cloud.run().await;
    assert!(cloud.job_named("one").has("_SUCCESS"));
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn an_image_above_a_cap_of_its_folder_rejects_the_manifest() {
    let cloud = TestCloud::new();
    cloud.put(FOLDERS, acme("monthly_cap_usd = 0.01")).await;
    drop_six(&cloud, "acme/", "one").await;
    assert!(cloud.plan().await.acknowledged());
    let validation = cloud.job().text("validation.csv").await;
    assert!(
        validation.contains("over_folder_cap")
            && validation.contains("above the monthly cap of $0.01 of inbox/acme/**: raise it in"),
        "{validation}"
    );
    assert_eq!(
        (cloud.messages(SHARDS), cloud.messages(GENERATIONS)),
        (0, 0)
    );
}

#[tokio::test]
async fn states_and_ledgers_of_earlier_versions_continue_without_a_folder() {
    let cloud = TestCloud::new();
    cloud.put(FOLDERS, acme("daily_cap_usd = 0.02")).await;
    let old_ledger = json!({
        "rev": 3, "write_id": "old", "spent": {"2026-11-21": 0.5},
        "unsettled": {"gone-0123456789abcdef/0000": {"usd": 0.5, "at": "2026-11-21T08:00:00Z"}},
    });
    cloud.put("stack/ledger.json", old_ledger.to_string()).await;
    // The job was planned before there were folders.
    drop_six(&cloud, "old/", "one").await;
    assert!(cloud.plan().await.acknowledged());
    for name in ["plan.lock", "job.json", "shards/0000/state.json"] {
        assert!(!cloud.job().text(name).await.contains("folder"), "{name}");
    }
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    let ledger = ledger(&cloud).await;
    assert!(ledger.folders.is_empty(), "{ledger:?}");
    assert!(ledger.spent_today("2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap()) > Usd::ZERO);
}
