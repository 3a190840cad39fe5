"""Tests how infra/package packs programs, with made-up ones. Run by tests/checks."""

import contextlib
import importlib.util
import io
import sys
import tempfile
import unittest
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True  # keeps the source folder free of compiled files
loader = SourceFileLoader("package", str(ROOT / "infra/package"))
package = importlib.util.module_from_spec(importlib.util.spec_from_loader("package", loader))
loader.exec_module(package)


class Package(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        for function in package.FUNCTIONS:
            (self.out / function).mkdir()
            (self.out / function / "bootstrap").write_bytes(f"#!/bin/sh\n# {function}\n".encode())

    def packed(self):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            package.pack(self.out, self.out, "x86_64")
        return printed.getvalue()

    def test_the_same_programs_are_the_same_bytes(self):
        self.packed()
        first = {path.name: path.read_bytes() for path in self.out.glob("*.*")}
        for function in package.FUNCTIONS:
            program = self.out / function / "bootstrap"
            program.write_bytes(program.read_bytes())
            program.chmod(0o600)
        self.packed()
        self.assertEqual(first, {path.name: path.read_bytes() for path in self.out.glob("*.*")})
        self.assertEqual(len(first), len(package.FUNCTIONS) + 1)

    def test_lambda_may_run_what_is_in_the_zip(self):
        self.packed()
        with zipfile.ZipFile(self.out / "poll.zip") as archive:
            [entry] = archive.infolist()
            self.assertEqual((entry.filename, entry.external_attr >> 16), ("bootstrap", 0o100755))
            self.assertIn(b"# poll", archive.read(entry))

    def test_the_template_names_the_zips_and_their_architecture(self):
        self.packed()
        lines = [line.strip() for line in (self.out / "template.yaml").read_text().splitlines()]
        sources = [line for line in lines if line.startswith("CodeUri:")]
        self.assertEqual(sources, [f"CodeUri: {function}.zip" for function in package.FUNCTIONS])
        default = lines[lines.index("Architecture:") + 2]
        self.assertEqual(default.split(" #")[0], "Default: x86_64")

    def test_a_program_for_a_newer_glibc_is_refused(self):
        (self.out / "plan" / "bootstrap").write_bytes(b"\0GLIBC_2.34\0GLIBC_2.38\0")
        with self.assertRaisesRegex(SystemExit, "plan was linked against glibc 2.38"):
            self.packed()


if __name__ == "__main__":
    unittest.main()
