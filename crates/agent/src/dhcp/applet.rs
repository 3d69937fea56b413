//! The applet `dhcpbridge`, which dnsmasq runs on each lease event: `add|old|del MAC ADDRESS
//! [NAME]`, and `init` when it starts without a lease file. Depends on the [`Journal`] and on the
//! hosts file.
//!
//! It works while the agent is down: it appends to the host's journal itself and then notifies the
//! agent by a datagram. It starts no tokio runtime: dnsmasq waits for `init`, and runs one process
//! per event.

use super::journal::{Journal, Lease};
use novanet_model::wire::LeaseChange;
use novanet_model::{IfName, MacAddr};
use std::collections::HashSet;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Environment variable with the journal's folder.
pub(crate) const FOLDER: &str = "NOVANET_LEASES";
/// Environment variable with the DHCP hosts file.
pub(crate) const HOSTS: &str = "NOVANET_DHCP_HOSTS";
/// Environment variable with the bridge.
pub(crate) const BRIDGE: &str = "NOVANET_BRIDGE";
/// Environment variable with the seconds of a lease.
pub(crate) const SECONDS: &str = "NOVANET_LEASE_SECONDS";

/// The agent's socket, in the journal's folder.
pub(crate) const SOCKET: &str = "agent.sock";

/// The arguments are not dnsmasq's, or the journal cannot be written.
#[derive(Debug, Error)]
pub enum BridgeError {
    /// Wrong arguments or environment.
    #[error("{0}; dnsmasq calls it: add|old|del MAC ADDRESS [NAME], or init")]
    Usage(String),
    /// Reading or writing the journal failed.
    #[error("lease journal {folder}: {source}", folder = folder.display())]
    Journal {
        /// The folder of the journal.
        folder: PathBuf,
        /// From the file system.
        source: io::Error,
    },
}

/// Handles one call by dnsmasq. `env` looks up environment variables; `out` is standard output.
pub fn run(
    arguments: &[String],
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), BridgeError> {
    let folder = env(FOLDER)
        .map(PathBuf::from)
        .ok_or_else(|| BridgeError::Usage(format!("{FOLDER} is not set in the environment")))?;
    let journal = Journal::new(&folder);
    let failed = |source| BridgeError::Journal {
        folder: folder.clone(),
        source,
    };
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["init", ..] => init(&journal, env, out).map_err(failed),
        [word @ ("add" | "del" | "old"), mac, address, ref name @ ..] => {
            let change = match word {
                "add" => LeaseChange::Leased,
                "del" => LeaseChange::Released,
                // A renewal does not change the owner.
                _ => return Ok(()),
            };
            let lease = lease(mac, address, name.first().copied(), env)?;
            journal.append(change, &lease).map_err(failed)?;
            notify_agent(&folder);
            Ok(())
        }
        // dnsmasq's other events (`tftp`, `arp-add` …) and those of later versions.
        [_, ..] => Ok(()),
        [] => Err(BridgeError::Usage("no event was named".into())),
    }
}

fn lease(
    mac: &str,
    address: &str,
    name: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Lease, BridgeError> {
    let bridge = env("DNSMASQ_INTERFACE")
        .or_else(|| env(BRIDGE))
        .ok_or_else(|| BridgeError::Usage(format!("{BRIDGE} is not set in the environment")))?;
    let usage = |e: &dyn std::fmt::Display| BridgeError::Usage(e.to_string());
    // dnsmasq puts a hardware type other than Ethernet before the address: `06-02:16:…`.
    let mac = mac.rsplit('-').next().unwrap_or(mac);
    Ok(Lease {
        bridge: IfName::new(bridge).map_err(|e| usage(&e))?,
        address: address
            .parse()
            .map_err(|e| BridgeError::Usage(format!("address {address:?}: {e}")))?,
        mac: mac.parse::<MacAddr>().map_err(|e| usage(&e))?,
        hostname: name.unwrap_or_default().to_owned(),
    })
}

/// Prints the leases of this bridge that still belong to the owner of their address, and journals
/// the others as released: dnsmasq would refuse an address to its new owner while it knows the old
/// lease.
fn init(
    journal: &Journal,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let bridge = env(BRIDGE).unwrap_or_default();
    let owners = owners(env(HOSTS).as_deref().map(Path::new));
    let seconds = env(SECONDS)
        .and_then(|text| text.parse().ok())
        .unwrap_or(120);
    // A full lease from now on: the journal does not hold its end, and an end in the past would
    // expire the lease of a running instance.
    let ends = SystemTime::now() + Duration::from_secs(seconds);
    let ends = ends.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    for lease in journal.leases()? {
        if lease.bridge.as_str() != bridge {
            continue;
        }
        if !owners.contains(&(lease.mac, lease.address)) {
            journal.append(LeaseChange::Released, &lease)?;
            continue;
        }
        let name = match lease.hostname.as_str() {
            "" => "*",
            name => name,
        };
        // The last word is the client id. dnsmasq ignores client ids (`--dhcp-ignore-clid`), also
        // those in a journal of an earlier release.
        writeln!(out, "{ends} {} {} {name} *", lease.mac, lease.address)?;
    }
    out.flush()
}

fn owners(hosts: Option<&Path>) -> HashSet<(MacAddr, Ipv4Addr)> {
    let text = hosts
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (mac, rest) = line.split_once(',')?;
            let address = rest.rsplit(',').next()?;
            Some((mac.parse().ok()?, address.parse().ok()?))
        })
        .collect()
}

