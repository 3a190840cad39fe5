//! The log of a deployed function: one JSON object per line on standard output. The field names are
//! those of Powertools for AWS Lambda, which CloudWatch queries and people know
//! (<https://docs.aws.amazon.com/powertools/python/latest/core/logger/>, read 2026-11).
//!
//! ```json
//! {"timestamp":"2026-11-21T09:00:00.000000Z","level":"INFO","message":"batch ended","location":"poll::handler",
//!  "service":"darkroom","function_name":"darkroom-poll","function_memory_size":"256","cold_start":false,
//!  "function_request_id":"8c9f…","correlation_id":"catalog-9cf485441ecdeefd","shard":"0000","batch":"batches/3u9z…","name":"message"}
//! ```
//!
//! The log contains names and counts. Prompts, API keys and message bodies are never logged.

use json_subscriber::JsonLayer;
use seam::environment::{VariableError, Variables};
use serde_json::json;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    fmt::{MakeWriter, time::SystemTime},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Starts the log at the level in `AWS_LAMBDA_LOG_LEVEL`, which Lambda sets from the function's
/// configuration.
///
/// # Errors
/// [`VariableError`] if `AWS_LAMBDA_LOG_LEVEL` is not a level.
pub fn init(variables: &Variables) -> Result<(), VariableError> {
    let level = variables.parsed("AWS_LAMBDA_LOG_LEVEL", LevelFilter::INFO)?;
    // In tests several functions share a process, and only the first call has an effect.
    let _ = tracing_subscriber::registry()
        .with(lines(variables, std::io::stdout).with_filter(level))
        .try_init();
    Ok(())
}

/// The layer that writes the lines to `out`. A line includes the fields of all its spans, those of
/// inner spans first; `name` is that of the innermost span.
fn lines<S, W>(variables: &Variables, out: W) -> JsonLayer<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut lines = JsonLayer::new(out);
    lines
        .with_timer("timestamp", SystemTime)
        .with_level("level")
        .with_target("location")
        .with_flattened_event()
        .with_top_level_flattened_span_list();
    lines.add_static_field("service", json!(variables.service()));
    for (field, variable) in [
        ("function_name", "AWS_LAMBDA_FUNCTION_NAME"),
        ("function_memory_size", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
    ] {
        lines.add_static_field(field, json!(variables.optional(variable)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing::{info, info_span, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_powertools_and_of_its_spans() {
        let written = Written::default();
        let out = written.clone();
        let variables = [
            ("POWERTOOLS_SERVICE_NAME", "studio"),
            ("AWS_LAMBDA_FUNCTION_NAME", "studio-poll"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ]
        .into_iter()
        .collect();
        let subscriber =
            tracing_subscriber::registry().with(lines(&variables, move || out.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let _invocation = info_span!(
                "invocation",
                cold_start = true,
                function_request_id = "8c9f"
            )
            .entered();
            let _message =
                info_span!("message", correlation_id = "stones-1", shard = Some("0000")).entered();
            info!(batch = "batches/3", "batch ended");
            warn!("held: \"why\"\n");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut first = lines[0].clone();
        let time = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let expected = json!({
            "level": "INFO", "message": "batch ended", "location": "runtime::log::tests", "service": "studio",
            "function_name": "studio-poll", "function_memory_size": "256", "cold_start": true,
            "function_request_id": "8c9f", "correlation_id": "stones-1", "shard": "0000", "batch": "batches/3",
            "name": "message",
        });
        assert_eq!(first, expected);
        assert_eq!(
            (&lines[1]["level"], &lines[1]["message"]),
            (&json!("WARN"), &json!("held: \"why\"\n"))
        );
    }

    #[test]
    fn refuses_an_unknown_level() {
        let variables = [("AWS_LAMBDA_LOG_LEVEL", "loud")].into_iter().collect();
        assert!(
            init(&variables)
                .unwrap_err()
                .to_string()
                .contains("AWS_LAMBDA_LOG_LEVEL")
        );
    }
}
