//! Dependencies between our crates and on packages from outside. Every rule has its reason beside
//! it.

use super::{crates, none, packages, short};

/// The arrows between our crates. All may also use `model`, which uses none. `bench` may use
/// everything, and nothing uses it.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["server", "agent", "control", "ec2", "lab"]),
    ("server", &["control", "ec2", "http"]),
    ("control", &["store", "pki"]),
    // `pki` for its enrolment
    ("agent", &["reconcile", "pki", "http"]),
];

/// Packages from outside that only some of our crates may use: the knowledge stays in one place.
const ONLY: &[(&str, &[&str])] = &[
    // SQL
    ("sqlx", &["store"]),
    // XML and signatures
    ("quick-xml", &["ec2"]),
    ("hmac", &["ec2"]),
    // the kernel
    ("rtnetlink", &["agent"]),
    ("netlink-packet-route", &["agent"]),
    ("netlink-packet-netfilter", &["agent"]),
    // serving HTTP
    ("axum", &["server"]),
    ("tower", &["server"]),
    ("maud", &["server"]),
    // keys and certificates
    ("rcgen", &["pki"]),
    ("p256", &["pki"]),
    ("zip", &["pki"]),
    ("ssh-key", &["pki"]),
    // output for people
    ("clap", &["cli"]),
    ("comfy-table", &["cli"]),
    ("indicatif", &["cli"]),
    ("tracing-subscriber", &["cli"]),
    // errors without a type: fine where no code decides by them
    ("anyhow", &["cli", "lab"]),
    ("dhcproto", &["lab"]),
];

/// Crates without I/O, and the packages that would bring it in.
const PURE: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "tokio", "nix", "rustix", "libc", "rand", "tracing", "tempfile",
        ],
    ),
    ("ec2", &["tokio", "nix", "rustix", "libc", "hyper", "axum"]),
    ("pki", &["tokio", "hyper", "axum", "sqlx"]),
];

/// Every dependency of this kind: our crate, the package, whether that is ours too.
fn used(kind: &'static str) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    crates().flat_map(move |(name, package)| {
        let of_kind = package.uses.iter().filter(move |(_, how)| *how == kind);
        of_kind.map(move |(id, _)| (name, short(&packages()[id].name), packages()[id].ours))
    })
}

fn allowed(name: &str, other: &str) -> bool {
    other == "model"
        || name == "bench"
        || ARROWS
            .iter()
            .any(|(from, to)| *from == name && to.contains(&other))
}

#[test]
fn crates_use_each_other_only_along_the_arrows() {
    let broken = used("normal").filter(|(name, other, ours)| *ours && !allowed(name, other));
    let broken: Vec<_> = broken
        .map(|(name, other, _)| format!("{name} must not use {other}"))
        .collect();
    none("arrows that are not drawn", &broken);
}

#[test]
fn tests_may_use_lab_too() {
    let broken =
        used("dev").filter(|(name, other, ours)| *ours && *other != "lab" && !allowed(name, other));
    let broken: Vec<_> = broken
        .map(|(name, other, _)| format!("the tests of {name} must not use {other}"))
        .collect();
    none("arrows that are not drawn", &broken);
}

#[test]
fn every_arrow_starts_and_ends_at_a_crate() {
    let known: Vec<&str> = crates().map(|(name, _)| name).collect();
    let named = ARROWS
        .iter()
        .flat_map(|(from, to)| to.iter().chain([from]))
        .chain(ONLY.iter().flat_map(|(_, crates)| crates.iter()));
    let unknown: Vec<_> = named
        .filter(|name| !known.contains(name))
        .map(|name| (*name).to_owned())
        .collect();
    none("rules about crates that do not exist", &unknown);
    assert!(known.len() >= 11, "{known:?}");
}

#[test]
fn packages_for_some_crates_are_used_by_no_other() {
    let only = |other: &str| {
        ONLY.iter()
            .find(|(name, _)| *name == other)
            .map(|(_, crates)| *crates)
    };
    let broken = used("normal").filter(|(name, other, _)| {
        *name != "bench" && only(other).is_some_and(|crates| !crates.contains(name))
    });
    let broken: Vec<_> = broken
        .map(|(name, other, _)| {
            format!(
                "{name} must not use {other}: that is for {:?}",
                only(other).unwrap()
            )
        })
        .collect();
    none("packages in the wrong crate", &broken);
}

#[test]
fn pure_crates_stay_pure() {
    let forbidden = |name: &str, other: &str| {
        PURE.iter()
            .any(|(pure, impure)| *pure == name && impure.contains(&other))
    };
    let broken: Vec<_> = used("normal")
        .filter(|(name, other, _)| forbidden(name, other))
        .map(|(name, other, _)| format!("{name} must not use {other}"))
        .collect();
    none("pure crates", &broken);
}

#[test]
fn a_crate_has_one_binary_of_integration_tests() {
    // Linking is what costs on two cores.
    let tests = |package: &'static super::Package| {
        package
            .targets
            .iter()
            .filter(|(name, kind)| kind == "test" && name != "it")
    };
    let broken: Vec<_> = crates()
        .flat_map(|(name, package)| {
            tests(package).map(move |(test, _)| format!("{name}: tests/{test}"))
        })
        .collect();
    none("tests outside tests/it/", &broken);
}

#[test]
fn every_crate_keeps_the_workspaces_lints() {
    let lints = |package: &super::Package| {
        std::fs::read_to_string(package.folder.join("Cargo.toml"))
            .unwrap()
            .contains("[lints]\nworkspace = true\n")
    };
    let broken: Vec<_> = crates()
        .filter(|(_, package)| !lints(package))
        .map(|(name, _)| name.to_owned())
        .collect();
    none("crates with lints of their own", &broken);
}