/// Sends a hint. An agent that misses it finds the event in the journal.
fn notify_agent(folder: &Path) {
    if let Ok(socket) = UnixDatagram::unbound() {
        // Both fail while no agent runs.
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(b"lease\n", folder.join(SOCKET));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(folder: &Path, line: &str) -> Result<String, BridgeError> {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let hosts = folder.join("nova-br100.conf");
        let env = move |name: &str| match name {
            FOLDER => Some(folder.join("dhcp").display().to_string()),
            HOSTS => Some(hosts.display().to_string()),
            BRIDGE => Some("br100".to_owned()),
            _ => None,
        };
        let mut out = Vec::new();
        run(&arguments, &env, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn init_prints_the_leases_of_current_owners_and_ends_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(
            folder.join("nova-br100.conf"),
            "02:16:3e:00:00:01,web.novalocal,10.0.0.3\n02:16:3e:00:00:09,10.0.0.4\n",
        )
        .unwrap();
        call(folder, "add 02:16:3e:00:00:01 10.0.0.3 web").unwrap();
        call(folder, "add 02:16:3e:00:00:02 10.0.0.4 old").unwrap();
        call(folder, "old 02:16:3e:00:00:03 10.0.0.5 old").unwrap();
        let printed = call(folder, "init").unwrap();
        let (ends, rest) = printed.split_once(' ').unwrap();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(
            (now + 100..=now + 130).contains(&ends.parse().unwrap()),
            "{ends}"
        );
        assert_eq!(rest, "02:16:3e:00:00:01 10.0.0.3 web *\n");
        let journal = Journal::new(folder.join("dhcp"));
        let last = journal.pending().unwrap().pop().unwrap();
        assert_eq!(last.event, LeaseChange::Released);
        assert_eq!(last.address, Ipv4Addr::new(10, 0, 0, 4));
    }

    #[test]
    fn init_finds_a_lease_of_an_earlier_release_by_its_mac_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir(folder.join("dhcp")).unwrap();
        let line = r#"{"lease":{"bridge":"br100","address":"10.0.0.3","mac":"02:16:3e:00:00:01","hostname":"web","client_id":"01:02:16:3e:00:00:01"}}"#;
        std::fs::write(folder.join("dhcp/leases.journal"), format!("{line}\n")).unwrap();
        let hosts = "02:16:3e:00:00:01,web.novalocal,10.0.0.3\n";
        std::fs::write(folder.join("nova-br100.conf"), hosts).unwrap();
        let printed = call(folder, "init").unwrap();
        let (_, rest) = printed.split_once(' ').unwrap();
        assert_eq!(rest, "02:16:3e:00:00:01 10.0.0.3 web *\n");
        let journal = Journal::new(folder.join("dhcp"));
        assert!(journal.pending().unwrap().is_empty());
    }

    #[test]
    fn arguments_that_dnsmasq_never_passes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = call(folder.path(), "add nonsense 10.0.0.3").unwrap_err();
        assert!(
            error.to_string().starts_with("MAC address \"nonsense\""),
            "{error}"
        );
        assert!(call(folder.path(), "add 02:16:3e:00:00:01 10.0.0").is_err());
        assert!(call(folder.path(), "").is_err());
        assert_eq!(call(folder.path(), "tftp 1 10.0.0.3 file").unwrap(), "");
    }
}
