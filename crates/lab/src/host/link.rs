//! Veth pairs between hosts. Depends on `ip`.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Depth, Host, Output};

/// Lays a cable: a veth pair with one end in each host (which may be the same), both up.
pub fn connect(a: &Host, end_a: &str, b: &Host, end_b: &str) -> Result<()> {
    let pid = b.pid().to_string();
    // From a's network but the maker's pid namespace: only there does b's pid mean anything.
    let mut ip = Command::new("ip");
    ip.args([
        "link", "add", "dev", end_a, "type", "veth", "peer", "name", end_b, "netns", &pid,
    ]);
    let output: Output = a.enter(Depth::Network, || ip.output())??.into();
    ensure!(
        output.success(),
        "a cable from {} {end_a} to {} {end_b}: {}",
        a.name(),
        b.name(),
        output.summary()
    );
    a.run(&["ip", "link", "set", "dev", end_a, "up"])?;
    b.run(&["ip", "link", "set", "dev", end_b, "up"])?;
    Ok(())
}
