#!/usr/bin/env python3
"""The word gate: refuses a list of words in all text that people read.

    tests/words.py [--count] [--identifiers] [TREE]
    tests/words.py --self-test

It reads the files that Git tracks in TREE (by default, the checkout that holds this script).
In Rust, JavaScript and Python, comments and string literals are prose; in every other file, the
whole text is prose. A single token between backticks, a variable of the shell and a name in the
braces of a format string are identifiers, not prose. Retired identifiers are refused in code and
between backticks.

A quotation is allowed by an entry in ALLOWED or by a comment on its line that gives the word and
a reason: `words: allow told: text of Google's error`.

Prints `file:line: word — write …` for each word found and exits with status 1 if there are any.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

# Refused forms, separated by `|`, and what to write instead. A space stands for any white space,
# line breaks included. A word belongs here only if every use of it in this repository is wrong or
# easily avoided.
WORDS = {
    # Sentences without a named subject.
    "whoever|who prefers": "name the actor, or write to the reader: if you …",
    "nobody": "no one, or name what is missing: no caller, no message",
    "somebody": "name the actor: another invocation, another client",
    "a person|a person's": "a user, an operator",
    "becomes of|become of|became of": "handling, outcome, what happens to …",
    "so many": "the given number of …",
    "own words": "own fields",
    # Machines that speak and hear.
    "said": "reported, stated, specified",
    "says": "states, reports, prints, specifies",
    "told": "recognized by, notified, reported",
    "tells": "shows, reports, indicates",
    "hears|heard": "receives, received",
    "rings": "fires",
    "woken": "notified, resumed",
    # Idioms that are not idioms in English, or not in technical English.
    "mend|mends|mended|mending": "fix, repair",
    "beside": "next to, alongside, with",
    "dearer|dearest": "more expensive, most expensive",
    "foretell|foretells|foretold": "predict, estimate, forecast",
    "in vain": "without success; found no …",
    "go on|goes on|going on|went on": "continue, resume",
    "set going|sets going": "start",
    "as good as": "equivalent to, treated as",
    "is over|are over|was over|were over": "has ended, is complete; of a limit: exceeds",
    "of its own|of their own|of our own": "its own …, a separate …",
    "by itself|by themselves": "automatically; alone; on its own",
    "at the most|at the least": "at most, at least",
    "at the latest|at the earliest": "no later than, no earlier than",
    "asked for again|asks for again|ask for again": "retried, requested again",
    "that may pass": "transient",
    "held back": "blocked, paused",
    "done already": "already complete",
    "nothing is lost": "what is kept and how to resume",
    "counts before|count before": "takes precedence over",
    "stands|stood": "is, appears; stands for: represents; stands still: stalls",
    "anew|once more": "again",
    "upon": "on",
    "hand on|hands on|handed on|hand it on|hands it on": "forward, pass on",
    "in hand": "being processed, received",
    "written down|writes down|write down": "recorded, persisted",
    "all the same": "anyway, nevertheless; identical",
    "for good": "permanently",
    "for ever": "forever, indefinitely",
    "be had": "available, obtained",
    "is to be|are to be": "must be, will be",
    "do harm|does harm|no harm": "is harmless, is safe",
    "know of|knows of|known of": "know about, has a record of",
    "aside": "unmatched; apart from",
    # US spelling.
    "behaviour": "behavior",
    "catalogue|catalogues|catalogue's": "catalog",
    "colour|colours|coloured": "color",
    "honour|honours|honoured": "honor",
    "licence|licences": "license",
    "optimise|optimised|organise|organised|recognise|recognised": "the spelling with -ize",
}

# Identifiers that were renamed, separated by `|`, and their new names. `*` stands for the rest of
# a name. Only distinctive names belong here. Letter case counts.
RETIRED = {
    "Aside|aside": "Unmatched, unmatched",
    "aside_usd": "unattributed_usd",
    "AT_ONCE|AHEAD|TRIES": "CONCURRENCY, CHANNEL_CAPACITY, MAX_ATTEMPTS",
    "Behaviour|behaviour|Which": "Scenario, scenario, Selector",
    "Beside|beside": "Sidecar, sidecar",
    "Books|Catalogues": "LedgerStore, CatalogStore",
    "Chance|chance|Draw": "Rng, rng",
    "Findings": "ItemDiagnostics",
    "Intake|intake": "ItemReader, item_reader",
    "is_stopped": "cancel_requested",
    "KEPT_FOR|Kept|other_than": "CACHE_TTL, CachedKey, refresh_after_rejection",
    "MOST_*|LARGEST_*": "MAX_…",
    "Pace|Waits": "CollectLimits, PollBackoff",
    "PartLine|LAST_PART": "ChunkLine, the chunk named rest",
    "PATIENCE|FORGOTTEN|WAITS": "WAITING_JOB_TTL, FAIRNESS_WINDOW, MIN_WAIT and MAX_WAIT",
    "Said": "Declarations",
    "SIGN_OF_LIFE|OVERDUE": "HEARTBEAT_INTERVAL, DRIVER_LOST_AFTER",
    "BATCH_ENDED": "BATCH_MAX_LIFETIME",
    "Spot": "SourceLocation",
    "StandBack": "NotOwner",
    "strikes|careful": "crashes, line_by_line",
    "Swap": "Cas",
    "Tread|Tripwire|Desk": "FaultRule, FaultInjector, PendingRequests",
    "wait_on|hand_on|tell_report": "a variant of Outcome",
}

# Uses that are right: a pattern of paths, a refused form (`*` stands for all) and the reason.
ALLOWED = [
    (r"infra/docs/writing\.md$", "*", "quotes what it advises against"),
    (r"(rejected|nearest|attributes)\.rs$", "colour", "test data: an unknown field, metadata"),
]

# Not this project's prose: lock files, hostile and sample input, expected output, licenses and
# Google's schema. This script is skipped too, because it contains the list.
SKIPPED = re.compile(
    r"(^|/)(Cargo\.lock|package-lock\.json|LICENSE[^/]*|gemini\.schema\.json)$"
    r"|\.(expected|snap|dict)$|^tests/corpus/|^events/manifests/|^tests/words\.py$"
)

# Comments and string literals (the group `prose`), by the suffix of the file.
STRING = r'"(?:[^"\\]|\\.)*"'
QUOTED = r"'(?:[^'\\\n]|\\.)*'"
SLASHES = r"//[^\n]*|/\*.*?\*/"
LITERALS = {
    # The second alternative matches characters, so that '"' does not open a string.
    ".rs": rf'(?P<prose>{SLASHES}|\b[bc]?r(?P<hashes>#*)".*?"(?P=hashes)|{STRING})'
    r"|'(?:[^'\\\n]|\\[^\n]+?)'",
    ".js": rf"(?P<prose>{SLASHES}|{STRING}|{QUOTED}|`(?:[^`\\]|\\.)*`)",
    ".mjs": rf"(?P<prose>{SLASHES}|{STRING}|{QUOTED}|`(?:[^`\\]|\\.)*`)",
    ".py": rf'(?P<prose>#[^\n]*|""".*?"""|{STRING}|{QUOTED})',
}
LITERALS = {suffix: re.compile(pattern, re.DOTALL) for suffix, pattern in LITERALS.items()}

# A single token between backticks.
TOKEN = re.compile(r"(?<!`)`[^`\s]+`(?!`)")

# Parts of prose that are not words: comment markers, escapes, names in braces, shell variables.
NOISE = re.compile(
    r"^[ \t]*(?://[/!]?|#+)|\\[nrt]|\\$|\{\w*(?::[^{}\s]*)?\}|\$\{?\w+|\b\w+=", re.MULTILINE
)


def blank(text):
    """Replaces everything but white space by NUL, which no pattern matches."""
    return re.sub(r"\S", "\0", text)


def split(path, text):
    """Splits a file into its prose and its code; both keep the length and lines of the file."""
    literals = LITERALS.get(Path(path).suffix)
    if literals is None:
        prose, code = text, blank(text)
    else:
        prose, code, end = "", "", 0
        for match in literals.finditer(text):
            between, literal = text[end : match.start()], match.group()
            prose += blank(between) + (literal if match["prose"] else blank(literal))
            code += between + blank(literal)
            end = match.end()
        prose, code = prose + blank(text[end:]), code + text[end:]

    # Identifiers in prose count as code.
    for token in TOKEN.finditer(prose):
        code = code[: token.start()] + token.group() + code[token.end() :]
    prose = TOKEN.sub(lambda token: blank(token.group()), prose)

    # Spaces, not NUL: a phrase may continue on the next line of a comment.
    return NOISE.sub(lambda noise: " " * len(noise.group()), prose), code


def forms(entries):
    """Maps each single form of WORDS or RETIRED to what to write instead."""
    return {form: better for entry, better in entries.items() for form in entry.split("|")}


def pattern_of(entries, flags=0):
    """Builds a pattern that matches any form as a whole word; the longest form wins."""
    alternatives = "|".join(
        re.escape(form).replace(r"\ ", r"\s+").replace(r"\*", r"\w+")
        for form in sorted(forms(entries), key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", flags)


REFUSED, REFUSED_NAMES = pattern_of(WORDS, re.IGNORECASE), pattern_of(RETIRED)
BETTER, BETTER_NAMES = forms(WORDS), forms(RETIRED)


def better_name(name):
    """Looks a retired identifier up, by its beginning where the list has a `*`."""
    return next(
        better
        for form, better in BETTER_NAMES.items()
        if re.fullmatch(form.replace("*", r"\w+"), name)
    )


def is_allowed(path, word, line):
    """Whether a comment on the line or an entry in ALLOWED permits this use."""
    if re.search(rf"words: allow {re.escape(word)}: \S", line, re.IGNORECASE):
        return True
    return any(re.search(where, path) and form in ("*", word) for where, form, _ in ALLOWED)


def findings(path, text, identifiers=False):
    """Returns (line number, word, what to write instead) for each refused word in a file."""
    prose, code = split(path, text)
    if identifiers:
        # Search everything, with snake_case and CamelCase split into words.
        prose = re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", text)

    found = []
    for match in REFUSED.finditer(prose):
        word = " ".join(match.group().lower().split())
        found.append((prose.count("\n", 0, match.start()) + 1, word, BETTER[word]))
    for match in REFUSED_NAMES.finditer(code):
        name = match.group()
        found.append((code.count("\n", 0, match.start()) + 1, name, better_name(name)))

    lines = text.split("\n")
    return [
        (number, word, better)
        for number, word, better in sorted(found)
        if not is_allowed(path, word, lines[number - 1])
    ]


def tracked(tree):
    """Yields the path and text of each tracked file that the gate covers."""
    command = ["git", "-C", tree, "ls-files", "-z"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for path in filter(None, listing.split("\0")):
        file = Path(tree, path)
        if SKIPPED.search(path) or not file.is_file():
            continue
        try:
            yield path, file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # An image or an archive.


def self_test():
    """Null controls: every listed form is refused where it should be, and clean text passes."""

    def expect(path, text, *words, **options):
        found = [word for _, word, _ in findings(path, text, **options)]
        assert found == list(words), f"{path}: {text!r}: found {found}, expected {list(words)}"

    # Each word, in each kind of text.
    for form in BETTER:
        expect("a.md", f"One text, {form.upper()}, and more.", form)
        expect("a.yaml", f"Description: one {form} two", form)
        expect("run", f"echo 'one {form} two'", form)
        expect("a.rs", f"/// One {form} two.\nfn f() {{}}", form)
        expect("a.rs", "// One " + form.replace(" ", "\n    // "), form)
        expect("a.rs", f'let text = "one {form} two";', form)
        expect("a.py", f'call()  # One {form} two.\n"""One {form} two."""', form, form)
        expect("a.mjs", f'const text = "one {form} two";', form)

    # Each retired name, but not as a part of another name.
    for form in BETTER_NAMES:
        name = form.replace("*", "BYTES")
        expect("a.rs", f"use crate::{name};", name)
        expect("a.md", f"The type `{name}` was renamed.", name)
        expect("a.rs", f"fn new_{name}() {{}}")

    # Clean text, identifiers and literals that could confuse the lexer.
    expect("a.md", "Transient failures are retried automatically, up to three attempts in total.")
    expect("a.md", "The function `told` and the verb retold.")
    expect("run", 'told="$(run)"; echo "$told"')
    expect("a.rs", "fn told<'a>(said: &'a str) -> char { '\"' } // A quote: \".\nlet says = said;")
    expect("a.rs", r"""let quotes = ("a\"b", r#"c"d"#, '\'', b"e"); told();""")
    expect("a.rs", 'format!("{told:?} {}", said)')

    # Identifiers only on request, and exceptions only with a reason.
    expect("a.rs", "fn told_by() {} struct ToldBy;", "told", "told", identifiers=True)
    expect("a.rs", '"was told" // words: allow told: text of an error of Google')
    expect("a.rs", '"was told" // words: allow told:', "told", "told")

    # A phrase is reported at the line where it starts.
    assert findings("a.rs", "//\n/// In\n/// vain.")[0][:2] == (2, "in vain")
    assert SKIPPED.search("tests/fuzz/Cargo.lock") and not SKIPPED.search("README.md")


def main():
    parser = argparse.ArgumentParser(description="Refuse a list of words in text for people.")
    parser.add_argument("tree", nargs="?", default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--count", action="store_true", help="print only the number of words")
    parser.add_argument("--identifiers", action="store_true", help="search identifiers too")
    parser.add_argument("--self-test", action="store_true", help="test the gate itself")
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test()
        return 0

    count = 0
    for path, text in tracked(arguments.tree):
        for line, word, better in findings(path, text, arguments.identifiers):
            count += 1
            if not arguments.count:
                print(f"{path}:{line}: {word} — write {better}")
    if arguments.count:
        print(count)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
