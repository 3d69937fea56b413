//! The programs of iptables and of IP sets. Debian has two iptables: `nf_tables` and `legacy`; the
//! administrator's choice (`update-alternatives`) is the one that rules go to, and the other one
//! may have rules from before. Depends on `program` and on the listing.

use super::ipset;
use super::listing::{Listing, Saved};
use crate::firewall::program::Program;
use novanet_reconcile::SubsystemError;

const PACKAGE: &str = "iptables";

/// Where rules of iptables are in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// In tables of `nf_tables`.
    Nft,
    /// In `x_tables`.
    Legacy,
}

/// Lists and changes the rules of one variant.
#[derive(Debug)]
pub(super) struct Iptables {
    /// `None`: not known.
    variant: Option<Variant>,
    save: Program,
    restore: Program,
    save6: Program,
    restore6: Program,
}

impl Iptables {
    /// The administrator's.
    pub(super) fn find() -> Result<Self, SubsystemError> {
        let find = |name| Program::find(name, PACKAGE);
        let restore = find("iptables-restore")?;
        Ok(Self {
            variant: match restore.real_name() {
                name if name.contains("nft") => Some(Variant::Nft),
                name if name.contains("legacy") => Some(Variant::Legacy),
                _ => None,
            },
            save: find("iptables-save")?,
            restore,
            save6: find("ip6tables-save")?,
            restore6: find("ip6tables-restore")?,
        })
    }

    /// One variant by its own name. `None`: it is not installed.
    pub(super) fn of(variant: Variant) -> Option<Self> {
        let names = match variant {
            Variant::Nft => [
                "iptables-nft-save",
                "iptables-nft-restore",
                "ip6tables-nft-save",
                "ip6tables-nft-restore",
            ],
            Variant::Legacy => [
                "iptables-legacy-save",
                "iptables-legacy-restore",
                "ip6tables-legacy-save",
                "ip6tables-legacy-restore",
            ],
        };
        let [save, restore, save6, restore6] = names.map(|name| Program::find(name, PACKAGE).ok());
        Some(Self {
            variant: Some(variant),
            save: save?,
            restore: restore?,
            save6: save6?,
            restore6: restore6?,
        })
    }

    pub(super) fn variant(&self) -> Option<Variant> {
        self.variant
    }

    /// The rules in force, of IPv4 and IPv6.
    pub(super) async fn list(&self) -> Result<(Saved, Saved), SubsystemError> {
        // `iptables-legacy-save` would make empty tables where there are none.
        if self.variant == Some(Variant::Legacy) && !has_legacy_tables() {
            return Ok((Saved::default(), Saved::default()));
        }
        let v4 = self.save.call(&[], "", drop).await?;
        let v6 = self.save6.call(&[], "", drop).await?;
        Ok((Saved::read(&v4), Saved::read(&v6)))
    }

    /// The rules with their counters, as text.
    pub(super) async fn text(&self) -> Result<(String, String), SubsystemError> {
        let v4 = self.save.call(&["-c"], "", drop).await?;
        Ok((v4, self.save6.call(&["-c"], "", drop).await?))
    }

    /// Runs a script of IPv4.
    pub(super) async fn restore(
        &self,
        script: &str,
        started: impl FnOnce(u32),
    ) -> Result<(), SubsystemError> {
        let done = self.restore.call(&ARGUMENTS, script, started).await;
        done.map(drop)
    }

    /// Runs a script of IPv6.
    pub(super) async fn restore6(
        &self,
        script: &str,
        started: impl FnOnce(u32),
    ) -> Result<(), SubsystemError> {
        let done = self.restore6.call(&ARGUMENTS, script, started).await;
        done.map(drop)
    }
}

/// Rules of others stay; another process of `legacy` may hold the lock for a moment.
const ARGUMENTS: [&str; 2] = ["--noflush", "--wait=5"];

/// Whether this network namespace has tables of `x_tables`.
fn has_legacy_tables() -> bool {
    let names = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
    names.is_ok_and(|names| !names.trim().is_empty())
}

/// The `ipset` program.
#[derive(Debug)]
pub(super) struct Ipset(Program);

impl Ipset {
    pub(super) fn find() -> Result<Self, SubsystemError> {
        Program::find("ipset", "ipset").map(Self)
    }

    pub(super) async fn list(&self) -> Result<ipset::Saved, SubsystemError> {
        Ok(ipset::Saved::read(&self.text().await?))
    }

    /// All sets, as text.
    pub(super) async fn text(&self) -> Result<String, SubsystemError> {
        self.0.call(&["save"], "", drop).await
    }

    /// Runs a script. Sets that exist already, or are removed already, are no error.
    pub(super) async fn restore(&self, script: &str) -> Result<(), SubsystemError> {
        if script.is_empty() {
            return Ok(());
        }
        self.0
            .call(&["restore", "-exist"], script, drop)
            .await
            .map(drop)
    }
}

/// Everything of ours in one variant, and the sets.
pub(super) async fn listing(iptables: &Iptables, ipset: &Ipset) -> Result<Listing, SubsystemError> {
    let (v4, v6) = iptables.list().await?;
    let sets = ipset.list().await?;
    Ok(Listing { v4, v6, sets })
}
