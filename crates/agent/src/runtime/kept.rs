//! The settings of the agent that ran last, beside its ledger: whoever asks for the host's plan while
//! none runs would otherwise have to know with which flags it was started.
//!
//! Must not know: flags, and which of them count more.

use super::lock::agent_dir;
use crate::settings::Settings;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where they are.
pub fn kept_path(state_path: &Path) -> PathBuf {
    agent_dir(state_path).join("settings.json")
}

/// Reads them; `None`: no agent has run here, or none of this version.
pub fn kept(state_path: &Path) -> Option<Settings> {
    let text = fs::read(kept_path(state_path)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes them, if they are others. Call it with the agent's lock held.
pub(super) fn keep(settings: &Settings) -> io::Result<()> {
    if kept(&settings.state_path).as_ref() == Some(settings) {
        return Ok(());
    }
    let path = kept_path(&settings.state_path);
    crate::atomic_file::replace_durable(&path, 0o600, &serde_json::to_vec(settings)?)
}
