//! The old programs' names, as links to the binary.

use crate::check::{Sandbox, show};
use std::os::unix::fs::symlink;

fn linked(sandbox: &Sandbox, name: &str, args: &[&str]) -> String {
    let link = sandbox.path().join(name);
    symlink(env!("CARGO_BIN_EXE_novanet"), &link).unwrap();
    let mut command = std::process::Command::new(&link);
    command.args(args).env("NOVANET_FLAGFILE", "");
    for variable in ["NOVANET_LEASES", "NOVANET_BRIDGE", "EC2_URL"] {
        command.env_remove(variable);
    }
    show(&command.output().unwrap(), sandbox.path())
}

#[test]
fn every_old_name_is_the_face_that_took_its_place() {
    let sandbox = Sandbox::new();
    let check = |name: &str, args: &[&str]| linked(&sandbox, name, args);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        check("nova-manage", &["version"]),
        format!("exit 0\n--- stdout\n{version}")
    );
    insta::assert_snapshot!(check("nova-dhcpbridge", &["init"]), @"
    exit 2
    --- stderr
    error: dhcpbridge: NOVANET_LEASES is not set in the environment; dnsmasq calls it: add|old|del MAC ADDRESS [NAME], or init
    ");
    insta::assert_snapshot!(check("euca-describe-groups", &[]), @"
    exit 1
    --- stderr
    error: EC2_URL is not set: read your credentials first: . novarc
    ");
    insta::assert_snapshot!(check("euca-allocate-address", &["--help"]), @"
    exit 0
    --- stdout
    usage: euca-allocate-address [ADDRESS]

    take an address from the pool

        address                     this one, if it is free

    Example:
        euca-allocate-address 68.99.26.170
    ");
    for (name, applet) in [
        ("nova-api", "server"),
        ("nova-network", "agent"),
        ("nova-compute", "agent"),
    ] {
        let help = check(name, &["--help"]);
        assert!(
            help.starts_with(&format!("exit 0\n--- stdout\nusage: novanet {applet} ")),
            "{help}"
        );
    }
}

#[test]
fn dhcpbridge_writes_the_journal_with_everything_down_and_init_reads_it() {
    let sandbox = Sandbox::new();
    let hosts = sandbox.path().join("nova-br100.conf");
    std::fs::write(&hosts, "02:16:3e:00:00:01,web.novalocal,10.0.0.3\n").unwrap();
    let run = |args: &[&str]| {
        let output = sandbox
            .command(&[&["dhcpbridge"], args].concat())
            .env("NOVANET_LEASES", sandbox.path().join("dhcp"))
            .env("NOVANET_DHCP_HOSTS", &hosts)
            .env("NOVANET_BRIDGE", "br100")
            .output()
            .unwrap();
        show(&output, sandbox.path())
    };
    assert_eq!(
        run(&["add", "02:16:3e:00:00:01", "10.0.0.3", "web"]),
        "exit 0"
    );
    let leases = run(&["init"]);
    assert!(leases.starts_with("exit 0\n--- stdout\n"), "{leases}");
    assert!(
        leases.ends_with(" 02:16:3e:00:00:01 10.0.0.3 web *"),
        "{leases}"
    );
    insta::assert_snapshot!(run(&["add", "nonsense", "10.0.0.3"]), @r#"
    exit 2
    --- stderr
    error: dhcpbridge: MAC address "nonsense": must look like 02:16:3e:00:00:01; dnsmasq calls it: add|old|del MAC ADDRESS [NAME], or init
    "#);
}
