//! The MTU of bridges and ports: which one each must have, and whether it has it. Pure: depends on
//! links as they were observed.
//!
//! Without a setting, a bridge has the smallest MTU of its ports. The kernel maintains that until
//! another program sets the MTU; from then on the kernel keeps the MTU that was set. A port has the
//! MTU that its bridge had when the port was made, as its inside end has; the port's alias records
//! it.

use super::alias;
use super::kernel_state::Link;
use novanet_model::IfName;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// MTU that the kernel gives a bridge without ports.
const OF_NOTHING: u32 = 1500;

/// The MTU of a bridge or port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// From a setting.
    Fixed(u32),
    /// Of a bridge: the smallest of its ports. Of a port: the one that it was made with.
    AsMade,
    /// Another one, which others set. Observed only.
    Changed {
        /// The MTU now.
        is: u32,
        /// The MTU that it must have.
        right: u32,
    },
}

impl fmt::Display for Mtu {
    /// Continues a sentence: begins with a space, or is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(mtu) => write!(f, " mtu {mtu}"),
            Self::AsMade => Ok(()),
            Self::Changed { is, right } => write!(f, " mtu {is} instead of {right}"),
        }
    }
}

/// The MTU of each of novanet's bridges: as it is wanted, and as a number. Shared between the
/// subsystem, which observes it, and the attacher of ports.
#[derive(Debug, Clone, Default)]
pub(super) struct RightMtus(Arc<Mutex<BTreeMap<IfName, (Mtu, u32)>>>);

impl RightMtus {
    /// Replaces all, after an observation.
    pub(super) fn replace(&self, all: BTreeMap<IfName, (Mtu, u32)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Of one bridge; `None`: it is none of novanet's.
    pub(super) fn of(&self, bridge: &IfName) -> Option<(Mtu, u32)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(bridge).copied()
    }
}

/// The MTU in a port's alias, or its MTU now if the alias has none.
pub(super) fn recorded(port: &Link) -> u32 {
    alias::mtu_in(&port.alias).unwrap_or(port.mtu)
}

/// The MTU that a bridge must have, as a number. `links`: all links of the host.
pub(super) fn right<'a>(wanted: Mtu, bridge: &Link, links: impl Iterator<Item = &'a Link>) -> u32 {
    if let Mtu::Fixed(mtu) = wanted {
        return mtu;
    }
    let ports = links.filter(|link| link.master == Some(bridge.index));
    ports.map(recorded).min().unwrap_or(OF_NOTHING)
}

/// The observed MTU of a bridge, which must be `right`.
pub(super) fn of_bridge(wanted: Mtu, bridge: &Link, right: u32) -> Mtu {
    match wanted {
        Mtu::Fixed(_) => Mtu::Fixed(bridge.mtu),
        Mtu::AsMade | Mtu::Changed { .. } => compared(bridge.mtu, right),
    }
}

/// The observed MTU of a port.
pub(super) fn of_port(port: &Link) -> Mtu {
    compared(port.mtu, recorded(port))
}

/// The observed MTU of a device that must have `right`.
pub(super) fn compared(is: u32, right: u32) -> Mtu {
    if is == right {
        Mtu::AsMade
    } else {
        Mtu::Changed { is, right }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(mtu: u32, alias: &str) -> Link {
        Link {
            index: 9,
            master: Some(1),
            mtu,
            alias: alias.to_owned(),
            ..Link::default()
        }
    }

    #[test]
    fn a_bridge_must_have_what_the_kernel_makes_of_ports_that_nobody_changed() {
        let bridge = Link {
            index: 1,
            mtu: 1500,
            ..Link::default()
        };
        let right = |wanted, ports: &[Link]| right(wanted, &bridge, ports.iter());
        let made = "novanet:port:i-00000001.0 mtu 1500";
        assert_eq!(right(Mtu::AsMade, &[]), 1500);
        assert_eq!(right(Mtu::Fixed(1400), &[port(1300, "")]), 1400);
        // A foreign port counts with its MTU now, one of novanet's with the MTU it was made with.
        assert_eq!(right(Mtu::AsMade, &[port(9000, "")]), 9000);
        assert_eq!(right(Mtu::AsMade, &[port(1000, made)]), 1500);
        assert_eq!(
            right(Mtu::AsMade, &[port(1000, made), port(1450, "eth1")]),
            1450
        );
        let elsewhere = Link {
            master: Some(2),
            ..port(100, "")
        };
        assert_eq!(right(Mtu::AsMade, &[elsewhere]), 1500);
    }

    #[test]
    fn a_port_that_an_earlier_version_made_is_as_it_is() {
        assert_eq!(
            of_port(&port(1000, "novanet:port:i-00000001.0")),
            Mtu::AsMade
        );
        let changed = Mtu::Changed {
            is: 1000,
            right: 1400,
        };
        let made = "novanet:port:i-00000001.0 mtu 1400";
        assert_eq!(of_port(&port(1000, made)), changed);
        assert_eq!(changed.to_string(), " mtu 1000 instead of 1400");
        assert_eq!(of_port(&port(1400, made)), Mtu::AsMade);
    }
}
