//! docs/clients.md: the block of each client, word for word, one after the other on one cloud.

use super::{Cloud, venv};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../../docs/clients.md");

/// Heading, language and text of each block.
fn blocks() -> Vec<(&'static str, &'static str, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .filter_map(|section| {
            let (heading, rest) = section.split_once('\n')?;
            let (_, rest) = rest.split_once("\n```")?;
            let (language, rest) = rest.split_once('\n')?;
            let (text, _) = rest.split_once("\n```")?;
            Some((heading, language, text))
        })
        .collect()
}

#[test]
fn every_block_of_the_page_works_word_for_word() {
    let blocks = blocks();
    let headings: Vec<_> = blocks.iter().map(|(heading, ..)| *heading).collect();
    assert_eq!(headings, ["awscli", "boto3", "euca2ools"]);
    let cloud = Cloud::up("").unwrap();
    link_eucas(&cloud).unwrap();
    for (number, (heading, language, text)) in (1..).zip(blocks) {
        run(&cloud, language, text)
            .and_then(|said| {
                let host = format!("i-{number:08x}");
                ensure!(said.lines().any(|line| line == host), "{said}");
                Ok(())
            })
            .with_context(|| format!("{heading}\n{}", cloud.log()))
            .unwrap();
        let left = cloud.sh("nova-manage floating list | cut -f 3").unwrap();
        assert!(left.lines().all(|line| line == "None"), "{heading}: {left}");
    }
}

/// The old names, as `make install` links them.
fn link_eucas(cloud: &Cloud) -> Result<()> {
    let words = PAGE.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("euca-")).collect();
    for name in names {
        cloud.sh(&format!("ln -sfn novanet /run/bin/{name}"))?;
    }
    Ok(())
}

fn run(cloud: &Cloud, language: &str, text: &str) -> Result<String> {
    match language {
        "sh" => cloud.sh(&format!("set -e\n{text}")),
        "python" => {
            let python = venv()?.join("bin/python");
            let python = python.display();
            cloud.sh(&format!(
                "cat >block.py <<'END'\n{text}\nEND\n{python} block.py"
            ))
        }
        other => anyhow::bail!("a block of {other}"),
    }
}
