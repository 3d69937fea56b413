//! The one error of the agent: what keeps it from starting or ends it. What goes wrong with one
//! object is no such thing; that is reported under the object's key and tried again.

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
        "another agent works in this network namespace ({holder}): one agent per host: stop it first, or \
         run this one in a network namespace of its own"
    )]
    NamespaceTaken {
        /// Its process, for people.
        holder: String,
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
    /// The state folder is another host's.
    #[error(
        "{} is {owner}'s, and this host is called {host}: start with --host={owner}, or give that host \
         the new name: nova-manage host rename {owner} {host}",
        state_path.display()
    )]
    OtherHost {
        /// The folder.
        state_path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who wanted it.
        host: String,
    },
    /// A file or socket of the agent's own.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metadata service's port is taken.
    #[error("metadata_port {port}: {source} (choose another one, or stop what uses it)")]
    Port {
        /// Which.
        port: u16,
        /// errno.
        source: std::io::Error,
    },
    /// A port of the DHCP servers is taken, on every address of the host.
    #[error(
        "port {port} ({protocol}) is taken by another {service} server: stop it, or give it addresses \
         of its own to listen on (ss -ln{letter}p 'sport = :{port}' names it)"
    )]
    PortTaken {
        /// Which.
        port: u16,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The letter by which `ss` calls it.
        letter: char,
        /// What is served there.
        service: &'static str,
    },
    /// A subsystem could not be set up.
    #[error("{subsystem}: {source}")]
    Subsystem {
        /// Its name.
        subsystem: &'static str,
        /// Why.
        source: novanet_reconcile::SubsystemError,
    },
    /// The host has no ledger: nothing is known of what it must have.
    #[error(
        "{0}: no ledger, so it is not known what this host must have; start the agent with a server once"
    )]
    NoLedger(PathBuf),
    /// A task of the agent ended that must not.
    #[error("{0} ended unexpectedly; see the log")]
    Ended(&'static str),
}

impl AgentError {
    /// The system refused something about `path`.
    pub fn file(path: impl AsRef<Path>, source: impl Into<std::io::Error>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}
