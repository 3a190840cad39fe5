"""Tests how infra/package packs programs and how it uses what infra/release has archived, with
made-up programs. Run by tests/checks. Compiles nothing."""

import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import unittest.mock
import urllib.error
import urllib.request
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True  # keeps the source folder free of compiled files
loader = SourceFileLoader("release", str(ROOT / "infra/release"))
release = importlib.util.module_from_spec(importlib.util.spec_from_loader("release", loader))
loader.exec_module(release)
package = release.package


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


    def test_flags_rename_the_folders_that_a_program_would_contain(self):
        with unittest.mock.patch.dict(os.environ, {"CARGO_HOME": "/a user/cargo", "RUSTFLAGS": "-C opt-level=3"}):
            os.environ.pop("CARGO_ENCODED_RUSTFLAGS", None)
            flags = package.reproducible()["CARGO_ENCODED_RUSTFLAGS"].split("\x1f")
        self.assertEqual(flags[:2], ["-C", "opt-level=3"])
        self.assertIn(f"--remap-path-prefix={ROOT}=/darkroom", flags)
        self.assertIn("--remap-path-prefix=/a user/cargo=/cargo", flags)


def program(function, arch):
    """Returns a made-up program: the header of an ELF file, and a name."""
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + b"\3\0" + package.ELF_MACHINES[arch].to_bytes(2, "little")
    return header + f" {function}".encode()


