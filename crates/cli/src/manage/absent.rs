//! Commands of nova's releases and of the manual that do not exist here: a table of what to do
//! instead. The grammar finds a command before it looks here, so an old entry does no harm.

/// A category, its actions (empty: every one), and what to say.
type Absent = (&'static str, &'static [&'static str], &'static str);

const TABLE: &[Absent] = &[
    (
        "network",
        &["quantum_list"],
        "not here, as there is no Quantum: nova-manage network list",
    ),
    (
        "vm",
        &["live_migration", "block_migration"],
        "not built yet: an instance stays on its host; start another one there",
    ),
    (
        "service",
        &["describe_resource", "update_resource"],
        "not built yet: nova-manage host list --format json says what a host is",
    ),
    (
        "instance_type",
        &["create", "delete"],
        "not built yet: the sizes are fixed (nova-manage instance_type list)",
    ),
    (
        "image",
        &["kernel_register", "ramdisk_register", "convert"],
        "not here, as instances are containers and have no kernel of their own: nova-manage image \
         register FILE takes a tar archive of the root file system",
    ),
    ("volume", &[], "not here: novanet has no volumes"),
    (
        "agent",
        &[],
        "not here: that was about agents inside of XenServer's guests; novanet agent is a host's, and \
         nova-manage host list shows them",
    ),
    (
        "shell",
        &[],
        "not here, as there is no Python inside: every command takes --format json for scripts, and \
         docs/schema.md describes the tables",
    ),
    ("logs", &[], "not here: journalctl -u novanet shows the log"),
    ("drive", &[], "not here: novanet has no storage arrays"),
    ("vsa", &[], "not here: novanet has no storage arrays"),
    ("sm", &[], "not here: novanet has no storage manager"),
    ("cell", &[], "not here: a cloud is one cell"),
    (
        "api_db",
        &[],
        "not here, as there is one database: nova-manage db",
    ),
];

/// What to say about a category that the grammar does not know.
pub(super) fn category(word: &str) -> Option<(&'static str, &'static str)> {
    let all = TABLE.iter().filter(|(_, actions, _)| actions.is_empty());
    only(word, all.map(|(name, _, instead)| (*name, *instead)))
}

/// What to say about an action of a category that the grammar does not know.
pub(super) fn action(category: &str, word: &str) -> Option<(&'static str, &'static str)> {
    let of = TABLE.iter().filter(|(name, ..)| *name == category);
    let all = of.flat_map(|(_, actions, instead)| actions.iter().map(move |a| (*a, *instead)));
    only(word, all)
}

/// By full name, or by the beginning of one only.
fn only(
    word: &str,
    all: impl Iterator<Item = (&'static str, &'static str)>,
) -> Option<(&'static str, &'static str)> {
    let wanted = word.to_ascii_lowercase().replace('-', "_");
    let found: Vec<_> = all.filter(|(name, _)| name.starts_with(&wanted)).collect();
    match found.as_slice() {
        [one] if !wanted.is_empty() => Some(*one),
        several => several.iter().find(|(name, _)| *name == wanted).copied(),
    }
}
