#!/usr/bin/env python3
"""Prints figures about one checkout, or about two next to each other, as a Markdown table.

    tests/figures.py [TREE]
    tests/figures.py BEFORE AFTER

Production code is the code in the `src` folder of each crate below `functions`, except tests: files
named tests.rs or below a folder named tests, modules that their parent declares under
`#[cfg(test)]`, and such a module at the end of a file. Blank lines and lines with only a comment
are not counted. Both trees are measured with the word list of the gate next to this script.
"""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import words

FUNCTIONS = ["plan", "submit", "poll", "collect", "generate", "report", "thumbs", "control",
             "notify", "sweep"]
MAX_COLUMNS = 100
LONG_FUNCTION = 25

CFG_TEST = r"^[ \t]*#\[cfg\((?:test|any\(test\b[^\]]*\))\)\]\s*(?:#\[[^\]]*\]\s*)*"
VISIBILITY = r"(?:pub(?:\([^)]*\))?\s+)?"
TEST_FILE = re.compile(rf"{CFG_TEST}{VISIBILITY}mod\s+(\w+);", re.MULTILINE)
TEST_MODULE = re.compile(rf"{CFG_TEST}{VISIBILITY}mod\s+\w+\s*\{{", re.MULTILINE)
TYPE = re.compile(rf"^[ \t]*{VISIBILITY}(?:struct|enum|trait)\s+(\w+)", re.MULTILINE)
FUNCTION = re.compile(r"\bfn\s+\w+")
WHY_COMMENT = re.compile(r"^[ \t]*//(?![/!])")
USE = re.compile(rf"^[ \t]*({VISIBILITY})use\s+([^;]+);", re.MULTILINE)
INLINE_PATH = re.compile(r"\b(?:crate|self|super)(?:::\w+)+")


def blanked(text, is_blanked):
    """Replaces the comments and literals for which `is_blanked` holds by spaces."""

    def replace(match):
        return re.sub(r"\S", " ", match.group()) if is_blanked(match.group()) else match.group()

    return words.LITERALS[".rs"].sub(replace, text)


def is_comment(literal):
    return literal.startswith(("//", "/*"))


class Source:
    """One file of production code, without the test module at its end."""

    def __init__(self, text):
        code = blanked(text, lambda literal: True)
        test = TEST_MODULE.search(code)
        self.text = text[: test.start()] if test else text
        # Without comments and literals, so that braces and names are those of the code.
        self.code = code[: len(self.text)]
        # Without comments only: what counts as a line of code.
        self.counted = blanked(self.text, is_comment)

    def lines(self):
        """The lines that hold code, with their comments."""
        pairs = zip(self.text.split("\n"), self.counted.split("\n"))
        return [line for line, counted in pairs if counted.strip()]

    def functions(self):
        """Yields the (first, last) line index of each function that has a body."""
        for match in FUNCTION.finditer(self.code):
            start = body_start(self.code, match.end())
            if start is not None:
                end = closing_brace(self.code, start)
                yield self.code.count("\n", 0, match.start()), self.code.count("\n", 0, end)


def body_start(code, position):
    """The position of the brace that opens a function's body, or None for a declaration."""
    depth = 0
    for index in range(position, len(code)):
        if code[index] in "([":
            depth += 1
        elif code[index] in ")]":
            depth -= 1
        elif depth == 0 and code[index] in "{;":
            return index if code[index] == "{" else None
    return None


def closing_brace(code, position):
    depth = 0
    for index in range(position, len(code)):
        depth += {"{": 1, "}": -1}.get(code[index], 0)
        if depth == 0:
            return index
    return len(code)


def tracked(tree, *patterns):
    command = ["git", "-C", tree, "ls-files", "-z", "--", *patterns]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [path for path in listing.split("\0") if path and Path(tree, path).is_file()]


def module_folder(path):
    """The folder that holds the child modules of a file."""
    return path.parent if path.stem in ("lib", "main", "mod") else path.with_suffix("")


def crates(tree):
    """The production code of each crate below `functions`: {crate: {path below src: Source}}."""
    found = {}
    for manifest in tracked(tree, "functions/**/Cargo.toml"):
        root = PurePosixPath(manifest).parent
        texts = {
            PurePosixPath(path).relative_to(root / "src"): Path(tree, path).read_text("utf-8")
            for path in tracked(tree, f"{root}/src/*.rs")
        }
        # Modules of tests, by their path without the suffix.
        tests = {
            module_folder(path) / name
            for path, text in texts.items()
            for name in TEST_FILE.findall(text)
        }
        found[root.name] = {
            path: Source(text)
            for path, text in texts.items()
            if path.stem != "tests"
            and "tests" not in path.parts
            and not tests & {path.with_suffix(""), *path.parents}
        }
    return found


def use_paths(tree):
    """Yields each path of a use tree: `a::{b, c::d}` gives a::b and a::c::d, as lists."""
    tree = tree.strip()
    before, brace, inside = tree.partition("{")
    if not brace:
        yield re.findall(r"\w+", tree.split(" as ")[0])
        return
    prefix, depth, part = re.findall(r"\w+", before), 0, ""
    for character in inside.rpartition("}")[0] + ",":
        if character == "," and depth == 0:
            if part.strip():
                yield from (prefix + path for path in use_paths(part))
            part = ""
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        part += character


