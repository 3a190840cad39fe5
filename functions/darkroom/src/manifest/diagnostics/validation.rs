//! `validation.csv`: the diagnostics of a manifest, for a spreadsheet.

use std::io;

use crate::{csv_injection::escape_formulas, manifest::Diagnostic};

/// Writes the diagnostics as CSV under the header `line,key,severity,code,message`.
///
/// A cell that a spreadsheet could read as a formula gets an apostrophe at its start.
///
/// # Errors
/// Writing to `out` fails.
pub fn write_validation(diagnostics: &[Diagnostic], out: impl io::Write) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(out);
    csv.write_record(["line", "key", "severity", "code", "message"])?;
    for diagnostic in diagnostics {
        let Diagnostic {
            line,
            key,
            severity,
            code,
            message,
        } = diagnostic;
        let key = escape_formulas(key.as_deref().unwrap_or_default());
        csv.write_record([
            &line.to_string(),
            &*key,
            &severity.to_string(),
            code,
            &escape_formulas(message),
        ])?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_are_disarmed() {
        let diagnostic = |key: &str, message| Diagnostic {
            key: Some(key.to_owned()),
            ..Diagnostic::error(3, "bad_key", message)
        };
        let diagnostics = [
            diagnostic("=HYPERLINK(\"x\")", "say \"hi\", twice\nor not"),
            diagnostic("a", "-1"),
            Diagnostic::warning(9, "missing_key", "plain"),
        ];
        let mut out = Vec::new();
        write_validation(&diagnostics, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "line,key,severity,code,message\r\n\
             3,\"'=HYPERLINK(\"\"x\"\")\",error,bad_key,\"say \"\"hi\"\", twice\nor not\"\r\n\
             3,a,error,bad_key,'-1\r\n\
             9,,warning,missing_key,plain\r\n"
        );
    }
}
