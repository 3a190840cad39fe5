//! The choice between the simulated and the real Gemini, and the consent to spend money.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use anyhow::Context;
use disk::Disk;
use seam::environment::Variables;

use super::{Exit, GeminiMode, RunArgs, ServeArgs, TryArgs};

/// The file that records the mode of a folder, because a folder must not mix simulated and real
/// images.
const MODE_FILE: &str = "gemini-is";

/// The result of choosing a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Use this Gemini.
    Use(GeminiMode),
    /// Exit without a Gemini, because the user declined to spend money.
    Exit(Exit),
}

/// Chooses the Gemini for one manifest. Considers the folder, the arguments, the API key, and the
/// user's answer to the question whether to spend `price`. The user is not asked about a `finished`
/// job, which costs nothing more.
pub(super) fn choose(
    args: &RunArgs,
    internal: &Path,
    finished: bool,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    choose_once(
        &args.out,
        internal,
        args.gemini,
        |requested| match requested {
            Some(GeminiMode::Live) if finished => Ok(Choice::Use(GeminiMode::Live)),
            requested => ask_before_spending(requested, args.yes, variables, price),
        },
    )
}

/// Chooses the Gemini for one image, as for a manifest.
pub(super) fn choose_for_try(
    args: &TryArgs,
    internal: &Path,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    choose_once(&args.out, internal, args.gemini, |requested| {
        ask_before_spending(requested, args.yes, variables, price)
    })
}

/// Asks whether to spend `price` on the checks of `darkroom doctor`, which always use the real
/// Gemini.
pub(super) fn choose_for_doctor(
    consented: bool,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    ask_before_spending(Some(GeminiMode::Live), consented, variables, price)
}

/// Chooses the Gemini for a dry run. A dry run costs nothing and does not fix the mode of a new
/// folder.
pub(super) fn choose_for_dry_run(args: &RunArgs, internal: &Path) -> anyhow::Result<Choice> {
    let recorded = recorded_mode(&args.out, &internal.join(MODE_FILE), args.gemini)?;
    Ok(Choice::Use(
        recorded.or(args.gemini).unwrap_or(GeminiMode::Sim),
    ))
}

/// Chooses the Gemini for a host that accepts any manifest. The default is the simulated one, even
/// if an API key is set.
pub(super) fn choose_for_serve(
    args: &ServeArgs,
    internal: &Path,
    variables: &Variables,
) -> anyhow::Result<Choice> {
    choose_once(&args.out, internal, args.gemini, |requested| {
        ask_before_spending(
            requested.or(Some(GeminiMode::Sim)),
            args.yes,
            variables,
            "the cost of every manifest that is dropped",
        )
    })
}

/// Calls `choose` with the mode of the folder or, for a new folder, with the requested mode, and
/// records the choice. A folder keeps the mode that it was first used with.
fn choose_once(
    out: &Path,
    internal: &Path,
    requested: Option<GeminiMode>,
    choose: impl FnOnce(Option<GeminiMode>) -> anyhow::Result<Choice>,
) -> anyhow::Result<Choice> {
    let file = internal.join(MODE_FILE);
    let recorded = recorded_mode(out, &file, requested)?;
    let choice = choose(recorded.or(requested))?;
    if let (None, Choice::Use(mode)) = (recorded, choice) {
        let name = if mode == GeminiMode::Live {
            "live"
        } else {
            "sim"
        };
        // The write is durable even in simulated mode. If a power failure erased the file, the next
        // run could add real images to the folder.
        Disk::durable().replace(&file, name.as_bytes())?;
    }
    Ok(choice)
}

/// Returns the recorded mode of a folder, if there is one.
///
/// # Errors
/// Returns an error if another mode is requested, or the file can't be read.
fn recorded_mode(
    out: &Path,
    file: &Path,
    requested: Option<GeminiMode>,
) -> anyhow::Result<Option<GeminiMode>> {
    let recorded = match fs::read_to_string(file) {
        Ok(text) if text == "live" => Some(GeminiMode::Live),
        Ok(_) => Some(GeminiMode::Sim),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("can't read {}", file.display()));
        }
    };
    match (recorded, requested) {
        (Some(GeminiMode::Sim), Some(GeminiMode::Live)) => {
            anyhow::bail!(
                "{} contains simulated images: choose another folder with --out",
                out.display()
            )
        }
        (Some(GeminiMode::Live), Some(GeminiMode::Sim)) => {
            anyhow::bail!(
                "{} contains real images: choose another folder with --out",
                out.display()
            )
        }
        (Some(_), _) | (None, _) => Ok(recorded),
    }
}

/// Returns the requested mode if it may be used, and asks the user if it costs money. `consented`
/// means that the user already agreed with `--yes`.
fn ask_before_spending(
    requested: Option<GeminiMode>,
    consented: bool,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    // A question needs someone who reads it and can answer it.
    let has_key = variables.optional("GEMINI_API_KEY").is_some();
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    match requested {
        Some(GeminiMode::Sim) => Ok(Choice::Use(GeminiMode::Sim)),
        Some(GeminiMode::Live) if !has_key => {
            anyhow::bail!("missing API key: the real Gemini needs it in GEMINI_API_KEY")
        }
        Some(GeminiMode::Live) if consented => Ok(Choice::Use(GeminiMode::Live)),
        Some(GeminiMode::Live) if at_terminal => {
            let yes = ask(&format!("Spend {price}, with the real Gemini API? [y/N] "))?;
            Ok(if yes {
                Choice::Use(GeminiMode::Live)
            } else {
                Choice::Exit(Exit::Declined)
            })
        }
        Some(GeminiMode::Live) => {
            eprintln!("This would spend {price}, with the real Gemini API. To agree, add --yes.");
            Ok(Choice::Exit(Exit::Declined))
        }
        // A key is set but no mode was requested. Without a terminal, the free choice is the safe
        // one.
        None if has_key && at_terminal && !consented => {
            let question = format!(
                "GEMINI_API_KEY is set. Spend {price}, with the real Gemini API? \
                 [y/N; N simulates] "
            );
            Ok(Choice::Use(if ask(&question)? {
                GeminiMode::Live
            } else {
                GeminiMode::Sim
            }))
        }
        None => {
            if has_key {
                println!(
                    "GEMINI_API_KEY is set. To make real images for {price}, add --gemini live."
                );
            }
            Ok(Choice::Use(GeminiMode::Sim))
        }
    }
}

/// Asks a question at the terminal. Every answer other than yes means no.
fn ask(question: &str) -> io::Result<bool> {
    print!("{question}");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
