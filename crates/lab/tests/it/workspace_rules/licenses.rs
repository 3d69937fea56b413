//! The binary is Apache-2.0: it contains no package that is under a GPL of any kind only. Reads the
//! license expressions in `cargo metadata`.

use std::collections::BTreeSet;

use super::{none, packages};

/// The packages that are linked into the binary: normal dependencies, not those of tests and build
/// scripts.
fn linked() -> BTreeSet<&'static str> {
    let binary = packages()
        .iter()
        .find(|(_, package)| package.name == "novanet-cli")
        .unwrap()
        .0;
    let mut seen = BTreeSet::new();
    let mut next = vec![binary.as_str()];
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            next.extend(
                packages()[id]
                    .uses
                    .iter()
                    .filter(|(_, kind)| *kind == "normal")
                    .map(|(id, _)| id.as_str()),
            );
        }
    }
    seen
}

/// Whether a license expression (SPDX) leaves a choice without a GPL: all operands of AND, one of
/// OR.
fn free_of_gpl(expression: &str) -> bool {
    // The old way to write OR.
    let expression = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = expression.split_whitespace().peekable();
    any_of(&mut words)
}

type Words<'a, I> = std::iter::Peekable<I>;

fn any_of<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> bool {
    let mut free = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        free |= all_of(words);
    }
    free
}

fn all_of<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> bool {
    let mut free = one(words);
    while words.next_if_eq(&"AND").is_some() {
        free &= one(words);
    }
    free
}

fn one<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> bool {
    let word = words.next().unwrap_or("nothing (GPL?)");
    if word == "(" {
        let free = any_of(words);
        words.next();
        return free;
    }
    // An exception does not make a GPL another license.
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    !word.contains("GPL")
}

#[test]
fn license_expressions_are_read_right() {
    for free in [
        "MIT",
        "MIT/Apache-2.0",
        "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
        "(MIT OR GPL-3.0) AND BSD-3-Clause",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(free_of_gpl(free), "{free}");
    }
    for bound in [
        "GPL-3.0",
        "MIT AND LGPL-2.1",
        "AGPL-3.0-only",
        "(MIT OR Apache-2.0) AND (GPL-2.0 WITH Classpath-exception-2.0)",
        "",
    ] {
        assert!(!free_of_gpl(bound), "{bound}");
    }
}

#[test]
fn no_gpl_package_is_in_the_binary() {
    let linked = linked();
    assert!(
        linked.len() > 50,
        "the walk found only {} packages",
        linked.len()
    );
    let bound = linked
        .iter()
        .map(|id| &packages()[*id])
        .filter(|package| !package.license.as_deref().is_some_and(free_of_gpl));
    let bound: Vec<_> = bound
        .map(|package| {
            format!(
                "{}: {}",
                package.name,
                package.license.as_deref().unwrap_or("no license named")
            )
        })
        .collect();
    none("licenses that the binary cannot carry", &bound);
}
