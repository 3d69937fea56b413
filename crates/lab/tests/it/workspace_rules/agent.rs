//! Which module of `agent` may use which. Every other import between two of its modules fails the
//! test, so a new module has to be named here first. Depends on [`super::modules`].

use std::collections::BTreeSet;
use std::path::Path;

use super::modules::{Crate, Import};
use super::{crates, none};

/// What every module may use: files, settings, and the contract of a subsystem.
const COMMON: &[&str] = &[
    "boot",
    "private",
    "reserve",
    "settings",
    "subsystem",
    "atomic_file",
];

/// The module that connects the others and may use all of them.
const CONNECTS: &str = "runtime";

/// What else these modules may use. Only a service of the runtime may use the runtime.
const ARROWS: &[(&str, &[&str])] = &[
    // Each subsystem works without the others; the runtime connects them.
    ("link", &["netlink"]),
    ("firewall", &["netlink"]),
    ("dhcp", &["netlink"]),
    ("instance", &["image"]),
    // Services that do not know instances or the server: traits stand between.
    ("image", &[]),
    ("metadata", &[]),
    // They know the runtime, and no subsystem.
    ("ledger", &["runtime"]),
    ("local", &["runtime"]),
    ("server_client", &["runtime"]),
    // One socket for three subsystems.
    ("netlink", &[]),
    // A leaf that uses a subsystem is none.
    ("boot", &[]),
    ("private", &[]),
    ("reserve", &[]),
    ("settings", &[]),
    ("atomic_file", &[]),
];

/// The folder that alone knows nft's names, and what may use it: the two files that choose it, and
/// the backend that leaves the bridge family to it and shares its items.
const NFT: &str = "firewall/nft";
const NFT_USERS: [&str; 5] = [
    "firewall/mod.rs",
    "firewall/driver.rs",
    "firewall/iptables",
    // They show and explain the items that both backends share.
    "firewall/view",
    "firewall/explain.rs",
];

fn imports() -> BTreeSet<Import> {
    let (_, package) = crates().find(|(name, _)| *name == "agent").unwrap();
    Crate::read(&package.folder.join("src")).imports()
}

/// The module right below the crate's root that a file belongs to.
fn top(file: &Path) -> &str {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

fn is_allowed(import: &Import) -> bool {
    let (from, to) = (top(&import.from), top(&import.to));
    let arrows = ARROWS.iter().find(|(module, _)| *module == from);
    let is_arrow = || arrows.is_some_and(|(_, allowed)| allowed.contains(&to));
    from == to || from == CONNECTS || COMMON.contains(&to) || is_arrow()
}

fn knows_nft(import: &Import) -> bool {
    let is_user = |user: &str| import.from.starts_with(user);
    import.to.starts_with(NFT) && !is_user(NFT) && !NFT_USERS.into_iter().any(is_user)
}

fn described<'a>(imports: impl Iterator<Item = &'a Import>) -> Vec<String> {
    let line = |i: &Import| {
        format!(
            "{} must not use {} of {}",
            i.from.display(),
            i.name,
            i.to.display()
        )
    };
    imports.map(line).collect()
}

#[test]
fn the_modules_of_agent_use_each_other_only_along_the_arrows() {
    let imports = imports();
    let broken = described(imports.iter().filter(|import| !is_allowed(import)));
    none(
        "imports between modules of agent that are not in ARROWS",
        &broken,
    );
}

#[test]
fn only_the_nft_backend_knows_nft() {
    let imports = imports();
    let broken = described(imports.iter().filter(|import| knows_nft(import)));
    none("imports from firewall/nft", &broken);
    assert!(
        imports.iter().any(|i| i.from.starts_with(NFT)),
        "{NFT} is empty"
    );
}

#[test]
fn every_rule_names_a_module_that_exists() {
    let imports = imports();
    let ends = |i: &Import| [top(&i.from).to_owned(), top(&i.to).to_owned()];
    let known: BTreeSet<_> = imports.iter().flat_map(ends).collect();
    let named = ARROWS.iter().flat_map(|(from, to)| to.iter().chain([from]));
    let unknown = named.filter(|name| !known.contains(**name));
    none(
        "rules about modules that do not exist",
        &unknown.map(|name| (*name).to_owned()).collect::<Vec<_>>(),
    );
}

#[test]
fn a_forbidden_import_is_found() {
    let import = |from: &str, to: &str| Import {
        from: from.into(),
        to: to.into(),
        name: "Item".to_owned(),
    };
    for (from, to) in [
        ("link/port.rs", "instance/mod.rs"),
        ("new/mod.rs", "link/mod.rs"),
        ("firewall/mod.rs", "link/mod.rs"),
        ("dhcp/watch.rs", "runtime/run.rs"),
        ("netlink/arp.rs", "link/mod.rs"),
        ("settings.rs", "ledger.rs"),
    ] {
        assert!(!is_allowed(&import(from, to)), "{from} → {to}");
    }
    assert!(is_allowed(&import("instance/range.rs", "image/mod.rs")));
    assert!(is_allowed(&import("dhcp/item.rs", "settings.rs")));
    assert!(knows_nft(&import("link/mod.rs", "firewall/nft/mod.rs")));
    assert!(knows_nft(&import(
        "firewall/item.rs",
        "firewall/nft/script.rs"
    )));
    assert!(!knows_nft(&import(
        "firewall/mod.rs",
        "firewall/nft/mod.rs"
    )));
}
