//! DHCP and DNS for instances: one dnsmasq for each bridge, with its hosts from the bindings, and
//! the journal of leases. Depends on dnsmasq, `/proc`, the settings, and rtnetlink events.
//!
//! The subsystem observes processes by `/proc/<pid>/cmdline`, hosts by the hosts file (which
//! dnsmasq reads again on SIGHUP, without a restart) and leases by the journal. When an address
//! changes its owner, it releases the lease in the old owner's name at once, so that the new owner
//! gets it.

pub mod applet;
mod files;
mod item;
pub mod journal;
mod process;
mod release;
mod render;
mod server;
mod watch;

pub use files::Files;
pub use item::{DhcpKey, DhcpValue, HostSpec, RangeSpec};
pub use render::{Hosts, Ranges, arguments, host_line, hosts_file, name_line, names_file, script};

use crate::private;
use crate::settings::Settings;
use journal::Journal;
use novanet_model::{HostObject, IfName, MacAddr, NetworkId};
use novanet_reconcile::{Change, Desired, Subsystem, SubsystemError};
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixDatagram;
use tokio::sync::Notify;
use watch::{Bound, Watch};

type DhcpChange = Change<DhcpKey, DhcpValue>;
type Wanted = Desired<DhcpKey, DhcpValue>;

/// The subsystem releases a lease again if it is still in the journal after this time.
const RELEASE_AGAIN: Duration = Duration::from_secs(2);

/// The DHCP subsystem, in the network namespace of the thread that makes it.
#[derive(Debug)]
pub struct DhcpServers {
    settings: Settings,
    journal: Journal,
    changed_externally: Arc<Notify>,
    leases_changed: Arc<Notify>,
    servers: BTreeMap<IfName, Server>,
    /// Leases that the subsystem released and dnsmasq has not yet reported as released.
    released: BTreeMap<(IfName, Ipv4Addr, MacAddr), Instant>,
    watch: Watch,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for DhcpServers {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl DhcpServers {
    /// Needs a tokio runtime: it starts the tasks that watch processes, addresses and leases.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        let changed_externally = Arc::new(Notify::new());
        let leases_changed = Arc::new(Notify::new());
        let journal = Journal::new(settings.state_path.join("dhcp"));
        let listener = listen(&journal, Arc::clone(&leases_changed))
            .map_err(|e| SubsystemError::kernel("listen for lease events", e))?;
        Ok(Self {
            settings: settings.clone(),
            journal,
            watch: Watch::start(Arc::clone(&changed_externally))
                .map_err(|e| SubsystemError::kernel("watch rtnetlink", e))?,
            changed_externally,
            leases_changed,
            servers: BTreeMap::new(),
            released: BTreeMap::new(),
            listener,
        })
    }

    /// The leases, for reports to the server.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Notified when the journal has another event.
    pub fn leases_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.leases_changed)
    }

    fn server(&mut self, bridge: &IfName) -> &mut Server {
        let (settings, changed_externally) = (&self.settings, &self.changed_externally);
        self.servers
            .entry(bridge.clone())
            .or_insert_with(|| Server::new(settings, bridge, changed_externally))
    }
}

/// Receives the hints of [`applet::run`].
fn listen(journal: &Journal, changed: Arc<Notify>) -> io::Result<tokio::task::JoinHandle<()>> {
    private::folder(journal.folder())?;
    let path = journal.folder().join(applet::SOCKET);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // In a folder that only root may enter.
    let socket = UnixDatagram::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        let mut hint = [0; 16];
        while socket.recv(&mut hint).await.is_ok() {
            changed.notify_one();
        }
    }))
}

/// The ranges of a bridge.
fn ranges(wanted: &Wanted, bridge: &IfName) -> Ranges {
    let first = DhcpKey::Range(bridge.clone(), NetworkId(i64::MIN));
    let last = DhcpKey::Range(bridge.clone(), NetworkId(i64::MAX));
    let pick = |(key, value): (&DhcpKey, &DhcpValue)| match (key, value) {
        (DhcpKey::Range(_, network), DhcpValue::Range(spec)) => Some((*network, spec.clone())),
        _ => None,
    };
    wanted.range(first..=last).filter_map(pick).collect()
}

