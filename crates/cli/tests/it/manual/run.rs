//! Runs the blocks of a page in a lab, in order, and compares what its commands print. A command
//! that only looks is repeated until its output is the page's: a reader types slower than a test.

use super::DRAFT;
use super::lab::Lab;
use super::matcher::compare;
use super::page::{Block, Command, Page};
use super::shell::{Said, Shell};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Programs that change nothing, whatever their arguments.
const LOOK: &[&str] = &[
    "cat", "curl", "grep", "ls", "pgrep", "ping", "ps", "ssh", "stat", "tcpdump", "test", "tail",
];
/// Programs that change something only with one of these words.
const LOOK_WITHOUT: &[(&str, &[&str])] = &[
    ("ip", &["add", "del", "delete", "set", "replace", "flush"]),
    ("bridge", &["add", "del", "set", "replace"]),
    ("sysctl", &["-w"]),
];
/// Programs that only look with one of these words.
const LOOK_WITH: &[(&str, &[&str])] = &[
    ("brctl", &["show"]),
    ("nft", &["list"]),
    ("nova-manage", &["list", "show", "info", "plan"]),
];

/// How long a draft's command that only looks is repeated.
const DRAFT_PATIENCE: Duration = Duration::from_secs(6);

/// Runs a page. The error names page, line, what was wanted and what came.
pub(super) fn run(page: &Page, lab: &Lab) -> Result<()> {
    let mut shells = BTreeMap::new();
    for block in &page.blocks {
        if block.is_console() {
            console(page, block, lab, &mut shells)?;
        } else if let Some(file) = &block.file {
            write(lab, file, &block.text)
                .with_context(|| format!("{}:{}: {}", page.path, block.line, file.display()))?;
        }
    }
    Ok(())
}

fn write(lab: &Lab, file: &Path, text: &str) -> Result<()> {
    lab.host("")?.exec_in(|| -> Result<()> {
        std::fs::create_dir_all(file.parent().context("a file without a folder")?)?;
        Ok(std::fs::write(file, text)?)
    })?
}

fn console<'a>(
    page: &Page,
    block: &Block,
    lab: &'a Lab,
    shells: &mut BTreeMap<String, Shell<'a>>,
) -> Result<()> {
    let commands = block.commands();
    for (index, command) in commands.iter().enumerate() {
        let place = format!("{}:{}: {}", page.path, command.line, command.text);
        if !shells.contains_key(&command.host) {
            let shell = Shell::new(lab.host(&command.host).context(place.clone())?)?;
            shells.insert(command.host.clone(), shell);
        }
        let shell = shells.get_mut(&command.host).context("a shell")?;
        let asks = commands
            .get(index + 1)
            .is_some_and(|next| next.text == "echo $?");
        let wrong = try_until(shell, command, asks, lab).context(place)?;
        if let Some(wrong) = wrong {
            ensure!(is_draft(), "{}:{wrong}\n{}", page.path, lab.log());
            super::say(&format!("XXX {}:{wrong}", page.path));
        }
    }
    Ok(())
}

/// What is wrong with a command's output at last; it begins with the line in the page.
fn try_until(
    shell: &mut Shell<'_>,
    command: &Command,
    asks: bool,
    lab: &Lab,
) -> Result<Option<String>> {
    let patience = if is_draft() {
        DRAFT_PATIENCE
    } else {
        lab.limit()
    };
    let end = Instant::now() + patience;
    loop {
        let said = shell.run(&command.text, lab.limit())?;
        let wrong = difference(command, &said, asks);
        if wrong.is_none() || !only_looks(&command.text) || Instant::now() > end {
            return Ok(wrong);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_draft() -> bool {
    std::env::var_os(DRAFT).is_some()
}

/// How the output differs from the page's. A command that fails must be asked for its status.
fn difference(command: &Command, said: &Said, asks: bool) -> Option<String> {
    let wrong = |line: usize, wanted: &str| {
        format!(
            "{line}: {}\nwanted: {wanted}\ngot:\n{}(exit status {})",
            command.text, said.text, said.status
        )
    };
    if let Err(at) = compare(&command.wanted, &said.text) {
        let wanted = command
            .wanted
            .get(at)
            .map_or("no more lines", String::as_str);
        return Some(wrong(command.wanted_line + at, wanted));
    }
    (said.status != 0 && !asks).then(|| wrong(command.line, "exit status 0, or `# echo $?` next"))
}

/// Whether every command of a pipe changes nothing.
fn only_looks(line: &str) -> bool {
    line.split('|').all(|part| {
        let mut words = part.split_whitespace();
        let program = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let has = |some: &[&str]| some.iter().any(|word| words.contains(word));
        let listed = |list: &[(&'static str, &'static [&'static str])]| {
            list.iter()
                .find(|(name, _)| *name == program)
                .map(|(_, some)| has(some))
        };
        LOOK.contains(&program)
            || program.starts_with("euca-describe")
            || listed(LOOK_WITHOUT) == Some(false)
            || listed(LOOK_WITH) == Some(true)
    }) && !line.contains('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_changes_something_is_run_once() {
        for line in [
            "ip -brief link",
            "cat a | grep b",
            "nova-manage network list",
            "nft list tables",
        ] {
            assert!(only_looks(line), "{line}");
        }
        for line in [
            "ip link set dev a up",
            "nova-manage network create 10.0.0.0/8",
            "cat a >b",
            "novanet up",
            "ls | sh",
            "",
        ] {
            assert!(!only_looks(line), "{line}");
        }
    }

    /// A page that the runner must accept, and then one character of it at a time.
    #[test]
    fn one_changed_character_of_an_output_fails_a_page_and_is_named() -> Result<()> {
        let lab = Lab::bare()?;
        let page = "\
The file `/etc/nova/greeting`:

```text
hello
```

```console
# cat /etc/nova/greeting; here=kept
hello
# echo $here; pwd; test -t 1 && echo terminal
kept
/root
terminal
# false
# echo $?
1
```
";
        run(&Page::parse("p.md", page), &lab)?;
        for (old, new, at) in [
            ("\nhello\n#", "\nhallo\n#", "p.md:9: cat"),
            ("\nterminal", "\nterminal.", "p.md:13: echo"),
            ("\n1\n", "\n2\n", "p.md:16: echo"),
            ("# echo $?\n1\n", "", "p.md:14: false"),
        ] {
            let lab = Lab::bare()?;
            let page = Page::parse("p.md", &page.replace(old, new));
            let error = format!("{:#}", run(&page, &lab.impatient()).unwrap_err());
            assert!(error.starts_with(at), "{at}: {error}");
            assert!(
                error.contains("wanted: ") && error.contains("got:"),
                "{error}"
            );
        }
        Ok(())
    }
}
