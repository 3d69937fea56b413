//! Preparing a statement proves little: every public function is executed on both engines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The text that a test of a public function has: `module::name(`, or `.name(` / `::name(`
/// for one that belongs to a type.
fn calls_wanted(path: &Path) -> Vec<String> {
    let source = fs::read_to_string(path).unwrap();
    let mut wanted = vec![];
    for line in source.lines() {
        let free = !line.starts_with(' ');
        let Some(rest) = line.trim_start().strip_prefix("pub ") else {
            continue;
        };
        let rest = rest.strip_prefix("async ").unwrap_or(rest);
        let Some(rest) = rest.strip_prefix("fn ") else {
            continue;
        };
        let name = rest.split(['(', '<']).next().unwrap();
        wanted.push(if free {
            format!("{}::{name}(", stem(path))
        } else {
            format!("{name}(")
        });
    }
    wanted
}

#[test]
fn every_public_function_is_called_in_the_tests_that_run_on_both_engines() {
    let tests: String = files("tests/it/both")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // How a test gets and ends its database.
    let harness =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/engines.rs"))
            .unwrap();
    let mut missing = BTreeSet::new();
    // Constructors of errors touch no database.
    for path in files("src").iter().filter(|path| stem(path) != "error") {
        // The clock of this process is asked without a statement.
        for call in calls_wanted(path).into_iter().filter(|c| c != "tx::now(") {
            let qualified = call.contains("::");
            let method = |text: &str| {
                text.contains(&format!(".{call}")) || text.contains(&format!("::{call}"))
            };
            let called = if qualified {
                tests.contains(&call)
            } else {
                method(&tests) || method(&harness)
            };
            if !called {
                missing.insert(format!("{}: {call}…)", stem(path)));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not executed on both engines: {missing:#?}"
    );
}

#[test]
fn the_tests_of_both_engines_are_made_by_the_macro_that_runs_both() {
    for path in files("tests/it/both") {
        let source = fs::read_to_string(&path).unwrap();
        assert!(
            !source.contains("#[test]") && !source.contains("#[tokio::test"),
            "{}: use both!",
            path.display()
        );
    }
}