/// The hosts of a bridge.
fn hosts(wanted: &Wanted, bridge: &IfName) -> Hosts {
    let first = DhcpKey::Host(bridge.clone(), Ipv4Addr::UNSPECIFIED);
    let last = DhcpKey::Host(bridge.clone(), Ipv4Addr::BROADCAST);
    let pick = |(key, value): (&DhcpKey, &DhcpValue)| match (key, value) {
        (DhcpKey::Host(_, address), DhcpValue::Host(spec)) => Some((*address, spec.clone())),
        _ => None,
    };
    wanted.range(first..=last).filter_map(pick).collect()
}

/// Whether the changes need a new process. Wrong files do not: the agent repairs them under the
/// running one.
fn must_restart(server: &Server, changes: &[&DhcpChange], ranges: &Ranges) -> bool {
    let another = |change: &&DhcpChange| {
        matches!(change.key, DhcpKey::Range(..))
            && !matches!(change.from, Some(DhcpValue::Otherwise(_)))
    };
    changes.iter().any(another) || server.process_is_wrong(ranges).is_some()
}

impl Subsystem for DhcpServers {
    type Key = DhcpKey;
    type Value = DhcpValue;
    const NAME: &'static str = "dhcp";

    fn base_items(&self) -> Vec<(DhcpKey, DhcpValue)> {
        Vec::new()
    }

    fn items(&self, object: &HostObject) -> Vec<(DhcpKey, DhcpValue)> {
        item::items(&self.settings, object)
    }

    fn changed_externally(&self) -> Arc<Notify> {
        Arc::clone(&self.changed_externally)
    }

    async fn observe(
        &mut self,
        desired: &Wanted,
    ) -> Result<BTreeMap<DhcpKey, DhcpValue>, SubsystemError> {
        let mut bridges: BTreeSet<IfName> =
            desired.iter().map(|(k, _)| k.bridge().clone()).collect();
        bridges.extend(files::bridges(&self.settings.networks_path));
        let mut items = BTreeMap::new();
        let mut bound = Bound::default();
        for bridge in bridges {
            let ranges = ranges(desired, &bridge);
            let hosts = hosts(desired, &bridge);
            let server = self.server(&bridge);
            server.observe(&ranges, &hosts, &mut items);
            bound.devices.insert(bridge.clone(), server.bound());
            bound
                .servers
                .extend(ranges.values().map(|r| (r.server, bridge.clone())));
        }
        self.watch.set(bound);
        self.stale_leases(desired, &mut items)?;
        Ok(items)
    }

    async fn apply(
        &mut self,
        changes: &[DhcpChange],
        desired: &Wanted,
    ) -> Vec<(DhcpKey, SubsystemError)> {
        let mut by_bridge: BTreeMap<&IfName, Vec<&DhcpChange>> = BTreeMap::new();
        for change in changes {
            by_bridge
                .entry(change.key.bridge())
                .or_default()
                .push(change);
        }
        let mut failed = Vec::new();
        for (bridge, changes) in by_bridge {
            if let Err(error) = self.apply_bridge(bridge, &changes, desired).await {
                let text = error.to_string();
                let same = |change: &&DhcpChange| {
                    (change.key.clone(), SubsystemError::Refused(text.clone()))
                };
                failed.extend(changes.iter().skip(1).map(same));
                failed.push((changes[0].key.clone(), error));
            }
        }
        failed
    }
}

