//! Rules of iptables from another time: of this driver on a host that nftables has now, or in the
//! variant of iptables that the administrator no longer uses. They go as soon as the rules of today
//! are in force, and not before. Depends on the programs.

use super::names::Table;
use super::programs::{Ipset, Iptables, Variant};
use super::{ipset, script};
use novanet_reconcile::SubsystemError;
use std::fmt::Write as _;

/// Where such rules may be.
#[derive(Debug)]
pub struct Leftovers {
    places: Vec<Iptables>,
    /// Sets go too; `None`: today's rules use them, or the program is missing.
    ipset: Option<Ipset>,
    /// They were looked for, and there are none any more.
    done: bool,
}

impl Leftovers {
    /// On a host where iptables has no rules of ours.
    pub(in crate::firewall) fn of_iptables() -> Self {
        let both = [Variant::Nft, Variant::Legacy];
        Self {
            places: both.into_iter().filter_map(Iptables::of).collect(),
            ipset: Ipset::find().ok(),
            done: false,
        }
    }

    /// On a host where the variant `today` has rules of ours.
    pub(super) fn of_other_variant(today: Option<Variant>) -> Self {
        let other = match today {
            Some(Variant::Nft) => Some(Variant::Legacy),
            Some(Variant::Legacy) => Some(Variant::Nft),
            None => None,
        };
        Self {
            places: other.and_then(Iptables::of).into_iter().collect(),
            ipset: None,
            done: false,
        }
    }

    /// Removes them, once per agent; `true`: there are none any more. Today's rules must be in
    /// force. A host whose iptables does not work, and that has none of our rules as far as the
    /// record knows (`is_ours`), is left alone.
    pub(in crate::firewall) async fn remove_once(&mut self, is_ours: bool) -> bool {
        if self.done {
            return true;
        }
        match self.remove(is_ours).await {
            Ok(()) => self.done = true,
            Err(error) if is_ours => {
                tracing::warn!(%error, "rules of iptables from before cannot be removed; the next round tries again");
            }
            Err(error) => {
                tracing::debug!(%error, "cannot look for rules of iptables from before");
                self.done = true;
            }
        }
        self.done
    }

    /// Removes them. `is_ours`: also rules without the ownership tag, because the record says that
    /// we made some.
    ///
    /// # Errors
    ///
    /// A program failed.
    pub(super) async fn remove(&self, is_ours: bool) -> Result<(), SubsystemError> {
        for place in &self.places {
            let (v4, v6) = place.list().await?;
            if !v4.has_ours() && !v6.has_ours() || v4.foreign().is_some() && !is_ours {
                continue;
            }
            // Deny goes last.
            let order = [Table::Nat, Table::Raw, Table::Filter];
            place
                .restore6(&script::remove(&v6).text(&order), drop)
                .await?;
            place
                .restore(&script::remove(&v4).text(&order), drop)
                .await?;
            tracing::info!("rules of iptables removed: this host does not use them any more");
        }
        if let Some(ipset) = &self.ipset {
            let sets = ipset.list().await?.sets;
            let destroy = sets.keys().filter(|name| ipset::is_ours(name));
            let script = destroy.fold(String::new(), |mut script, name| {
                let _ = writeln!(script, "destroy {name}");
                script
            });
            ipset.restore(&script).await?;
        }
        Ok(())
    }
}
