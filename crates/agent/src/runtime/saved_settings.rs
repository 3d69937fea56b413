//! The settings of the last agent, in a file beside its ledger, so that `host plan` needs no flags
//! while no agent runs. Depends on the agent's folder ([`super::lock::agent_dir`]); the command
//! line decides which flags override them.

use super::lock::agent_dir;
use crate::atomic_file;
use crate::settings::Settings;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of the saved settings below this state path.
pub fn saved_settings_path(state_path: &Path) -> PathBuf {
    agent_dir(state_path).join("settings.json")
}

/// Reads the saved settings; `None`: no agent has run here, or none of this version.
pub fn saved_settings(state_path: &Path) -> Option<Settings> {
    let text = fs::read(saved_settings_path(state_path)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Saves the settings if they differ from the saved ones. Call it with the agent's lock held.
pub(super) fn save(settings: &Settings) -> io::Result<()> {
    if saved_settings(&settings.state_path).as_ref() == Some(settings) {
        return Ok(());
    }
    let path = saved_settings_path(&settings.state_path);
    atomic_file::replace_durable(&path, 0o600, &serde_json::to_vec(settings)?)
}
