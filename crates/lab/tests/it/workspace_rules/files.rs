//! The form of every file, and what no source may do. Reads the work tree.

use std::path::{Path, PathBuf};

use super::{none, root};

/// A file with more lines has more than one reason to change.
const MAX_LINES: usize = 500;

/// All files of the work tree without build output, downloads and lock files.
pub(super) fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            match entry.file_type().unwrap() {
                kind if kind.is_dir()
                    && ![".git", "target", ".venv"].iter().any(|skip| name == *skip) =>
                {
                    walk(&path, found);
                }
                kind if kind.is_file()
                    && name != ".git"
                    && path.extension().is_none_or(|kind| kind != "lock") =>
                {
                    found.push(path);
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    found
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let sources = files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    sources.map(|path| {
        (
            path.strip_prefix(root()).unwrap().to_owned(),
            std::fs::read_to_string(&path).unwrap(),
        )
    })
}

#[test]
fn every_source_file_has_a_module_head() {
    let silent = sources()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path.display().to_string());
    none("no `//!` on the first line", &silent.collect::<Vec<_>>());
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let long = sources()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES);
    none(
        "files with more than 500 lines",
        &long
            .map(|(path, lines)| format!("{}: {lines}", path.display()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn no_test_is_ignored() {
    // clippy refuses what is left to do (todo, unimplemented, dbg_macro); in pieces, so that this
    // file is not found itself.
    let mark = ["#[ig", "nore"].concat();
    let ignored = sources().filter(|(_, text)| text.contains(&mark));
    let ignored = ignored.map(|(path, _)| path.display().to_string());
    none("ignored tests", &ignored.collect::<Vec<_>>());
}

#[test]
fn files_that_may_read_the_environment_are_few() {
    // clippy.toml forbids it; in pieces, so that this file is not found itself.
    let allowed = ["clippy::disallowed", "_methods"].concat();
    let free = ["crates/cli/src/environment.rs", "crates/lab/src/lib.rs"];
    let found = sources().filter(|(path, text)| {
        text.contains(&allowed)
            && !free.iter().any(|free| path == Path::new(free))
            && !path.components().any(|part| part.as_os_str() == "tests")
    });
    let found = found.map(|(path, _)| path.display().to_string());
    none("files that allow it themselves", &found.collect::<Vec<_>>());
}

/// Whether `path` is named in `line`, and not as the end of a longer path.
fn names(line: &str, path: &str) -> bool {
    let own = |at: usize| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_ascii_alphanumeric() && !"._-".contains(before))
    };
    line.match_indices(path).any(|(at, _)| own(at))
}

#[test]
fn no_file_names_a_path_of_a_developers_machine_or_a_package_registry() {
    // In pieces, so that this file is not found itself.
    let private = [
        ["/wor", "k/"],
        ["/far", "m/"],
        ["/roo", "t/"],
        ["/tmp", "/tgt"],
        ["/tmp", "/wt"],
        ["crates", ".io/"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["deb.debian", ".org"],
    ];
    let private = private.map(|path| path.concat());
    let mut found = Vec::new();
    for path in files() {
        // What is not text names nothing.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            found.extend(
                private
                    .iter()
                    .filter(|private| names(line, private))
                    .map(|private| format!("{}:{}: {private}", path.display(), number + 1)),
            );
        }
    }
    none("paths and hosts of this machine", &found);
}
