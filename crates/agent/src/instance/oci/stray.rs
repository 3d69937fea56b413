//! Waits for runtimes that a killed agent started: they go on for some milliseconds, and the
//! clean-up must come after what they make in that time. Depends on `/proc`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any runtime takes for one call.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits until no process works on this state folder, or for [`WAIT_TIMEOUT`].
pub(super) fn wait_for_the_end(state: &Path) {
    let start = Instant::now();
    while let Some(pid) = find(state) {
        if start.elapsed() > WAIT_TIMEOUT {
            tracing::warn!(pid, "a runtime of an earlier agent does not end");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that has this folder among its arguments.
fn find(state: &Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0)
            .any(|argument| argument == state.as_os_str().as_bytes())
            .then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_clean_up_waits_for_a_runtime_that_still_works() {
        let folder = tempfile::tempdir().unwrap();
        wait_for_the_end(folder.path());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", "runc", "--root"])
            .arg(folder.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // `/proc` shows its arguments a moment after the start.
        let asked = Instant::now();
        while find(folder.path()) != Some(child.id()) {
            assert!(asked.elapsed() < WAIT_TIMEOUT, "not found");
        }
        drop(child.stdin.take());
        wait_for_the_end(folder.path());
        assert!(child.wait().is_ok());
        assert_eq!(find(folder.path()), None);
    }
}