class ReleaseCase(unittest.TestCase):
    """A release for arm64 in the folder `dist`, made from the packages in `built`."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.dist, self.out = self.folder / "dist", self.folder / "target/lambda/arm64"
        self.built = self.build("built", "arm64")
        self.archive = release.archive_functions(self.built, "arm64", self.dist)
        release.write_sums(self.dist)

    def build(self, name, arch):
        built = self.folder / name
        for function in package.FUNCTIONS:
            (built / function).mkdir(parents=True)
            (built / function / "bootstrap").write_bytes(program(function, arch))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            package.pack(built, built, arch)
        self.printed = printed.getvalue()
        return built

    def use(self, source=None, arch="arm64"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            package.use_release(str(source or self.dist), arch, self.out)
        return printed.getvalue()

    def refused(self, message, *arguments):
        """Asserts that the release is refused with `message`, and that nothing has changed."""
        before = files_below(self.folder / "target")
        with self.assertRaisesRegex(SystemExit, f"(?s)^infra/package: .*{message}"):
            self.use(*arguments)
        self.assertEqual(files_below(self.folder / "target"), before)

    def archived(self, *members, without=()):
        """Adds members to the archive, leaves out others, and corrects its checksum."""
        with tarfile.open(self.archive) as old:
            kept = [(member, old.extractfile(member).read()) for member in old if member.name not in without]
        with tarfile.open(self.archive, "w") as new:
            for member, content in [*kept, *members]:
                new.addfile(member, io.BytesIO(content))
        release.write_sums(self.dist)


class Release(ReleaseCase):
    def test_a_release_gives_the_files_and_the_output_of_a_build(self):
        printed = self.use()
        built = {name: (self.built / name).read_bytes() for name in package.PACKED}
        self.assertEqual(files_below(self.out), built)
        self.assertEqual(printed.splitlines()[:-1], self.printed.splitlines()[:-1])
        self.assertEqual(printed.splitlines()[-1], str(self.out / "template.yaml"))

    def test_a_release_replaces_an_older_build_and_leaves_nothing_else(self):
        (self.out / "plan").mkdir(parents=True)
        (self.out / "plan/bootstrap").write_bytes(b"older")
        self.use()
        self.assertEqual(sorted(files_below(self.out)), sorted(package.PACKED))
        self.assertEqual(os.listdir(self.out.parent), ["arm64"])

    def test_a_failure_of_the_disk_keeps_the_older_build(self):
        self.out.mkdir(parents=True)
        (self.out / "plan.zip").write_bytes(b"older")
        rename = Path.rename

        def fail(path, to):
            if path.name == "new":
                raise OSError("no space left on device")
            return rename(path, to)

        with unittest.mock.patch.object(Path, "rename", fail), self.assertRaises(OSError):
            self.use()
        self.assertEqual(files_below(self.folder / "target"), {"lambda/arm64/plan.zip": b"older"})

    def test_the_command_needs_neither_rust_nor_a_compiler(self):
        # Nothing but this Python can be found, so a call of any other program fails.
        (self.folder / "bin").mkdir()
        (self.folder / "bin/python3").symlink_to(sys.executable)
        environment = {"PATH": str(self.folder / "bin"), "CARGO_TARGET_DIR": str(self.folder / "target")}
        command = [sys.executable, ROOT / "infra/package", "--from", self.archive]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sorted(files_below(self.out)), sorted(package.PACKED))

    def test_the_same_files_are_the_same_archive(self):
        first = self.archive.read_bytes()
        again = shutil.copytree(self.built, self.folder / "again")
        for path in again.iterdir():
            path.chmod(0o700)
            os.utime(path, (0, 0))
        self.assertEqual(release.archive_functions(again, "arm64", self.folder / "other").read_bytes(), first)
        with tarfile.open(self.archive) as archive:
            self.assertEqual(archive.getnames(), sorted(package.PACKED))
            owners = {(member.uid, member.gid, member.uname, member.gname, member.mtime, member.mode) for member in archive}
        self.assertEqual(owners, {(0, 0, "", "", release.TIME, 0o644)})

        # A change of any input changes the archive.
        (again / "poll.zip").write_bytes((again / "plan.zip").read_bytes())
        self.assertNotEqual(release.archive_functions(again, "arm64", self.folder / "other").read_bytes(), first)

    def test_a_compressed_archive_is_the_same_too_and_keeps_modes(self):
        files = {"darkroom": (0o755, b"program"), "LICENSE": (0o644, b"text")}
        first = release.write_tar(self.folder / "first.tar.gz", files)
        second = release.write_tar(self.folder / "second.tar.gz", dict(reversed(files.items())))
        self.assertEqual(first.read_bytes(), second.read_bytes())
        with tarfile.open(first) as archive:
            modes = {member.name: member.mode for member in archive}
        self.assertEqual(modes, {"LICENSE": 0o644, "darkroom": 0o755})

    def test_sums_are_those_of_sha256sum(self):
        digest = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        self.assertEqual((self.dist / "SHA256SUMS").read_text(), f"{digest}  {self.archive.name}\n")

    def test_a_flipped_byte_is_refused_in_every_part_of_the_archive(self):
        content = bytearray(self.archive.read_bytes())
        for position in range(0, len(content), len(content) // 16):
            content[position] ^= 1
            self.archive.write_bytes(content)
            self.refused("darkroom-functions-arm64.tar is damaged .* download both files again")
            content[position] ^= 1
        self.archive.write_bytes(content)
        self.use()

    def test_missing_files_are_refused(self):
        (self.dist / "SHA256SUMS").rename(self.folder / "sums")
        self.refused("SHA256SUMS is missing: download it")
        self.refused("SHA256SUMS is missing: download it", self.archive)
        self.refused("darkroom-functions-x86_64.tar is missing: download it", self.dist, "x86_64")
        self.refused("no such file or folder: .*nowhere", self.folder / "nowhere")

    def test_sums_that_do_not_list_the_archive_once_are_refused(self):
        sums = self.dist / "SHA256SUMS"
        line = sums.read_text()
        digest = line.split()[0]
        for wrong in ["", "<!doctype html>", line.replace("arm64", "x86_64"), line + line.replace(digest, "0" * 64)]:
            sums.write_text(wrong)
            self.refused("SHA256SUMS must list darkroom-functions-arm64.tar with one checksum")
        sums.write_text(line.replace("  ", " *"))
        self.use()

    def test_a_renamed_archive_is_refused(self):
        renamed = self.archive.rename(self.dist / "functions.tar")
        self.refused("SHA256SUMS must list functions.tar with one checksum, .* do not rename them", renamed)

    def test_members_outside_the_folder_are_refused(self):
        for name in ["../plan.zip", "/tmp/plan.zip", "plan/../../plan.zip"]:
            self.archived((tarfile.TarInfo(name), b""), without=[name])
            self.refused(f"contains '{name}', a path outside its folder: do not use this archive")
            self.archived(without=[name])
        self.use()

    def test_links_and_other_special_members_are_refused(self):
        kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
        for kind in kinds:
            member = tarfile.TarInfo("plan.zip")
            member.type, member.linkname = kind, "poll.zip"
            self.archive.unlink()
            release.archive_functions(self.built, "arm64", self.dist)
            self.archived((member, b""), without=["plan.zip"])
            self.refused("contains 'plan.zip', which is a link or no regular file")

    def test_members_that_are_unknown_repeated_or_missing_are_refused(self):
        self.archived((tarfile.TarInfo("more.zip"), b""))
        self.refused("contains 'more.zip' unexpectedly or twice: use infra/package of the same version")
        self.archived((tarfile.TarInfo("plan.zip"), b""), without=["more.zip"])
        self.refused("contains 'plan.zip' unexpectedly or twice")
        self.archived(without=["plan.zip"])
        self.refused("lacks plan.zip: use infra/package of the same version")

    def test_what_is_no_archive_is_refused(self):
        for content in [b"", b"<!doctype html>" * 100, self.archive.read_bytes()[:1000]]:
            self.archive.write_bytes(content)
            release.write_sums(self.dist)
            self.refused("darkroom-functions-arm64.tar (is no readable tar archive|lacks)")

    def test_a_damaged_zip_is_refused(self):
        member = tarfile.TarInfo("plan.zip")
        member.size = 4
        self.archived((member, b"PK\3\4"), without=["plan.zip"])
        self.refused("plan.zip in darkroom-functions-arm64.tar is damaged")

    def test_another_architecture_is_refused(self):
        self.refused("darkroom-functions-arm64.tar is for arm64, not x86_64: leave out --arch", self.archive, "x86_64")

        # Programs for the other machine, although the names and the checksum are right.
        other = self.build("other", "x86_64")
        with self.assertRaisesRegex(SystemExit, "plan.zip in .* is for x86_64, not arm64: build it again for arm64"):
            release.archive_functions(other, "arm64", self.dist)
        files = {name: (0o644, (other / name).read_bytes()) for name in package.PACKED}
        release.write_tar(self.archive, files)
        release.write_sums(self.dist)
        self.refused("plan.zip in darkroom-functions-arm64.tar is for x86_64, not arm64")

        # The right programs with the template of the other machine.
        files |= {name: (0o644, (self.built / name).read_bytes()) for name in package.PACKED if name.endswith(".zip")}
        release.write_tar(self.archive, files)
        release.write_sums(self.dist)
        self.refused("template.yaml in darkroom-functions-arm64.tar is for another architecture, not arm64")

    def test_a_version_is_refused_because_no_repository_is_known(self):
        self.refused("v1.2.3 is a version, and Cargo.toml names no repository", "v1.2.3")
        # If this fails, a version can be downloaded from that repository: implement it.
        self.assertNotIn("\nrepository", (ROOT / "Cargo.toml").read_text())

    def test_an_incomplete_build_is_not_archived(self):
        (self.built / "poll.zip").unlink()
        with self.assertRaisesRegex(SystemExit, "poll.zip is missing: run infra/package --arch arm64 first"):
            release.archive_functions(self.built, "arm64", self.dist)


class Web(ReleaseCase):
    """The release at an address. Nothing is downloaded: the tests answer in place of the server."""

    def setUp(self):
        super().setUp()
        self.requested = []
        opener = unittest.mock.patch.object(urllib.request.OpenerDirector, "open", lambda _, url, timeout: self.answer(url))
        opener.start()
        self.addCleanup(opener.stop)

    def answer(self, url):
        self.requested.append(url)
        path = self.dist / url.rpartition("/")[2]
        if not path.exists():
            raise urllib.error.HTTPError(url, 404, "Not Found", None, io.BytesIO())
        return io.BytesIO(path.read_bytes())

    def test_an_address_of_a_folder_of_an_archive_and_of_a_github_release(self):
        files = "https://github.com/o/r/releases/download/v1.2.3"
        for address in [files, f"{files}/", f"{files}/{self.archive.name}", "https://github.com/o/r/releases/tag/v1.2.3"]:
            self.requested.clear()
            self.use(address)
            self.assertEqual(self.requested, [f"{files}/{self.archive.name}", f"{files}/SHA256SUMS"])
            self.assertEqual(sorted(files_below(self.out)), sorted(package.PACKED))

    def test_a_missing_file_names_its_address(self):
        (self.dist / "SHA256SUMS").unlink()
        self.refused("https://example.com/a/SHA256SUMS answers 404 Not Found: check the address", "https://example.com/a")

    def test_addresses_that_cannot_work_are_refused_and_no_secret_is_printed(self):
        self.refused("must begin with https://: http://example.com/a", "http://example.com/a")
        for address in ["https://example.com/a.tar?Signature=s3cret", "https://me:s3cret@example.com/a"]:
            with self.assertRaisesRegex(SystemExit, "has no user, no query and no fragment") as refused:
                self.use(address)
            self.assertNotIn("s3cret", str(refused.exception))
        self.assertEqual(self.requested, [])

    def test_a_redirect_without_https_is_not_followed(self):
        request = urllib.request.Request("https://example.com/a")
        with self.assertRaisesRegex(urllib.error.URLError, "without https"):
            package.HttpsOnly().redirect_request(request, None, 302, "Found", {}, "http://example.com/a")
        followed = package.HttpsOnly().redirect_request(request, None, 302, "Found", {}, "https://example.org/a")
        self.assertEqual(followed.full_url, "https://example.org/a")


class Notes(unittest.TestCase):
    CHANGELOG = "# Changelog\n\n## 0.2.0 (2027-01-31)\n\n### A\n\n- New.\n\n## 0.1.0\n\n- Old.\n"

    def test_the_section_of_the_version_is_printed(self):
        self.assertEqual(release.notes("v0.2.0", "0.2.0", self.CHANGELOG), "### A\n\n- New.")
        self.assertEqual(release.notes("v0.1.0", "0.1.0", self.CHANGELOG), "- Old.")

    def test_a_tag_without_its_version_or_its_section_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "the tag must be v0.2.0, .* but is v0.2.1"):
            release.notes("v0.2.1", "0.2.0", self.CHANGELOG)
        with self.assertRaisesRegex(SystemExit, 'no section "## 0.3.0"'):
            release.notes("v0.3.0", "0.3.0", self.CHANGELOG)
        with self.assertRaisesRegex(SystemExit, "0.2.0 is unreleased: replace"):
            release.notes("v0.2.0", "0.2.0", self.CHANGELOG.replace("2027-01-31", "unreleased"))


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    unittest.main()
