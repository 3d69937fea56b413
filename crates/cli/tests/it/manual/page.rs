//! Reads a page of the manual: its blocks with their lines in the file. Depends on nothing of a
//! lab.

use std::path::{Path, PathBuf};

/// A page in one language.
pub(super) struct Page {
    /// Its path from the root of the repository.
    pub(super) path: String,
    pub(super) blocks: Vec<Block>,
}

/// A block between fences.
pub(super) struct Block {
    /// The line of its first fence, from 1.
    pub(super) line: usize,
    /// What follows the fence: `console`, `ini`, …
    pub(super) info: String,
    /// The file that the paragraph before it names (`` `/etc/nova/nova.conf`: ``).
    pub(super) file: Option<PathBuf>,
    pub(super) text: String,
}

/// A command of a console block, and what it prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its line in the page, from 1.
    pub(super) line: usize,
    /// The host before the prompt; empty: the cloud host.
    pub(super) host: String,
    pub(super) text: String,
    /// The lines of output, and where the first of them is in the page.
    pub(super) wanted: Vec<String>,
    pub(super) wanted_line: usize,
}

impl Page {
    pub(super) fn read(root: &Path, path: &str) -> Self {
        let text =
            std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &str, text: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut before = "";
        let mut is_open = false;
        for (index, line) in text.lines().enumerate() {
            if let Some(info) = line.strip_prefix("```") {
                is_open = !is_open;
                if is_open {
                    blocks.push(Block {
                        line: index + 1,
                        info: info.trim().to_owned(),
                        file: named_file(before),
                        text: String::new(),
                    });
                }
            } else if is_open && let Some(block) = blocks.last_mut() {
                block.text.push_str(line);
                block.text.push('\n');
            } else if !line.trim().is_empty() {
                before = line;
            }
        }
        assert!(!is_open, "{path}: a block without an end");
        Self {
            path: path.to_owned(),
            blocks,
        }
    }
}

impl Block {
    pub(super) fn is_console(&self) -> bool {
        self.info == "console"
    }

    /// The commands of a console block. A line that is output before any command is a fault.
    pub(super) fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut lines = self.text.lines().zip(self.line + 1..);
        while let Some((line, number)) = lines.next() {
            if let Some((host, text)) = prompt(line) {
                let (mut text, mut last) = (text.to_owned(), number);
                while text.ends_with('\\')
                    && let Some((more, number)) = lines.next()
                {
                    text = format!("{text}\n{more}");
                    last = number;
                }
                commands.push(Command {
                    line: number,
                    host: host.to_owned(),
                    text,
                    wanted: Vec::new(),
                    wanted_line: last + 1,
                });
            } else {
                let command = commands.last_mut();
                let command = command.unwrap_or_else(|| panic!("line {number}: not a command"));
                command.wanted.push(line.to_owned());
            }
        }
        commands
    }
}

/// `# command`, or `host# command`.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (host, text) = line.split_once("# ")?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    host.chars().all(is_name).then_some((host, text))
}

/// The file of a paragraph that ends with its path in backticks and a colon.
fn named_file(line: &str) -> Option<PathBuf> {
    let line = line.trim_end().strip_suffix([':', '：'])?;
    let (_, path) = line.strip_suffix('`')?.rsplit_once('`')?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_files_and_commands_with_their_lines() {
        let page = Page::parse(
            "p",
            "The file `/etc/nova/nova.conf`:\n\n```ini\n--a=b\n```\n\n文:\n\n```console\n# one \\\n  two\n\
             out\n\nswitch# three\n# four\n```\n",
        );
        let [file, console] = page.blocks.as_slice() else {
            panic!("two blocks");
        };
        assert_eq!(file.file.as_deref(), Some(Path::new("/etc/nova/nova.conf")));
        assert_eq!((file.line, file.text.as_str()), (3, "--a=b\n"));
        assert!(console.is_console() && console.file.is_none());
        let command = |line, host: &str, text: &str, wanted: &[&str], wanted_line| Command {
            line,
            host: host.into(),
            text: text.into(),
            wanted: wanted.iter().map(|line| (*line).to_owned()).collect(),
            wanted_line,
        };
        assert_eq!(
            console.commands(),
            [
                command(10, "", "one \\\n  two", &["out", ""], 12),
                command(14, "switch", "three", &[], 15),
                command(15, "", "four", &[], 16),
            ]
        );
        assert_eq!(named_file("ファイル `/etc/x`："), Some("/etc/x".into()));
        assert_eq!(named_file("the file `/etc/x` again"), None);
    }
}