def imports(source):
    """Yields the paths that a file depends on. A re-export is not a dependency of the file."""
    for visibility, tree in USE.findall(source.code):
        if not visibility.strip():
            yield from use_paths(tree)
    for path in INLINE_PATH.findall(USE.sub("", source.code)):
        yield path.split("::")


def absolute(path, module):
    """A path as seen from the root of the crate, or None unless it starts with a keyword."""
    module, path = list(module), list(path)
    if not path or path[0] not in ("crate", "self", "super"):
        return None
    if path[0] == "crate":
        return path[1:]
    while path and path[0] in ("self", "super"):
        if path.pop(0) == "super" and module:
            module.pop()
    return module + path


def import_circles(sources):
    """The groups of files of a crate that import each other, directly or through others."""
    modules = {
        module_folder(path).parts if path.stem != "lib" else (): path
        for path in sources
        if path.name != "main.rs" or PurePosixPath("lib.rs") not in sources
    }
    uses = defaultdict(set)
    for module, path in modules.items():
        for name in imports(sources[path]):
            target = absolute(name, module)
            if target is None:
                if (*module, *name[:1]) not in modules:
                    continue  # Another crate.
                target = [*module, *name]
            # The longest prefix that is a module names the file that holds the item.
            while tuple(target) not in modules:
                target.pop()
            if tuple(target) != module:
                uses[path].add(modules[tuple(target)])

    def reachable(start):
        seen, stack = set(), [start]
        while stack:
            for following in uses[stack.pop()] - seen:
                seen.add(following)
                stack.append(following)
        return seen

    reach = {path: reachable(path) for path in modules.values()}
    circles = {
        frozenset(other for other in reach[path] if path in reach[other])
        for path in reach
        if path in reach[path]
    }
    return sorted(sorted(str(path) for path in circle) for circle in circles)


def listing(number, names):
    return f"{number}: {'; '.join(names)}" if names else str(number)


def share(part, whole):
    return f"{part} ({100 * part / whole:.1f} %)" if whole else str(part)


def measure(tree):
    """Returns all figures of a checkout, in the order of the table: {name: text}."""
    production = crates(tree)
    sizes, over, why, silent = {}, 0, 0, 0
    defined = defaultdict(Counter)
    for crate, sources in production.items():
        sizes[crate] = sum(len(source.lines()) for source in sources.values())
        for source in sources.values():
            over += sum(len(line) > MAX_COLUMNS for line in source.lines())
            lines, code = source.text.split("\n"), source.counted.split("\n")
            inside = set()
            for first, last in source.functions():
                inside.update(range(first, last + 1))
                body = range(first, last + 1)
                commented = any(len(lines[i].rstrip()) > len(code[i].rstrip()) for i in body)
                silent += len(body) > LONG_FUNCTION and not commented
            why += sum(bool(WHY_COMMENT.match(lines[i])) for i in inside)
            for name in TYPE.findall(source.code):
                defined[name][crate] += 1

    circles = [
        f"{crate} ({', '.join(circle)})"
        for crate in FUNCTIONS
        for circle in import_circles(production.get(crate, {}))
    ]
    repeated = {name: sum(c.values()) for name, c in defined.items() if len(c) > 1}
    worst = sorted(repeated, key=lambda name: (-repeated[name], name))[:5]
    rust = [Path(tree, path).read_text("utf-8") for path in tracked(tree, "*.rs")]
    paths = sum(len(re.findall(r"^\s*#\[path\b", text, re.MULTILINE)) for text in rust)
    refused = sum(len(words.findings(path, text)) for path, text in words.tracked(tree))
    total = sum(sizes.values())
    return {
        **{f"production lines: {crate}": str(size) for crate, size in sorted(sizes.items())},
        "production lines": str(total),
        "import circles in functions": listing(len(circles), circles),
        f"code lines over {MAX_COLUMNS} columns": share(over, total),
        "why comments in functions": share(why, total),
        f"functions over {LONG_FUNCTION} lines without a comment": str(silent),
        "lines of the README": str(len(Path(tree, "README.md").read_text("utf-8").splitlines())),
        "refused words": str(refused),
        "`#[path]` attributes": str(paths),
        "type names in several crates": listing(
            len(repeated), [f"{name} {repeated[name]}×" for name in worst]
        ),
    }


def main(trees):
    if len(trees) > 2 or any(tree.startswith("-") for tree in trees):
        sys.exit("usage: tests/figures.py [TREE] | BEFORE AFTER")
    trees = trees or [str(Path(__file__).resolve().parent.parent)]
    columns = [measure(tree) for tree in trees]
    # The crates of either tree come first, then the total and the other figures.
    names = sorted({name for column in columns for name in column if ":" in name})
    names += [name for name in columns[-1] if ":" not in name]
    headings = ["before", "after"] if len(trees) == 2 else ["value"]
    print(f"| figure | {' | '.join(headings)} |\n|---|{'---|' * len(headings)}")
    for name in names:
        print(f"| {name} | {' | '.join(column.get(name, '–') for column in columns)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
