//! The manual (docs/manual): each page's commands are run in a lab, and what they print is compared
//! with the page. docs/manual/README.md says how a page is written.

pub(crate) mod lab;
mod matcher;
mod page;
mod run;
mod shell;

use lab::Lab;
use page::Page;
use std::path::{Path, PathBuf};

/// The pages. That of VLAN networks needs a kernel with 802.1Q and runs in the virtual machine of
/// `cloud::vlan`.
const PAGES: &[&str] = &[
    "6.1-modes.md",
    "6.2-cloudpipe.md",
    "6.3.1-flat.md",
    "6.3.2-flat-dhcp.md",
    "6.3.3-projects.md",
    "6.3.3-vlan.md",
    "6.3.4-ping-ssh.md",
    "6.3.5-floating-ips.md",
    "6.3.6-public-ips.md",
    "6.4-scrub.md",
];

/// For writers of pages: the page goes on after a difference, and what came is printed
/// (`NOVANET_MANUAL_DRAFT=1 cargo nextest run --no-capture …`).
pub(crate) const DRAFT: &str = "NOVANET_MANUAL_DRAFT";

/// Prints for writers of pages.
#[allow(clippy::print_stdout)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the English page in a lab; the Japanese one has the same blocks.
pub(crate) fn run_page(name: &str, lab: &Lab) {
    assert!(PAGES.contains(&name), "{name} is not in PAGES");
    let page = Page::read(&root(), &format!("docs/manual/en/{name}"));
    if let Err(error) = run::run(&page, lab) {
        panic!("{error:#}");
    }
}

/// The lines with one literal character replaced by one that no program prints, for each character.
fn changed_once(lines: &[String]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line == matcher::LINES {
            continue;
        }
        let parts: Vec<&str> = line.trim_end().split(matcher::TEXT).collect();
        for (number, part) in parts.iter().enumerate() {
            for (at, old) in part.char_indices() {
                let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
                parts[number].replace_range(at..at + old.len_utf8(), "☃");
                let mut changed = lines.to_vec();
                changed[index] = parts.join(matcher::TEXT);
                all.push(changed);
            }
        }
    }
    all
}

#[test]
fn every_page_is_run_and_has_both_languages_with_equal_blocks() {
    for language in ["en", "ja"] {
        let folder = root().join("docs/manual").join(language);
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "md"))
            .collect();
        names.sort();
        assert_eq!(names, PAGES, "the pages in docs/manual/{language}");
    }
    for name in PAGES {
        let [en, ja] = ["en", "ja"]
            .map(|language| Page::read(&root(), &format!("docs/manual/{language}/{name}")));
        for (one, other) in en.blocks.iter().zip(&ja.blocks) {
            let places = format!("{}:{} and {}:{}", en.path, one.line, ja.path, other.line);
            assert_eq!(one.text, other.text, "{places}");
            assert_eq!(one.info, other.info, "{places}");
            assert_eq!(one.file, other.file, "{places}");
        }
        assert_eq!(en.blocks.len(), ja.blocks.len(), "blocks of {name}");
    }
}

/// A command that cannot fail, and an output that is nothing but wildcards, would test nothing.
#[test]
fn every_command_of_the_manual_can_fail() {
    for name in PAGES {
        let page = Page::read(&root(), &format!("docs/manual/en/{name}"));
        for block in page.blocks.iter().filter(|block| block.is_console()) {
            for command in block.commands() {
                let place = format!("{}:{}: {}", page.path, command.line, command.text);
                let excused = ["|| true", "|| :", "; true"];
                let is_excused = excused
                    .iter()
                    .any(|end| command.text.trim_end().ends_with(end));
                assert!(!is_excused, "{place}");
                let says = |line: &String| {
                    line != matcher::LINES && !line.replace(matcher::TEXT, "").trim().is_empty()
                };
                let is_open = !command.wanted.is_empty() && !command.wanted.iter().any(says);
                assert!(!is_open, "{place}: the output is only wildcards");
            }
        }
    }
}

/// One changed character of an expected output is a difference, whichever it is.
#[test]
fn every_character_of_the_manuals_outputs_counts() {
    for name in PAGES {
        let page = Page::read(&root(), &format!("docs/manual/en/{name}"));
        for block in page.blocks.iter().filter(|block| block.is_console()) {
            for command in block.commands() {
                let place = format!("{}:{}: {}", page.path, command.line, command.text);
                let lines = command.wanted.iter().filter(|line| *line != matcher::LINES);
                let printed: String = lines
                    .map(|line| line.replace(matcher::TEXT, "text") + "\n")
                    .collect();
                assert_eq!(
                    matcher::compare(&command.wanted, &printed),
                    Ok(()),
                    "{place}"
                );
                for changed in changed_once(&command.wanted) {
                    assert!(
                        matcher::compare(&changed, &printed).is_err(),
                        "{place}: {changed:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_three_modes() {
    run_page("6.1-modes.md", &Lab::bare().unwrap());
}

#[test]
fn a_vpn_for_each_project() {
    run_page("6.2-cloudpipe.md", &Lab::bare().unwrap());
}

#[test]
fn flat_networks() {
    run_page("6.3.1-flat.md", &Lab::with_lan().unwrap());
}

#[test]
fn flat_dhcp_networks() {
    run_page("6.3.2-flat-dhcp.md", &Lab::with_lan().unwrap());
}

#[test]
fn networks_of_a_project() {
    run_page("6.4-scrub.md", &Lab::bare().unwrap());
}

#[test]
fn projects_users_and_credentials() {
    run_page("6.3.3-projects.md", &Lab::bare().unwrap());
}

#[test]
fn ping_and_ssh() {
    run_page("6.3.4-ping-ssh.md", &Lab::bare().unwrap());
}

#[test]
fn floating_addresses() {
    run_page("6.3.5-floating-ips.md", &Lab::bare().unwrap());
}

#[test]
fn public_addresses() {
    run_page("6.3.6-public-ips.md", &Lab::bare().unwrap());
}
