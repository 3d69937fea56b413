//! The first block of the README's tour, word for word, into a folder of its own: `make install`
//! and the clients.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The blocks of the README's tour, in order.
pub(crate) fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, tour) = readme.split_once("## Tour").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    tour.split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A line of shell at the top of the source; what it printed.
fn sh(script: &str, destination: &Path) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(root())
        .env("DESTINATION", destination)
        .env("BINARY", env!("CARGO_BIN_EXE_novanet"))
        .env("NOVANET_FLAGFILE", "")
        // An outer make's flags are not for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{text}\n{errors}");
    text
}

/// The one thing that differs: the binary is the tests' own instead of an optimised one, and the
/// root of the file system a folder.
const MAKE: &str =
    "make() { command make -o build DESTDIR=\"$DESTINATION\" RELEASE=\"$BINARY\" \"$@\"; }\n";

#[test]
fn the_readmes_first_block_installs_every_name_and_the_clients() {
    let destination = tempfile::tempdir().unwrap();
    let block = &blocks()[0];
    let said = sh(
        &format!("{MAKE}{block}\ncommand -v aws\naws --version"),
        destination.path(),
    );
    assert!(said.contains("/bin/aws\naws-cli/"), "{said}");

    let bin = destination.path().join("usr/local/bin");
    let mut names: Vec<String> = std::fs::read_dir(&bin)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(
        names.iter().any(|n| n == "euca-deallocate-address"),
        "{names:?}"
    );
    for name in &names {
        let output = Command::new(bin.join(name)).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        if name.starts_with("euca-") {
            assert!(
                help.starts_with(&format!("usage: {name}")),
                "{name}: {help}"
            );
        }
    }
    let unit = destination
        .path()
        .join("usr/local/lib/systemd/system/novanet.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(unit.contains("=/usr/local/bin/novanet up"), "{unit}");
    never_gives_up(&unit);

    sh(&format!("{MAKE}make uninstall"), destination.path());
    assert_eq!(std::fs::read_dir(&bin).unwrap().count(), 0);
}

/// systemd starts the unit again without limit, and not in a loop that takes a processor.
fn never_gives_up(unit: &str) {
    let section = |name: &str| {
        let (_, rest) = unit.split_once(&format!("[{name}]\n")).unwrap();
        let end = rest.find("\n[").unwrap_or(rest.len());
        rest[..end].lines().collect::<Vec<_>>()
    };
    assert!(
        section("Unit").contains(&"StartLimitIntervalSec=0"),
        "{unit}"
    );
    let service = section("Service");
    for line in ["Restart=always", "RestartSec=2", "KillMode=process"] {
        assert!(service.contains(&line), "{line}: {unit}");
    }
}
