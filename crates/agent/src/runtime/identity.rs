//! The owner of a state folder: one host, by name. An agent with another name would find none of
//! this host's objects in the database and would remove them. Depends on the agent's folder and on
//! the saved settings.

use super::error::AgentError;
use super::lock::agent_dir;
use super::saved_settings::saved_settings_path;
use crate::atomic_file;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The start of the alias of every link that novanet makes.
const OURS: &str = "novanet:";

/// The host's name in the saved settings of agents before the file `host`.
#[derive(Deserialize)]
struct Named {
    host: String,
}

fn path(state_path: &Path) -> PathBuf {
    agent_dir(state_path).join("host")
}

/// The name of the host that owns this state folder; `None`: no agent has run here.
pub fn owner(state_path: &Path) -> Option<String> {
    if let Ok(name) = fs::read_to_string(path(state_path)) {
        let name = name.trim();
        if !name.is_empty() {
            return Some(name.to_owned());
        }
    }
    let settings = fs::read(saved_settings_path(state_path)).ok()?;
    let named: Named = serde_json::from_slice(&settings).ok()?;
    Some(named.host)
}

/// Refuses a state folder of another host, and a new state folder on a host with links of
/// novanet's: the agent would remove all that its ledger does not have.
pub fn check(state_path: &Path, host: &str) -> Result<(), AgentError> {
    let Some(owner) = owner(state_path) else {
        let links = ours(Path::new("/sys/class/net"));
        return if links.is_empty() {
            Ok(())
        } else {
            Err(AgentError::NewState {
                state_path: state_path.to_owned(),
                links: links.join(", "),
            })
        };
    };
    if owner == host {
        return Ok(());
    }
    Err(AgentError::OtherHost {
        state_path: state_path.to_owned(),
        owner,
        host: host.to_owned(),
    })
}

/// The links in this network namespace that an agent made, by name.
fn ours(devices: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(devices)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let alias = fs::read_to_string(entry.path().join("ifalias")).ok()?;
            alias
                .starts_with(OURS)
                .then(|| entry.file_name().into_string().ok())?
        })
        .collect();
    names.sort();
    names
}

/// Makes this host the owner of the folder. Call it with the agent's lock held.
pub fn claim(state_path: &Path, host: &str) -> Result<(), AgentError> {
    let path = path(state_path);
    let text = format!("{host}\n");
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    atomic_file::replace_durable(&path, 0o600, text.as_bytes())
        .map_err(|e| AgentError::file(path, e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_of_an_agent_are_known_by_their_alias() {
        let folder = tempfile::tempdir().unwrap();
        for (name, alias) in [
            ("br100", "novanet:bridge:br100\n"),
            ("nv1", "novanet:port:1\n"),
            ("eth0", "\n"),
            ("br200", "the administrator's novanet:\n"),
        ] {
            let device = folder.path().join(name);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("ifalias"), alias).unwrap();
        }
        fs::create_dir(folder.path().join("lo")).unwrap();
        assert_eq!(ours(folder.path()), ["br100", "nv1"]);
        assert!(ours(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn a_folder_is_the_host_s_that_came_first_also_of_an_agent_that_wrote_only_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        fs::create_dir(agent_dir(state)).unwrap();
        assert_eq!(owner(state), None);
        check(state, "cloud1").unwrap();
        fs::write(
            saved_settings_path(state),
            r#"{"host": "cloud1", "other": 1}"#,
        )
        .unwrap();
        let why = check(state, "cloud2").unwrap_err().to_string();
        for part in [
            "is cloud1's",
            "--host=cloud1",
            "nova-manage host rename cloud1 cloud2",
        ] {
            assert!(why.contains(part), "{part} is not in {why}");
        }
        claim(state, "cloud2").unwrap();
        assert_eq!(owner(state).unwrap(), "cloud2");
        check(state, "cloud1").unwrap_err();
    }
}
