//! GeminiMode Gemini answers, and whether money may be spent.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use disk::Disk;
use seam::environment::Variables;

use super::{Exit, GeminiMode, RunArgs, ServeArgs};

/// The file that says which Gemini answered in a folder: simulated and real images are not to be
/// mixed.
const KEPT: &str = "gemini-is";

/// The Gemini that will answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one.
    Use(GeminiMode),
    /// None: the command ends.
    End(Exit),
}

/// Decides by the folder, the arguments, the key, and what the person at the terminal answers to
/// `price`. A `finished` job needs no money.
pub(super) fn choose(
    args: &RunArgs,
    internal: &Path,
    finished: bool,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    keep(&args.out, internal, args.gemini, |wanted| match wanted {
        Some(GeminiMode::Live) if finished => Ok(Choice::Use(GeminiMode::Live)),
        wanted => choose_new(wanted, args.yes, variables, price),
    })
}

/// Decides for a manifest that asks for an estimate only. It needs no money, and leaves a new
/// folder free for either Gemini.
pub(super) fn choose_for_estimate(args: &RunArgs, internal: &Path) -> anyhow::Result<Choice> {
    let kept = kept(&args.out, &internal.join(KEPT), args.gemini)?;
    Ok(Choice::Use(kept.or(args.gemini).unwrap_or(GeminiMode::Sim)))
}

/// Decides for a host that takes whatever is dropped: the simulated one, unless told otherwise.
pub(super) fn choose_for_all(
    args: &ServeArgs,
    internal: &Path,
    variables: &Variables,
) -> anyhow::Result<Choice> {
    keep(&args.out, internal, args.gemini, |wanted| {
        choose_new(
            wanted.or(Some(GeminiMode::Sim)),
            args.yes,
            variables,
            "what each manifest costs",
        )
    })
}

/// Has `choose` decide for a new folder; a folder stays with the Gemini it began with.
fn keep(
    out: &Path,
    internal: &Path,
    wanted: Option<GeminiMode>,
    choose: impl FnOnce(Option<GeminiMode>) -> anyhow::Result<Choice>,
) -> anyhow::Result<Choice> {
    let file = internal.join(KEPT);
    let kept = kept(out, &file, wanted)?;
    let choice = choose(kept.or(wanted))?;
    if let (None, Choice::Use(which)) = (kept, choice) {
        let name = if which == GeminiMode::Live {
            "live"
        } else {
            "sim"
        };
        // A folder that forgot it could mix real images with simulated ones.
        Disk::durable().replace(&file, name.as_bytes())?;
    }
    Ok(choice)
}

/// The Gemini that a folder began with, if it has begun with one; another can't be `wanted`.
fn kept(out: &Path, file: &Path, wanted: Option<GeminiMode>) -> anyhow::Result<Option<GeminiMode>> {
    let kept = match fs::read_to_string(file) {
        Ok(text) if text == "live" => Some(GeminiMode::Live),
        Ok(_) => Some(GeminiMode::Sim),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    match (kept, wanted) {
        (Some(GeminiMode::Sim), Some(GeminiMode::Live)) => {
            anyhow::bail!(
                "{} holds simulated images: choose another folder with --out",
                out.display()
            )
        }
        (Some(GeminiMode::Live), Some(GeminiMode::Sim)) => {
            anyhow::bail!(
                "{} holds real images: choose another folder with --out",
                out.display()
            )
        }
        (Some(_), _) | (None, _) => Ok(kept),
    }
}

fn choose_new(
    wanted: Option<GeminiMode>,
    agreed: bool,
    variables: &Variables,
    price: &str,
) -> anyhow::Result<Choice> {
    let has_key = variables.optional("GEMINI_API_KEY").is_some();
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    match wanted {
        Some(GeminiMode::Sim) => Ok(Choice::Use(GeminiMode::Sim)),
        Some(GeminiMode::Live) if !has_key => {
            anyhow::bail!("--gemini live needs your API key in GEMINI_API_KEY")
        }
        Some(GeminiMode::Live) if agreed => Ok(Choice::Use(GeminiMode::Live)),
        Some(GeminiMode::Live) if at_terminal => {
            let yes = ask(&format!("Spend {price} with the real Gemini API? [y/N] "))?;
            Ok(if yes {
                Choice::Use(GeminiMode::Live)
            } else {
                Choice::End(Exit::Declined)
            })
        }
        Some(GeminiMode::Live) => {
            eprintln!("The real Gemini API would be paid {price}: say --yes to agree.");
            Ok(Choice::End(Exit::Declined))
        }
        None if has_key && at_terminal && !agreed => {
            let question = format!(
                "GEMINI_API_KEY is set. Spend {price} with the real Gemini API? [y/N: simulate] "
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
                    "GEMINI_API_KEY is set: --gemini live would make real images for {price}."
                );
            }
            Ok(Choice::Use(GeminiMode::Sim))
        }
    }
}

fn ask(question: &str) -> io::Result<bool> {
    print!("{question}");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
