//! `novanet completion` and `novanet man`: shell completion and man pages of all programs,
//! generated from the parsers' tables. Depends on clap's builder, which parses nothing here.

mod tree;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::failure::Failure;
use clap_complete::{Shell, generate};
use std::path::{Path, PathBuf};

const COMPLETION_USAGE: &str = "\
usage: novanet completion bash|zsh|fish [FOLDER]

Prints shell completion of novanet, nova-manage and euca-*, or writes a file per program to FOLDER.

Example:
    . <(novanet completion bash)
";

const MAN_USAGE: &str = "\
usage: novanet man [FOLDER]

Writes the man pages of novanet, nova-manage and euca-* to FOLDER; without one prints their names.

Example:
    novanet man /usr/local/share/man/man1
";

/// `novanet completion SHELL [FOLDER]`.
pub(crate) fn completion(args: &[String]) -> Result<String, Failure> {
    let (shell, folder) = match words(args, COMPLETION_USAGE)? {
        Asked::Text(text) => return Ok(text),
        Asked::Words([shell]) => (shell, None),
        Asked::Words([shell, folder]) => (shell, Some(Path::new(folder))),
        Asked::Words(_) => return Err(Failure::help(COMPLETION_USAGE)),
    };
    let shell = match shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => {
            return Err(Failure::usage(format!(
                "completion: shell {other:?}: must be bash, zsh or fish"
            )));
        }
    };
    let mut printed = Vec::new();
    for mut program in tree::for_completion() {
        let name = program.get_name().to_owned();
        let script = script(shell, &mut program, &name);
        match folder {
            Some(folder) => write(&folder.join(file_name(shell, &name)), &script)?,
            None => printed.extend(script),
        }
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

fn script(shell: Shell, program: &mut clap::Command, name: &str) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, program, name, &mut script);
    if shell != Shell::Bash || !name.contains('-') {
        return script;
    }
    // clap_complete 4.6 takes the hyphen of a program's name for the end of a command's name in the
    // labels that it jumps to, and not where it jumps from.
    let script = String::from_utf8_lossy(&script);
    let jumped_to = name.replace('-', "__subcmd__");
    script
        .replace(&jumped_to, &name.replace('-', "__"))
        .into_bytes()
}

/// Where a shell looks for a program's completion.
fn file_name(shell: Shell, program: &str) -> String {
    match shell {
        Shell::Zsh => format!("_{program}"),
        Shell::Fish => format!("{program}.fish"),
        _ => format!("{program}.bash"),
    }
}

/// `novanet man [FOLDER]`.
pub(crate) fn man(args: &[String]) -> Result<String, Failure> {
    let folder = match words(args, MAN_USAGE)? {
        Asked::Text(text) => return Ok(text),
        Asked::Words([]) => None,
        Asked::Words([folder]) => Some(Path::new(folder)),
        Asked::Words(_) => return Err(Failure::help(MAN_USAGE)),
    };
    let mut names = String::new();
    for mut program in tree::for_pages() {
        program.build();
        for (name, text) in pages(&program)? {
            match folder {
                Some(folder) => write(&folder.join(name), &text)?,
                None => names = names + &name + "\n",
            }
        }
    }
    Ok(names)
}

/// The pages of a command and of all commands below it: file name and text.
fn pages(command: &clap::Command) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)
        .map_err(|e| Failure::failed(format!("man: {e}")))?;
    let mut all = vec![(page.get_filename(), text)];
    for below in command.get_subcommands() {
        all.extend(pages(below)?);
    }
    Ok(all)
}

fn write(path: &PathBuf, text: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
}

enum Asked<'a> {
    Text(String),
    Words(&'a [String]),
}

/// The words of a command line without options.
fn words<'a>(args: &'a [String], usage: &str) -> Result<Asked<'a>, Failure> {
    match args.iter().find(|arg| arg.starts_with('-')) {
        Some(option) if matches!(option.as_str(), "--help" | "-h") => {
            Ok(Asked::Text(usage.to_owned()))
        }
        Some(option) => Err(Failure::usage(format!(
            "unknown option {option}: --help shows what there is"
        ))),
        None => Ok(Asked::Words(args)),
    }
}
