//! What the documentation names is there: paths in code spans, and the targets of links.

use std::path::{Path, PathBuf};

use super::files::files;
use super::{none, root};

/// The pages, by their path from the root. Entries of the changelog are of their time.
fn pages() -> impl Iterator<Item = (PathBuf, String)> {
    let pages = files().into_iter().filter(|path| {
        path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("CHANGELOG.md")
    });
    pages.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_owned(), text)
    })
}

/// Code spans of one line that look like a path of this repository: `crates/agent/src/ledger.rs`,
/// or `agent/ledger.rs` for short. `{a,b}` and `*` end what is looked for.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let spans = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| {
        let first = span.split('/').next().unwrap_or_default();
        let known = ["crates", "docs", "scripts", "contrib"];
        span.contains('/')
            && !span.contains(char::is_whitespace)
            && (known.contains(&first)
                || !first.is_empty() && root().join("crates").join(first).is_dir())
    })
}

fn is_there(path: &str) -> bool {
    let named = path.split(['*', '{']).next().unwrap_or_default();
    let named = if named == path {
        named
    } else {
        named.rsplit_once('/').map_or("", |(to, _)| to)
    };
    let (first, rest) = named.split_once('/').unwrap_or((named, ""));
    let own = root().join("crates").join(first);
    [
        root().join(named),
        own.join(rest),
        own.join("src").join(rest),
    ]
    .iter()
    .any(|path| path.exists())
}

/// The targets of `[text](target)` that are files.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#'))
}

#[test]
fn paths_that_the_documentation_names_exist() {
    let gone = pages().flat_map(|(page, text)| {
        let gone = paths(&text).filter(|path| !is_there(path));
        gone.map(|path| format!("{}: {path}", page.display()))
            .collect::<Vec<_>>()
    });
    none(
        "paths in the documentation that do not exist",
        &gone.collect::<Vec<_>>(),
    );
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let broken = pages().flat_map(|(page, text)| {
        let folder = root().join(&page).parent().unwrap().to_owned();
        let broken = links(&text).filter(|target| !folder.join(target).exists());
        broken
            .map(|target| format!("{}: {target}", page.display()))
            .collect::<Vec<_>>()
    });
    none(
        "links in the documentation that lead nowhere",
        &broken.collect::<Vec<_>>(),
    );
}

/// The lines of a page that are not code, with their numbers. Code is as people type it.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

#[test]
fn lines_of_the_documentation_have_at_most_100_columns() {
    let pages = files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let long = pages.flat_map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        prose(&text)
            .filter(|(_, line)| line.chars().count() > 100)
            .map(|(number, _)| format!("{name}:{number}"))
            .collect::<Vec<_>>()
    });
    none("lines of more than 100 columns", &long.collect::<Vec<_>>());
}

#[test]
fn code_in_a_page_is_no_prose() {
    let page = "one\n```sh\ncode\n```\ntwo";
    assert_eq!(prose(page).collect::<Vec<_>>(), [(1, "one"), (5, "two")]);
}

#[test]
fn a_path_is_found_in_its_long_and_short_form_only_if_it_exists() {
    for path in [
        "crates/lab/src/lib.rs",
        "lab/lib.rs",
        "lab/tests/it",
        "lab/tests/it/*.rs",
        "model/{plan,object}.rs",
    ] {
        assert_eq!(paths(&format!("see `{path}`")).collect::<Vec<_>>(), [path]);
        assert!(is_there(path), "{path}");
    }
    for path in ["crates/lab/src/none.rs", "lab/none.rs", "model/none/*.rs"] {
        assert!(!is_there(path), "{path}");
    }
    for other in ["state_path/links", "/proc/sys", "a/b", "GET lab/none"] {
        assert_eq!(paths(&format!("see `{other}`")).count(), 0, "{other}");
    }
    assert_eq!(
        links("[a](b.md) [c](https://d) [e](#f)").collect::<Vec<_>>(),
        ["b.md"]
    );
    assert!(Path::new(root()).join("README.md").exists());
}
