//! Who may use whom. Every rule has its reason beside it.

use super::{none, packages, rooms, short};

/// The arrows between our crates. All may also use `model`, which uses none. `bench` may use
/// everything, and nothing uses it.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["server", "agent", "control", "ec2", "lab"]),
    ("server", &["control", "ec2", "http"]),
    ("control", &["store", "pki"]),
    // `pki` for its enrolment
    ("agent", &["pki", "http"]),
];

/// Who alone may use what from outside, because it knows the thing that nobody else must know.
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
    ("ssh-key", &["pki"]),
    // talking to people
    ("clap", &["cli"]),
    ("comfy-table", &["cli"]),
    ("indicatif", &["cli"]),
    ("tracing-subscriber", &["cli"]),
    // errors without a type: fine where nobody decides by them
    ("anyhow", &["cli", "lab"]),
    ("dhcproto", &["lab"]),
];

/// Pure rooms and what would make them impure.
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

fn used(kind: &'static str) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    rooms().flat_map(move |(room, package)| {
        let of_kind = package.uses.iter().filter(move |(_, how)| *how == kind);
        of_kind.map(move |(id, _)| (room, short(&packages()[id].name), packages()[id].ours))
    })
}

fn allowed(room: &str, other: &str) -> bool {
    other == "model"
        || room == "bench"
        || ARROWS
            .iter()
            .any(|(from, to)| *from == room && to.contains(&other))
}

#[test]
fn rooms_use_each_other_only_along_the_arrows() {
    let broken = used("normal").filter(|(room, other, ours)| *ours && !allowed(room, other));
    let broken: Vec<_> = broken
        .map(|(room, other, _)| format!("{room} must not use {other}"))
        .collect();
    none("arrows that DESIGN does not have", &broken);
}

#[test]
fn tests_may_use_the_laboratory_too() {
    let broken =
        used("dev").filter(|(room, other, ours)| *ours && *other != "lab" && !allowed(room, other));
    let broken: Vec<_> = broken
        .map(|(room, other, _)| format!("the tests of {room} must not use {other}"))
        .collect();
    none("arrows that DESIGN does not have", &broken);
}

#[test]
fn every_arrow_starts_and_ends_at_a_room() {
    let known: Vec<&str> = rooms().map(|(room, _)| room).collect();
    let named = ARROWS
        .iter()
        .flat_map(|(from, to)| to.iter().chain([from]))
        .chain(ONLY.iter().flat_map(|(_, rooms)| rooms.iter()));
    let unknown: Vec<_> = named
        .filter(|name| !known.contains(name))
        .map(|name| (*name).to_owned())
        .collect();
    none("rules about rooms that there are not", &unknown);
    assert!(known.len() >= 11, "{known:?}");
}

#[test]
fn what_one_room_alone_knows_no_other_uses() {
    let only = |other: &str| {
        ONLY.iter()
            .find(|(name, _)| *name == other)
            .map(|(_, rooms)| *rooms)
    };
    let broken = used("normal").filter(|(room, other, _)| {
        *room != "bench" && only(other).is_some_and(|rooms| !rooms.contains(room))
    });
    let broken: Vec<_> = broken
        .map(|(room, other, _)| {
            format!(
                "{room} must not use {other}: that is for {:?}",
                only(other).unwrap()
            )
        })
        .collect();
    none("rooms that know too much", &broken);
}

#[test]
fn pure_rooms_stay_pure() {
    let forbidden = |room: &str, other: &str| {
        PURE.iter()
            .any(|(pure, impure)| *pure == room && impure.contains(&other))
    };
    let broken: Vec<_> = used("normal")
        .filter(|(room, other, _)| forbidden(room, other))
        .map(|(room, other, _)| format!("{room} must not use {other}"))
        .collect();
    none("pure rooms", &broken);
}

#[test]
fn a_room_has_one_binary_of_integration_tests() {
    // Linking is what costs on two cores.
    let tests = |package: &'static super::Package| {
        package
            .targets
            .iter()
            .filter(|(name, kind)| kind == "test" && name != "it")
    };
    let broken: Vec<_> = rooms()
        .flat_map(|(room, package)| {
            tests(package).map(move |(name, _)| format!("{room}: tests/{name}"))
        })
        .collect();
    none("tests outside tests/it/", &broken);
}

#[test]
fn every_room_keeps_the_workspaces_lints() {
    let lints = |package: &super::Package| {
        std::fs::read_to_string(package.folder.join("Cargo.toml"))
            .unwrap()
            .contains("[lints]\nworkspace = true\n")
    };
    let broken: Vec<_> = rooms()
        .filter(|(_, package)| !lints(package))
        .map(|(room, _)| room.to_owned())
        .collect();
    none("rooms with lints of their own", &broken);
}
