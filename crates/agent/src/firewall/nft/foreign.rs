//! Rules of others that are stricter than ours: a packet that we accept still passes every other base
//! chain, and one whose policy is to drop (a host firewall, a container engine) ends it there. We
//! never touch what is not ours; we say what to do.

use super::super::netlink::{Received, Socket, big, text, walk};
use super::dump;
use super::skeleton::TABLE;
use std::collections::BTreeSet;
use std::io;

const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const DROP: u32 = 0;

/// Remembers what it has told, so that every thing is told once.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    told: BTreeSet<String>,
}

impl Foreign {
    /// Warns of what is new since the last look.
    pub(super) fn look(&mut self, socket: &mut Socket) {
        let found = match troubles(socket) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "cannot list chains of others");
                return;
            }
        };
        for trouble in found.difference(&self.told) {
            tracing::warn!("{trouble}");
        }
        self.told = found;
    }
}

/// One text for each chain of others that drops by its policy what we would let through.
pub(super) fn troubles(socket: &mut Socket) -> io::Result<BTreeSet<String>> {
    const EVERY_FAMILY: u8 = 0;
    socket.dump(
        dump::GET_CHAIN,
        EVERY_FAMILY,
        |_| {},
        |found: &mut BTreeSet<String>, message| found.extend(trouble(message)),
    )
}

fn trouble(message: Received<'_>) -> Option<String> {
    let family = match message.family() {
        1 => "inet",
        2 => "ip",
        7 => "bridge",
        _ => return None, // instances have no IPv6
    };
    let part = |wanted| message.attributes().find(|(kind, _)| *kind == wanted);
    let table = text(part(dump::TABLE_NAME)?.1);
    let chain = text(part(NAME)?.1);
    let hook = walk(part(HOOK)?.1).find(|(kind, _)| *kind == HOOK_NUMBER);
    if table == TABLE || big(part(POLICY)?.1)? != DROP {
        return None;
    }
    let (what, whom) = match big(hook?.1)? {
        1 => ("input", "instances' DHCP, DNS and metadata"),
        2 => ("forward", "traffic of instances"),
        _ => return None,
    };
    Some(format!(
        "the chain {family} {table} {chain} (hook {what}, policy drop) is not ours and drops {whom} \
         unless a rule of it accepts them: allow them there (by interface: the networks' bridges), \
         or set its policy to accept"
    ))
}
