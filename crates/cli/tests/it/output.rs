//! Commands whose output is not read end with their own exit code, never with a panic's 101.

use crate::check::Sandbox;
use std::fs::OpenOptions;

#[test]
fn output_that_cannot_be_written_is_no_panic_in_any_face() {
    let sandbox = Sandbox::new();
    assert!(sandbox.manage("db sync").status.success());
    for (code, args) in [
        (2, &["dhcpbridge"][..]),
        (1, &["dhcpbridge", "--help"]),
        (0, &["dhcpbridge", "add", "02:16:3e:00:00:01", "10.0.0.2"]),
        (1, &["manage", "version"]),
        (2, &["manage", "nonsense"]),
        // Notes and warnings besides.
        (1, &["manage", "network", "list"]),
        (0, &["manage", "user", "list"]),
        (2, &["up", "nonsense"]),
        (1, &["server", "--help"]),
    ] {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = sandbox.command(args);
        command
            .env("NOVANET_LEASES", sandbox.path())
            .env("NOVANET_BRIDGE", "br100");
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}
