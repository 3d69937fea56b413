//! The flags of the daemons that run on this host, for `config list`: each daemon writes them to a
//! file under `state_path/running` and removes it at its end. The start time of the process tells
//! the file of a killed daemon from that of a running one.

use novanet_model::flags::Flags;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// A daemon and its flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// `up`, `server` or `agent`; `face` in files of earlier versions too.
    #[serde(rename = "face")]
    pub(crate) applet: String,
    pub(crate) pid: u32,
    /// When the process started, in the kernel's ticks since boot.
    started: u64,
    pub(crate) flags: Vec<Setting>,
}

/// A flag as the daemon has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// Without passwords.
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// The file of this daemon. It goes when this is dropped.
pub(crate) struct Registration(PathBuf);

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // the next reader finds out that the process is gone
    }
}

/// Keeps the flags of this process as those of `applet`. Call it when the state path is there. A
/// daemon whose file cannot be written runs all the same.
pub(crate) fn register(applet: &str, flags: &Flags) -> Option<Registration> {
    let pid = std::process::id();
    let settings = flags.all().map(|(flag, value)| Setting {
        name: flag.name.to_owned(),
        value: value.shown(),
        origin: value.origin.to_string(),
    });
    let running = Running {
        applet: applet.to_owned(),
        pid,
        started: started(pid).unwrap_or(0),
        flags: settings.collect(),
    };
    let folder = folder(&flags.state_path());
    for (path, old) in files(&folder) {
        if !old.is_some_and(|old| old.runs()) {
            let _ = fs::remove_file(path);
        }
    }
    let path = folder.join(format!("{applet}.{pid}.json"));
    match crate::private_file::write(&path, &crate::table::json(&running)) {
        Ok(()) => Some(Registration(path)),
        Err(failure) => {
            tracing::warn!("{}", failure.message);
            None
        }
    }
}

/// The daemons that run with this state path, by applet.
pub(crate) fn all(state_path: &Path) -> Vec<Running> {
    let files = files(&folder(state_path)).into_iter();
    let mut all: Vec<Running> = files.filter_map(|(_, running)| running).collect();
    all.retain(Running::runs);
    all.sort_by(|a, b| (&a.applet, a.pid).cmp(&(&b.applet, b.pid)));
    all
}

impl Running {
    /// Whether the process that wrote it is there.
    fn runs(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

fn folder(state_path: &Path) -> PathBuf {
    state_path.join("running")
}

/// Files, with what is in them where they can be understood.
fn files(folder: &Path) -> Vec<(PathBuf, Option<Running>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let text = fs::read(entry.path()).unwrap_or_default();
            (entry.path(), serde_json::from_slice(&text).ok())
        })
        .collect()
}

/// The 22nd field of `/proc/PID/stat`; the second one may have spaces in it (proc(5)).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use novanet_model::flags::{Facts, Given, Origin};

    #[test]
    fn a_daemons_flags_are_seen_while_it_runs_and_those_of_a_killed_one_are_not() {
        let state = tempfile::tempdir().unwrap();
        let given = Given {
            name: "state_path".to_owned(),
            value: Some(state.path().display().to_string()),
            origin: Origin::CommandLine,
        };
        let facts = Facts {
            hostname: "node1".to_owned(),
            address: [127, 0, 0, 1].into(),
            current_dir: "/".into(),
        };
        let flags = Flags::resolve(&[given], &facts).unwrap();
        assert_eq!(all(state.path()), []);
        let registered = register("up", &flags).unwrap();
        let seen = all(state.path());
        assert_eq!(seen.len(), 1);
        let host = seen[0].flags.iter().find(|s| s.name == "host").unwrap();
        assert_eq!(
            (host.value.as_str(), host.origin.as_str()),
            ("node1", "default")
        );
        // Another process has the pid now.
        let mut other = seen[0].clone();
        other.started += 1;
        let left = folder(state.path()).join("server.9.json");
        fs::write(&left, serde_json::to_string(&other).unwrap()).unwrap();
        fs::write(folder(state.path()).join("agent.8.json"), "{").unwrap();
        assert_eq!(all(state.path()), seen);
        let again = register("server", &flags).unwrap();
        assert!(!left.exists());
        drop((registered, again));
        assert_eq!(fs::read_dir(folder(state.path())).unwrap().count(), 0);
    }
}
