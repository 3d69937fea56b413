//! The MTU of bridges and ports: what it must be, and whether it is that.
//!
//! Unless a setting says it, a bridge has the smallest MTU of its ports. The kernel sees to that until
//! somebody sets one by hand: then it keeps what it was told, whatever its ports. A port has what its
//! bridge had when the port was made, as its inside end has; the mark of the port tells it.
//!
//! Must not know: the kernel, settings.

use super::item::PORT_ALIAS_PREFIX;
use super::kernel_state::Link;
use novanet_model::IfName;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What the kernel gives a bridge without ports.
const OF_NOTHING: u32 = 1500;
/// Between a port's name and its MTU, in its alias.
const WORD: &str = " mtu ";

/// The MTU of a bridge or port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// As a setting says.
    Fixed(u32),
    /// A bridge's: the smallest of its ports'. A port's: the one that it was made with.
    AsMade,
    /// Another than that, which somebody set. Only ever observed.
    Changed {
        /// What it is.
        is: u32,
        /// What it must be.
        right: u32,
    },
}

impl fmt::Display for Mtu {
    /// To be read behind something else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(mtu) => write!(f, " mtu {mtu}"),
            Self::AsMade => Ok(()),
            Self::Changed { is, right } => write!(f, " mtu {is} instead of {right}"),
        }
    }
}

/// What the MTU of each bridge of ours must be: as it is wanted, and what that comes to.
#[derive(Debug, Clone, Default)]
pub(super) struct RightMtus(Arc<Mutex<BTreeMap<IfName, (Mtu, u32)>>>);

impl RightMtus {
    /// By an observation.
    pub(super) fn replace(&self, all: BTreeMap<IfName, (Mtu, u32)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Of one bridge; `None`: it is none of ours.
    pub(super) fn of(&self, bridge: &IfName) -> Option<(Mtu, u32)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(bridge).copied()
    }
}

/// The whole mark of a port that is made with this MTU.
pub(super) fn alias_with(alias: &str, mtu: u32) -> String {
    format!("{alias}{WORD}{mtu}")
}

/// A mark without the MTU.
pub(super) fn alias_without(alias: &str) -> &str {
    alias.rsplit_once(WORD).map_or(alias, |(mark, _)| mark)
}

/// What a port of ours was made with. Marks of earlier versions do not tell.
fn made_with(port: &Link) -> Option<u32> {
    let mark = port.alias.strip_prefix(PORT_ALIAS_PREFIX)?;
    mark.rsplit_once(WORD)?.1.parse().ok()
}

/// What the mark of a port says, or must say if it says nothing.
pub(super) fn recorded(port: &Link) -> u32 {
    made_with(port).unwrap_or(port.mtu)
}

/// What a bridge must have that is wanted so, among all links of the host.
pub(super) fn right<'a>(wanted: Mtu, bridge: &Link, links: impl Iterator<Item = &'a Link>) -> u32 {
    if let Mtu::Fixed(mtu) = wanted {
        return mtu;
    }
    let ports = links.filter(|link| link.master == Some(bridge.index));
    ports.map(recorded).min().unwrap_or(OF_NOTHING)
}

/// What a bridge has that is wanted so and must have `right`.
pub(super) fn of_bridge(wanted: Mtu, bridge: &Link, right: u32) -> Mtu {
    match wanted {
        Mtu::Fixed(_) => Mtu::Fixed(bridge.mtu),
        _ => compared(bridge.mtu, right),
    }
}

/// What a port has.
pub(super) fn of_port(port: &Link) -> Mtu {
    compared(port.mtu, recorded(port))
}

fn compared(is: u32, right: u32) -> Mtu {
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
        // Somebody's port counts as it is, one of ours as it was made.
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
