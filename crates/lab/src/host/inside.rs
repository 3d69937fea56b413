//! A whole test inside a host: for code that must be a process of it, with its pids, and not only a thread that looks in.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Host, HostOptions};

/// Tells the second run of a test that it is inside. Only this file reads it.
const INSIDE: &str = "NOVANET_LAB_INSIDE";

/// Runs `body` as a process inside a new host: the test binary is run again there, for this test alone. `test` is the test's full path, as the harness
/// prints it. Everything the body starts, daemons and containers too, ends with the host. Fails with all that was said if the body fails.
pub fn inside_host(test: &str, options: &HostOptions, body: impl FnOnce()) -> Result<()> {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        body();
        return Ok(());
    }
    let host = Host::with("inside", options)?;
    let mut again = Command::new(std::env::current_exe().context("the test binary")?);
    let output = host.output(
        again
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, test),
    )?;
    ensure!(
        output.stdout.contains("1 passed"),
        "{test} failed inside its host:\n{}\n{}",
        output.stdout,
        output.stderr
    );
    Ok(())
}
