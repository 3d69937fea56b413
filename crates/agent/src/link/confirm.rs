//! Commit-confirm of uplinks: the first move of an interface that carries an sshd session is undone
//! after [`TIME`], unless the session goes on or the operator confirms. Depends on the record that
//! is on disk before the move, and on the kernel's list of TCP connections.
//!
//! A record belongs to one boot: a deadline of an earlier one counts no more, because a host that
//! boots has no session to save. A confirmation stays until the interface is released.

use super::state_dir;
use super::uplink_migration::{InterfaceConfig, local};
use crate::boot::boot_id;
use crate::netlink::tcp_sessions::{self, TcpSession};
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a move waits for its confirmation.
const TIME: Duration = Duration::from_mins(1);

/// What an uplink in a bridge is called while its move may be undone, and then.
pub(super) const OVERDUE: &str = "not confirmed in time";

const PREFIX: &str = "confirm-";
const SUFFIX: &str = ".json";

/// A connection of an sshd, by its ends and what its peer had acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    local: SocketAddr,
    remote: SocketAddr,
    acked: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Undone at `deadline` (seconds since the boot).
    Pending {
        deadline: u64,
        sessions: Vec<Session>,
    },
    Confirmed,
    /// Undone: not tried again before it is confirmed.
    Undone,
}

/// The record of one uplink, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    bridge: IfName,
    boot: String,
    stage: Stage,
}

impl Record {
    fn load(state_dir: &Path, uplink: &IfName) -> Option<Self> {
        let text = std::fs::read_to_string(file(state_dir, uplink)).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        let counts = record.stage == Stage::Confirmed || record.boot == boot_id();
        counts.then_some(record)
    }

    fn save(&self, state_dir: &Path, uplink: &IfName) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        state_dir::write_durable(&file(state_dir, uplink), &bytes)
    }
}

/// Before the first move of an interface's addresses: writes the deadline to disk, if an sshd
/// session uses one of them.
///
/// # Errors
///
/// The move was undone before, and not confirmed.
pub(super) fn before_move(
    state_dir: &Path,
    uplink: &IfName,
    bridge: &IfName,
    moving: &InterfaceConfig,
) -> Result<(), SubsystemError> {
    if let Some(record) = Record::load(state_dir, uplink).filter(|r| r.bridge == *bridge) {
        return match record.stage {
            Stage::Undone => Err(undone(uplink, bridge)),
            Stage::Pending { .. } | Stage::Confirmed => Ok(()),
        };
    }
    let sessions = sessions_over(moving);
    if sessions.is_empty() {
        return Ok(());
    }
    let remotes: Vec<_> = sessions.iter().map(|s| s.remote.to_string()).collect();
    tracing::warn!(
        %uplink, %bridge, sessions = remotes.join(" "),
        "sshd sessions use the interface: its move to the bridge is undone in 60 s, unless one of \
         them goes on or nova-manage host confirm is given"
    );
    let record = Record {
        bridge: bridge.clone(),
        boot: boot_id(),
        stage: Stage::Pending {
            deadline: uptime() + TIME.as_secs(),
            sessions,
        },
    };
    save(&record, state_dir, uplink)
}

/// Right after a move: what was acknowledged until now proves nothing.
pub(super) fn after_move(state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
    let Some(mut record) = Record::load(state_dir, uplink) else {
        return Ok(());
    };
    let Stage::Pending { sessions, .. } = &mut record.stage else {
        return Ok(());
    };
    let now = established();
    for session in sessions {
        if let Some(acked) = acked_of(session, &now) {
            session.acked = acked;
        }
    }
    save(&record, state_dir, uplink)
}

/// Whether the uplink's move is to be undone now. A session with new acknowledged data confirms it.
pub(super) fn is_overdue(state_dir: &Path, uplink: &IfName) -> bool {
    let Some(record) = Record::load(state_dir, uplink) else {
        return false;
    };
    let Stage::Pending { deadline, sessions } = &record.stage else {
        return false;
    };
    let now = established();
    let goes_on = |session: &Session| acked_of(session, &now) > Some(session.acked);
    if !sessions.iter().any(goes_on) {
        return uptime() >= *deadline;
    }
    let confirmed = Record {
        stage: Stage::Confirmed,
        ..record
    };
    match confirmed.save(state_dir, uplink) {
        Ok(()) => tracing::info!(%uplink, "an sshd session goes on: its move is confirmed"),
        Err(error) => tracing::warn!(%uplink, %error, "cannot note that its move is confirmed"),
    }
    false
}

