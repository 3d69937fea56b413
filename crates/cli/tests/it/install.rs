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

    for name in ["nova-network", "nova-compute", "nova-api"] {
        let alias = format!("usr/local/lib/systemd/system/{name}.service");
        let alias = std::fs::read_link(destination.path().join(alias)).unwrap();
        assert_eq!(alias, Path::new("novanet.service"));
    }
    restarts_as_nova_network(destination.path());

    let share = destination.path().join("usr/local/share");
    for file in [
        "man/man1/novanet.1",
        "man/man1/nova-manage-network-create.1",
        "man/man1/euca-deallocate-address.1",
        "bash-completion/completions/nova-manage.bash",
        "zsh/site-functions/_euca-run-instances",
        "fish/vendor_completions.d/novanet.fish",
        "doc/novanet/nova.conf.sample",
    ] {
        assert!(share.join(file).is_file(), "{file}");
    }
    sh(&format!("{MAKE}make uninstall"), destination.path());
    for folder in [
        "usr/local/bin",
        "usr/local/lib/systemd/system",
        "usr/local/share/man/man1",
        "usr/local/share/bash-completion/completions",
        "usr/local/share/zsh/site-functions",
        "usr/local/share/fish/vendor_completions.d",
        "usr/local/share/doc/novanet",
        "etc/init.d",
    ] {
        let left = std::fs::read_dir(destination.path().join(folder)).unwrap();
        assert_eq!(left.count(), 0, "{folder}");
    }
}

/// What service(8) does on a host without systemd, with the installed script and a daemon that only
/// waits, in a mount namespace of its own.
fn restarts_as_nova_network(destination: &Path) {
    let said = sh(
        r#"cd "$DESTINATION"; mkdir run log; printf '#!/bin/sh\nexec sleep 600\n' >daemon; chmod 755 daemon
        exec unshare --mount --propagation private sh -ec '
            mount --bind "$DESTINATION/usr/local/bin" /usr/local/bin
            mount --bind "$DESTINATION/daemon" /usr/local/bin/novanet
            mount --bind "$DESTINATION/etc/init.d" /etc/init.d
            mount --bind "$DESTINATION/run" /run; mount --bind "$DESTINATION/log" /var/log
            export PATH=$PATH:/usr/sbin:/sbin
            not() { if "$@"; then exit 1; fi; }
            trap "service novanet stop" EXIT
            not service nova-network status
            service nova-network start; first=$(cat /run/novanet.pid)
            service nova-api start; test "$first" = "$(cat /run/novanet.pid)"
            service nova-network restart; second=$(cat /run/novanet.pid)
            test "$first" != "$second"; not kill -0 "$first" 2>/dev/null
            tr "\0" " " </proc/$second/cmdline; service nova-compute status
            service nova-compute stop; not kill -0 "$second" 2>/dev/null
            not service nova-network reload 2>/dev/null'"#,
        destination,
    );
    assert!(said.contains("novanet does not run\n"), "{said}");
    assert!(said.ends_with("novanet runs\n"), "{said}");
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
