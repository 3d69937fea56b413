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

/// Writes them, whole or not at all. Call it with the agent's lock held.
pub(super) fn keep(settings: &Settings) -> io::Result<()> {
    // Only its owner may read a temporary file, and it stays like that.
    let mut new = tempfile::NamedTempFile::new_in(agent_dir(&settings.state_path))?;
    serde_json::to_writer(&mut new, settings)?;
    new.as_file().sync_all()?;
    new.persist(kept_path(&settings.state_path))?;
    Ok(())
}
