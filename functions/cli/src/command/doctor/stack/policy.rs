//! What the policies of the bucket and of the queues deny.

use serde_json::Value;

/// Whether a policy denies every access without TLS.
pub(super) fn requires_tls(policy: &str) -> bool {
    denials(policy).iter().any(|statement| {
        let for_all = statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*";
        for_all && condition(statement, "Bool", "aws:SecureTransport", "false")
    })
}

/// Whether a policy denies unconditional writes of the ledger and of states, which are locks.
pub(super) fn requires_conditional_writes(policy: &str) -> bool {
    denials(policy).iter().any(|statement| {
        let guards = |object: &str| {
            let mut resources = texts(&statement["Resource"]).into_iter();
            resources.any(|resource| resource.ends_with(object))
        };
        condition(statement, "Null", "s3:if-match", "true")
            && condition(statement, "Null", "s3:if-none-match", "true")
            && guards("/stack/ledger.json")
            && guards("/shards/*/state.json")
    })
}

fn denials(policy: &str) -> Vec<Value> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.clone(),
        statement => vec![statement.clone()],
    };
    let denies = |statement: &Value| statement["Effect"] == "Deny";
    statements.into_iter().filter(denies).collect()
}

/// Whether a statement has a condition. Names of keys have any case, and a value can be a text, a
/// boolean or a list.
fn condition(statement: &Value, operator: &str, key: &str, value: &str) -> bool {
    let keys = statement["Condition"][operator].as_object();
    let mut keys = keys.into_iter().flatten();
    keys.any(|(name, values)| {
        let is_value = |text: &String| text.eq_ignore_ascii_case(value);
        name.eq_ignore_ascii_case(key) && texts(values).iter().any(is_value)
    })
}

/// Returns a text, or the texts of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(value) => vec![value.to_string()],
        Value::Null | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tls_must_be_required_of_everyone() {
        let policy = |effect: &str, principal: Value, secure: Value| {
            let condition = json!({"Bool": {"AWS:SecureTransport": secure}});
            let statement = json!({"Effect": effect, "Principal": principal,
                                   "Action": "s3:*", "Condition": condition});
            json!({"Statement": [statement]}).to_string()
        };
        assert!(requires_tls(&policy("Deny", json!("*"), json!("false"))));
        assert!(requires_tls(&policy(
            "Deny",
            json!({"AWS": "*"}),
            json!([false])
        )));
        assert!(!requires_tls(&policy("Allow", json!("*"), json!("false"))));
        assert!(!requires_tls(&policy("Deny", json!("*"), json!("true"))));
        assert!(!requires_tls(&policy(
            "Deny",
            json!({"AWS": "arn:x"}),
            json!("false")
        )));
        assert!(!requires_tls(""));
    }

    #[test]
    fn all_locks_must_be_guarded() {
        let policy = |resources: Value| {
            let condition = json!({"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}});
            let statement = json!({"Effect": "Deny", "Action": "s3:PutObject",
                                   "Resource": resources, "Condition": condition});
            json!({"Statement": statement}).to_string()
        };
        let (state, ledger) = (
            "arn:aws:s3:::b/jobs/*/shards/*/state.json",
            "arn:aws:s3:::b/stack/ledger.json",
        );
        assert!(requires_conditional_writes(&policy(json!([state, ledger]))));
        assert!(!requires_conditional_writes(&policy(json!(ledger))));
        assert!(!requires_conditional_writes("{}"));
    }
}
