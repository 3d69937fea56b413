//! Other ways into a host: a whole test as a process of the host, not only as a thread in its
//! network; and the network of any process.

use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use nix::sched::{CloneFlags, setns};

use super::{Host, HostOptions};

/// Tells the second run of a test that it is inside. Only this file reads it.
const INSIDE: &str = "NOVANET_LAB_INSIDE";

/// The full path of the test that calls this, as the harness prints it: it gives each test a thread
/// of that name.
pub fn this_test() -> Result<String> {
    let thread = std::thread::current();
    let name = thread.name().context("this thread is not a test's")?;
    Ok(name.to_owned())
}

/// Runs `body` as a process inside a new host: the test binary is run again there, for the test
/// that calls this alone. Call it on the test's own thread. Everything the body starts, daemons and
/// containers too, ends with the host. Fails with all that was said if the body fails.
pub fn inside_host(options: &HostOptions, body: impl FnOnce()) -> Result<()> {
    let test = this_test()?;
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == *test) {
        body();
        return Ok(());
    }
    let host = Host::with("inside", options)?;
    let mut again = Command::new(std::env::current_exe().context("the test binary")?);
    let output = host.output(
        again
            .args(["--exact", &test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, &test),
    )?;
    ensure!(
        output.stdout.contains("1 passed"),
        "{test} failed inside its host:\n{}\n{}",
        output.stdout,
        output.stderr
    );
    Ok(())
}

/// Runs `work` on a thread that is in the network namespace of the process `pid` (an instance, for
/// example), and in nothing else of it.
pub fn in_network_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> Result<T> {
    let path = format!("/proc/{pid}/ns/net");
    let network = File::open(&path).with_context(|| path.clone())?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lab-network".into());
        let thread = thread.spawn_scoped(scope, || -> Result<T> {
            setns(&network, CloneFlags::CLONE_NEWNET).with_context(|| format!("setns {path}"))?;
            Ok(work())
        })?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
