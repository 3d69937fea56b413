//! The errors that keep the agent from starting, or that end it. An error of one object is not
//! among them: the reconciler reports it under the object's key and tries again.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the agent cannot run. The text says what to do about it.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Programs that the host needs are not installed.
    #[error("missing programs: {0}")]
    MissingPrograms(String),
    /// Not root.
    #[error("the agent changes the host's network: run it as root")]
    NotRoot,
    /// Another agent holds the lock.
    #[error(
        "another agent works on this host (it holds {0}): stop it first, or ask it through its socket"
    )]
    AlreadyRunning(PathBuf),
    /// Another agent works in this network namespace.
    #[error(
        "another agent works in this network namespace ({}): one agent per host: stop it first, or \
         run this one in a network namespace of its own",
        holder(*process)
    )]
    NamespaceTaken {
        /// Its process, if the kernel tells it; 0: one of another process namespace.
        process: Option<i32>,
    },
    /// The state folder is new, and the host is in use.
    #[error(
        "this host has links of another novanet state ({links}), and {} is new: name the state folder \
         that they belong to (--state_path=DIR), or remove them first: nova-manage host cleanup --force",
        state_path.display()
    )]
    NewState {
        /// The new folder.
        state_path: PathBuf,
        /// The links, by name.
        links: String,
    },
    /// The state folder belongs to another host.
    #[error(
        "{} is {owner}'s, and this host is called {host}: start with --host={owner}, or give that host \
         the new name: nova-manage host rename {owner} {host}",
        state_path.display()
    )]
    OtherHost {
        /// The folder.
        state_path: PathBuf,
        /// The name of the host that owns it.
        owner: String,
        /// This host's name.
        host: String,
    },
    /// A file or socket of the agent's own.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The metadata service's port is taken.
    #[error("metadata_port {port}: {source} (choose another one, or stop what uses it)")]
    Port {
        /// The value of `metadata_port`.
        port: u16,
        /// Why the agent cannot listen there.
        source: std::io::Error,
    },
    /// A port of the DHCP servers is taken, on every address of the host.
    #[error(
        "port {port} ({protocol}) is taken by another {service} server: stop it, or give it addresses \
         of its own to listen on (ss -ln{letter}p 'sport = :{port}' names it)"
    )]
    PortTaken {
        /// 53 or 67.
        port: u16,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The letter by which `ss` calls it.
        letter: char,
        /// `DNS` or `DHCP`.
        service: &'static str,
    },
    /// A subsystem could not be set up.
    #[error("{subsystem}: {source}")]
    Subsystem {
        /// The subsystem's name.
        subsystem: &'static str,
        /// The subsystem's error.
        source: novanet_reconcile::SubsystemError,
    },
    /// The host has no ledger, so its desired objects are unknown.
    #[error(
        "{0}: no ledger, so it is not known what this host must have; start the agent with a server once"
    )]
    NoLedger(PathBuf),
    /// A task of the agent ended by itself.
    #[error("{0} ended unexpectedly; see the log")]
    Ended(&'static str),
}

/// The process that has a network namespace's name, for people.
fn holder(process: Option<i32>) -> String {
    process.map_or_else(
        || "it holds @novanet/agent".to_owned(),
        |process| format!("process {process}"),
    )
}

impl AgentError {
    /// The system refused an operation on `path`.
    pub fn file(path: impl AsRef<Path>, source: impl Into<std::io::Error>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}