impl DhcpServers {
    /// Adds the leases that do not belong to the owner of their address: dnsmasq would refuse the
    /// address to its owner.
    fn stale_leases(
        &mut self,
        desired: &Wanted,
        items: &mut BTreeMap<DhcpKey, DhcpValue>,
    ) -> Result<(), SubsystemError> {
        self.released
            .retain(|_, since| since.elapsed() < RELEASE_AGAIN);
        let leases = self
            .journal
            .leases()
            .map_err(|e| SubsystemError::kernel("read the lease journal", e))?;
        for lease in leases {
            let runs = self.servers.get(&lease.bridge).is_some_and(Server::runs);
            let key = DhcpKey::Host(lease.bridge.clone(), lease.address);
            let owner = match desired.get(&key) {
                Some(DhcpValue::Host(spec)) => Some(spec.mac),
                _ => None,
            };
            let asked = (lease.bridge, lease.address, lease.mac);
            // While no dnsmasq runs, none refuses the address; `init` of the next one ends the
            // lease.
            if runs && owner != Some(lease.mac) && !self.released.contains_key(&asked) {
                items.insert(key, DhcpValue::StaleLease(lease.mac));
            }
        }
        Ok(())
    }

    async fn apply_bridge(
        &mut self,
        bridge: &IfName,
        changes: &[&DhcpChange],
        desired: &Wanted,
    ) -> Result<(), SubsystemError> {
        let ranges = ranges(desired, bridge);
        let hosts = hosts(desired, bridge);
        let environment = self.journal.folder().to_owned();
        if ranges.is_empty() {
            self.server(bridge).remove().await?;
            self.remove_last_script()?;
        } else {
            self.repair_folder()?;
            self.write_script()?;
            let server = self.server(bridge);
            server.write(&ranges, &hosts)?;
            server.resume().await;
            if must_restart(server, changes, &ranges) {
                server.restart(&ranges, &environment).await?;
            } else {
                server.reload()?;
            }
        }
        for change in changes {
            self.release_old_owner(bridge, change, &ranges);
        }
        Ok(())
    }

    /// Sets the folder's mode first: dnsmasq's user depends on it ([`Server`]).
    fn repair_folder(&self) -> Result<(), SubsystemError> {
        let (folder, state) = (&self.settings.networks_path, &self.settings.state_path);
        files::repair_folder(folder, state)
            .map_err(|e| SubsystemError::kernel(format!("make {}", folder.display()), e))
    }

    fn write_script(&self) -> Result<(), SubsystemError> {
        let (folder, program) = (&self.settings.networks_path, &self.settings.dhcpbridge);
        let what = || format!("write {}", files::script(folder).display());
        files::write_script(folder, &render::script(program))
            .map_err(|e| SubsystemError::kernel(what(), e))
    }

    /// Removes the script with the last server.
    fn remove_last_script(&self) -> Result<(), SubsystemError> {
        let folder = &self.settings.networks_path;
        if !files::bridges(folder).is_empty() {
            return Ok(());
        }
        let what = || format!("remove {}", files::script(folder).display());
        files::remove_script(folder).map_err(|e| SubsystemError::kernel(what(), e))
    }

    fn release_old_owner(&mut self, bridge: &IfName, change: &DhcpChange, ranges: &Ranges) {
        let DhcpKey::Host(_, address) = change.key else {
            return;
        };
        let old = match &change.from {
            Some(DhcpValue::Host(spec)) => spec.mac,
            Some(DhcpValue::StaleLease(mac)) => *mac,
            _ => return,
        };
        let keeps = matches!(&change.to, Some(DhcpValue::Host(spec)) if spec.mac == old);
        let server = ranges.values().find(|range| range.cidr.contains(&address));
        let (false, Some(range)) = (keeps, server) else {
            return;
        };
        match release::release(bridge, range.server, old, address) {
            Ok(()) => {
                let asked = (bridge.clone(), address, old);
                self.released.insert(asked, Instant::now());
            }
            // It stays in the journal, so the next round tries again.
            Err(error) => {
                tracing::warn!(%bridge, %address, mac = %old, %error, "cannot release a lease");
            }
        }
    }
}