/// Notes that the move was undone, and says so.
pub(super) fn note_undone(state_dir: &Path, uplink: &IfName, bridge: &IfName) -> SubsystemError {
    let record = Record {
        bridge: bridge.clone(),
        boot: boot_id(),
        stage: Stage::Undone,
    };
    match save(&record, state_dir, uplink) {
        Ok(()) => undone(uplink, bridge),
        Err(error) => error,
    }
}

/// Forgets a released uplink.
pub(super) fn forget(state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
    let path = file(state_dir, uplink);
    state_dir::remove(&path)
        .map_err(|e| SubsystemError::kernel(format!("remove {}", path.display()), e))
}

/// The uplinks that have a record.
pub(super) fn uplinks(state_dir: &Path) -> BTreeSet<IfName> {
    let all = state_dir::interfaces(state_dir, PREFIX, SUFFIX);
    all.into_iter().collect()
}

/// `host confirm`: confirms the moves of all uplinks that wait for it or were undone, or of `only`.
/// Answers the interfaces. `state_path`: the agent's.
///
/// # Errors
///
/// What cannot be written, or that nothing waits.
pub fn confirm(state_path: &Path, only: Option<&IfName>) -> Result<Vec<IfName>, String> {
    let state_dir = state_path.join("links");
    let mut confirmed = Vec::new();
    for uplink in uplinks(&state_dir) {
        let record = Record::load(&state_dir, &uplink);
        let record = record.filter(|record| record.stage != Stage::Confirmed);
        if let Some(record) = record
            && only.is_none_or(|only| *only == uplink)
        {
            let stage = Stage::Confirmed;
            let saved = Record { stage, ..record }.save(&state_dir, &uplink);
            saved.map_err(|e| format!("interface {uplink}: cannot confirm its move: {e}"))?;
            confirmed.push(uplink);
        }
    }
    if !confirmed.is_empty() {
        return Ok(confirmed);
    }
    let what = only.map_or_else(
        || "no interface".to_owned(),
        |only| format!("interface {only}"),
    );
    Err(match only {
        None => format!("{what} waits for a confirmation on this host"),
        Some(_) => format!("{what}: does not wait for a confirmation on this host"),
    })
}

fn undone(uplink: &IfName, bridge: &IfName) -> SubsystemError {
    SubsystemError::Refused(format!(
        "interface {uplink} was taken out of bridge {bridge} again, because within 60 s no sshd \
         session over it went on: confirm the move on this host (nova-manage host confirm \
         {uplink}), or choose another flat_interface"
    ))
}

fn save(record: &Record, state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
    record.save(state_dir, uplink).map_err(|e| {
        let path = file(state_dir, uplink);
        SubsystemError::kernel(format!("write {}", path.display()), e)
    })
}

fn file(state_dir: &Path, uplink: &IfName) -> PathBuf {
    state_dir.join(format!("{PREFIX}{uplink}{SUFFIX}"))
}

/// Sessions of an sshd with a local address among those that move.
fn sessions_over(moving: &InterfaceConfig) -> Vec<Session> {
    let addresses: BTreeSet<IpAddr> = moving.addresses.iter().filter_map(local).collect();
    let mut all = established();
    all.retain(|session| addresses.contains(&session.local.ip()));
    if all.is_empty() {
        return Vec::new();
    }
    let sshd = sockets_of_sshd();
    all.retain(|session| sshd.contains(&session.inode));
    let session = |s: TcpSession| Session {
        local: s.local,
        remote: s.remote,
        acked: s.acked,
    };
    all.into_iter().map(session).collect()
}

/// None where the kernel has no `sock_diag`: then no session is known.
fn established() -> Vec<TcpSession> {
    tcp_sessions::established().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list TCP connections");
        Vec::new()
    })
}

fn acked_of(session: &Session, now: &[TcpSession]) -> Option<u64> {
    let same = |s: &&TcpSession| s.local == session.local && s.remote == session.remote;
    now.iter().find(same).map(|s| s.acked)
}

/// Inodes of the sockets of processes named `sshd` or `sshd-…` (newer versions have several).
fn sockets_of_sshd() -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_sshd = |process: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        name.trim() == "sshd" || name.starts_with("sshd-")
    };
    let files = processes.filter(is_sshd).flat_map(|process| {
        let files = std::fs::read_dir(process.path().join("fd"));
        files.into_iter().flatten().flatten()
    });
    let inode = |file: std::fs::DirEntry| {
        let target = std::fs::read_link(file.path()).ok()?;
        let number = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        number.parse().ok()
    };
    files.filter_map(inode).collect()
}

/// Seconds since the boot, suspended ones too.
fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().unwrap_or(0)
}
