use super::*;
use crate::money::Usd;

fn usd(dollars: &str) -> Option<Usd> {
    Some(dollars.parse().unwrap())
}

const ACME: &str = r#"# Tenants.
[[folder]]
path = "inbox/acme/**"
daily_cap_usd = 20
monthly_cap_usd = 300.50
models = ["nano-banana-2"]
notify = ["studio@acme.example", "acme"]
defaults = { model = "nano-banana-2", lane = "flex" }

[[folder]]
path = "inbox/acme/fall/**"
notify = "fall@acme.example"

[folder.defaults]
image_size = "2K"
proof = { count = 4 }
"#;

#[test]
fn reads_what_each_folder_sets() {
    let folders = Folders::parse(ACME).unwrap();
    let acme = folders.of("inbox/acme/skus.csv").unwrap();
    assert_eq!(acme.path.as_str(), "inbox/acme/**");
    assert_eq!(
        (acme.caps.daily_usd, acme.caps.monthly_usd),
        (usd("20"), usd("300.50"))
    );
    assert_eq!(acme.notify, ["studio@acme.example", "acme"]);
    assert_eq!(
        acme.defaults.as_deref(),
        Some(r#"{"job":{"lane":"flex"},"defaults":{"model":"nano-banana-2"}}"#)
    );
    assert_eq!(Folders::parse("").unwrap(), Folders::default());
}

#[test]
fn the_longest_path_wins_and_inherits_nothing() {
    let folders = Folders::parse(ACME).unwrap();
    let fall = folders.of("inbox/acme/fall/2026/skus.csv").unwrap();
    assert_eq!(fall.path.as_str(), "inbox/acme/fall/**");
    assert_eq!(fall.caps, Caps::default());
    assert!(fall.models.is_none());
    assert_eq!(fall.notify, ["fall@acme.example"]);
    assert_eq!(
        fall.defaults.as_deref(),
        Some(r#"{"job":{"proof":{"count":4}},"defaults":{"image_size":"2K"}}"#)
    );
    for outside in [
        "inbox/skus.csv",
        "inbox/acmes/skus.csv",
        "inbox/acme",
        "jobs/acme/x",
    ] {
        assert!(folders.of(outside).is_none(), "{outside}");
    }
    let all = Folders::parse("[[folder]]\npath = \"inbox/**\"").unwrap();
    assert!(all.of("inbox/skus.csv").is_some() && all.of("inbox/a/b.csv").is_some());
}

#[test]
fn every_mistake_names_its_line() {
    for (line, wrong, expected) in [
        (1, "folders = 1", "unknown field"),
        (3, "daily_cap = 20", "unknown field"),
        (3, "daily_cap_usd = 0", "dollars above zero"),
        (3, "monthly_cap_usd = -1", "dollars above zero"),
        (3, "daily_cap_usd = \"much\"", "dollars"),
        (3, "daily_cap_usd = inf", "dollars"),
        (3, "models = []", "models is empty"),
        (3, "models = [\"nano banana\"]", "invalid models"),
        (3, "models = \"nano-banana-2\"", "invalid type"),
        (3, "notify = []", "0 labels"),
        (3, "notify = \"two words\"", "invalid label"),
        (3, "notify = [\"a@b\", \"<a@b>\"]", "invalid label"),
        (3, "notify = 7", "expected a label"),
        (
            3,
            "defaults = { name = \"x\" }",
            "expected one of budget_usd, mode",
        ),
        (3, "defaults = { lane = \"fast\" }", "lane must be"),
        (3, "defaults = { budget_usd = \"much\" }", "budget_usd"),
        (3, "defaults = { within = \"soon\" }", "job.within must be"),
        (3, "defaults = { rescue = \"flex\" }", "rescue needs within"),
        (4, "[folder.defaults]\nmodel = 2", "model must be"),
        (3, "[[folder]]\npath = \"inbox/a/**\"", "is there twice"),
        (3, "[[folder]]\npath = \"inbox/b\"", "invalid path"),
        (3, "daily_cap_usd = ", "string values must be quoted"),
    ] {
        // A mistake in the path of a second folder is a line further down.
        let line = line + usize::from(wrong.starts_with("[[folder]]"));
        let text = if line == 1 {
            wrong.to_owned()
        } else {
            format!("[[folder]]\npath = \"inbox/a/**\"\n{wrong}\n")
        };
        let error = Folders::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{wrong}: {error}");
        let is_expected = error.what.contains(expected) || expected.starts_with("string values");
        assert!(is_expected, "{wrong}: {error}");
    }
}

#[test]
fn a_path_is_a_folder_below_the_inbox() {
    let parse = |path: &str| Folders::parse(&format!("[[folder]]\npath = {path:?}"));
    for good in [
        "inbox/**",
        "inbox/a/**",
        "inbox/a b/ü/**",
        "inbox/a.b/c/d/**",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    let long = format!("inbox/{}/**", "x".repeat(600));
    for bad in [
        "",
        "inbox",
        "inbox/",
        "inbox/a",
        "inbox/a/",
        "inbox/a/*",
        "inbox/a**",
        "inbox/*/**",
        "inbox//**",
        "inbox/a//**",
        "inbox/../**",
        "/inbox/a/**",
        "jobs/**",
        "**",
        &long,
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_order_and_the_form_of_defaults_do_not_matter() {
    let of = |defaults: &str| {
        let text = format!("[[folder]]\npath = \"inbox/**\"\n{defaults}");
        let folders = Folders::parse(&text).unwrap();
        folders.of("inbox/x").unwrap().defaults.clone()
    };
    assert_eq!(
        of("defaults = { lane = \"flex\", model = \"nano-banana-2\" }"),
        of("[folder.defaults]\nmodel = 'nano-banana-2'\n\nlane = 'flex'")
    );
    assert_eq!(of("defaults = {}"), None);
}
