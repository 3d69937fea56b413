//! What the kinds of links work with: the rtnetlink socket, the settings and the state directory.
//! Depends on the records of uplinks.

use super::announce::Announcer;
use super::ownership::TaggedBridges;
use super::uplink_migration::MigrationRecord;
use super::vlan::kernel_has_vlans;
use crate::netlink::rtnetlink::Socket;
use crate::settings::Settings;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// See the module. Works in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) settings: Settings,
    /// Records of the host: settings and uplinks as they were before novanet changed them.
    pub(super) state_dir: PathBuf,
    pub(super) socket: Socket,
    /// The kernel makes 802.1Q devices.
    pub(super) vlans: bool,
    pub(super) announcer: Announcer,
    pub(super) tagged: TaggedBridges,
}

impl Context {
    pub(super) fn open(settings: &Settings) -> Result<Self, SubsystemError> {
        let state_dir = settings.state_path.join("links");
        Ok(Self {
            settings: settings.clone(),
            tagged: TaggedBridges::load(&state_dir),
            state_dir,
            socket: Socket::open().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?,
            vlans: kernel_has_vlans(),
            announcer: Announcer::new(settings.announcements()),
        })
    }

    /// Interfaces that are enslaved to a bridge, by the records.
    pub(super) fn uplinks(&self) -> BTreeSet<IfName> {
        MigrationRecord::all(&self.state_dir).into_iter().collect()
    }

    /// Interfaces that are enslaved to this bridge, by the records.
    pub(super) fn uplinks_of(&self, bridge: &IfName) -> Vec<IfName> {
        let record = |uplink: &IfName| MigrationRecord::load(&self.state_dir, uplink);
        let mut all = MigrationRecord::all(&self.state_dir);
        all.retain(|uplink| record(uplink).is_some_and(|record| record.bridge == *bridge));
        all
    }
}
