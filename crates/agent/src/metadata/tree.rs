//! nova's metadata tree, made from the server's metadata of an instance. Pure; depends on model
//! only. Folders end in `/` in listings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use novanet_model::wire::Metadata;

/// The versions that nova spoke, oldest first. `latest` is the last one.
const VERSIONS: [&str; 9] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
];

enum Node {
    Leaf(Bytes),
    /// Children in the order of the listing. A child's listed name may be longer than its path
    /// (`0=web` for `0`).
    Folder(Vec<Child>),
}

struct Child {
    name: String,
    listed: Option<String>,
    node: Node,
}

/// Whether a path is that of user-data, in a version that there is.
pub(super) fn is_user_data(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let version = parts.next().unwrap_or_default();
    let known = version == "latest" || VERSIONS.contains(&version);
    known && parts.next() == Some("user-data") && parts.next().is_none()
}

/// The answer to a request for `path`. `None`: the tree has no such path.
pub(super) fn find(metadata: &Metadata, path: &str) -> Option<Bytes> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let Some(version) = parts.next() else {
        let mut all = VERSIONS.join("\n");
        all.push_str("\nlatest");
        return Some(all.into());
    };
    let version = match version {
        "latest" => VERSIONS[VERSIONS.len() - 1],
        other => VERSIONS.iter().find(|known| **known == other)?,
    };
    let mut node = root(metadata, version);
    for part in parts {
        let Node::Folder(children) = node else {
            return None;
        };
        node = children.into_iter().find(|child| child.name == part)?.node;
    }
    Some(match node {
        Node::Leaf(bytes) => bytes,
        Node::Folder(children) => listing(&children),
    })
}

fn listing(children: &[Child]) -> Bytes {
    let lines: Vec<_> = children
        .iter()
        .map(|child| match (&child.listed, &child.node) {
            (Some(listed), _) => listed.clone(),
            (None, Node::Folder(_)) => format!("{}/", child.name),
            (None, Node::Leaf(_)) => child.name.clone(),
        })
        .collect();
    lines.join("\n").into()
}

fn root(metadata: &Metadata, version: &str) -> Node {
    let mut children = vec![folder("meta-data", meta_data(metadata, version))];
    if let Some(data) = &metadata.user_data {
        children.push(Child {
            name: "user-data".to_owned(),
            listed: None,
            node: Node::Leaf(decoded(data)),
        });
    }
    Node::Folder(children)
}

/// User-data as the user gave it. Text that is not base64 was never encoded and stays as it is.
fn decoded(data: &str) -> Bytes {
    let compact: String = data.split_whitespace().collect();
    STANDARD
        .decode(compact)
        .map_or_else(|_| Bytes::copy_from_slice(data.as_bytes()), Bytes::from)
}

fn meta_data(m: &Metadata, version: &str) -> Vec<Child> {
    let mut children = vec![
        leaf("ami-id", &m.ami_id),
        leaf("ami-launch-index", &m.ami_launch_index.to_string()),
        leaf("ami-manifest-path", "(unknown)"),
        leaf("instance-id", &m.instance_id),
        leaf("local-ipv4", &m.local_ipv4),
        leaf("reservation-id", &m.reservation_id),
        leaf("security-groups", &m.security_groups.join("\n")),
    ];
    // Versions are dates: they compare as text, and "1.0" is before all of them.
    if version >= "2007-01-19" {
        children.push(leaf("hostname", &m.hostname));
        children.push(leaf("local-hostname", &m.hostname));
        children.push(leaf("public-hostname", &m.hostname));
        children.push(leaf("public-ipv4", &m.public_ipv4));
    }
    if version >= "2007-08-29" {
        children.push(leaf("instance-type", &m.instance_type));
    }
    if version >= "2007-12-15" {
        let devices = vec![leaf("ami", "sda1"), leaf("root", "/dev/sda1")];
        children.push(folder("block-device-mapping", devices));
    }
    if version >= "2008-02-01" {
        let zone = leaf("availability-zone", &m.availability_zone);
        children.push(folder("placement", vec![zone]));
    }
    if version >= "2008-09-01" {
        children.push(leaf("instance-action", "none"));
    }
    if !m.public_keys.is_empty() {
        children.push(folder("public-keys", keys(m)));
    }
    children.sort_by(|a, b| a.name.cmp(&b.name));
    children
}

fn keys(m: &Metadata) -> Vec<Child> {
    m.public_keys
        .iter()
        .enumerate()
        .map(|(index, (name, key))| Child {
            listed: Some(format!("{index}={name}")),
            ..folder(
                &index.to_string(),
                vec![leaf("openssh-key", key.trim_end())],
            )
        })
        .collect()
}

fn leaf(name: &str, text: &str) -> Child {
    Child {
        name: name.to_owned(),
        listed: None,
        node: Node::Leaf(Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn folder(name: &str, children: Vec<Child>) -> Child {
    Child {
        name: name.to_owned(),
        listed: None,
        node: Node::Folder(children),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            instance_id: "i-0000000a".to_owned(),
            ami_id: "ami-00000001".to_owned(),
            ami_launch_index: 0,
            reservation_id: "r-00000003".to_owned(),
            instance_type: "m1.tiny".to_owned(),
            hostname: "web-1.novalocal".to_owned(),
            local_ipv4: "10.0.0.2".to_owned(),
            public_ipv4: String::new(),
            security_groups: vec!["default".to_owned(), "web".to_owned()],
            public_keys: vec![("mine".to_owned(), "ssh-ed25519 AAAA me\n".to_owned())],
            availability_zone: "nova".to_owned(),
            user_data: Some("IyEvYmluL3NoCmVjaG8gaGkK".to_owned()),
        }
    }

    fn text(path: &str) -> String {
        find(&metadata(), path).map_or_else(
            || "404".to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    #[test]
    fn the_versions_of_nova_are_listed() {
        insta::assert_snapshot!(text("/"), @r"
        1.0
        2007-01-19
        2007-03-01
        2007-08-29
        2007-10-10
        2007-12-15
        2008-02-01
        2008-09-01
        2009-04-04
        latest
        ");
    }

    #[test]
    fn the_tree_of_the_last_version_is_novas() {
        assert_eq!(text("/latest"), "meta-data/\nuser-data");
        insta::assert_snapshot!(text("/2009-04-04/meta-data/"), @r"
        ami-id
        ami-launch-index
        ami-manifest-path
        block-device-mapping/
        hostname
        instance-action
        instance-id
        instance-type
        local-hostname
        local-ipv4
        placement/
        public-hostname
        public-ipv4
        public-keys/
        reservation-id
        security-groups
        ");
    }

    #[test]
    fn leaves_and_folders_answer_with_and_without_a_slash() {
        for (path, answer) in [
            ("/latest/meta-data/instance-id", "i-0000000a"),
            ("/latest//meta-data/instance-id/", "i-0000000a"),
            ("/latest/meta-data/security-groups", "default\nweb"),
            ("/latest/meta-data/placement", "availability-zone"),
            ("/latest/meta-data/placement/availability-zone", "nova"),
            ("/latest/meta-data/public-keys/", "0=mine"),
            ("/latest/meta-data/public-keys/0/", "openssh-key"),
            (
                "/latest/meta-data/public-keys/0/openssh-key",
                "ssh-ed25519 AAAA me",
            ),
            ("/latest/meta-data/public-ipv4", ""),
            ("/latest/user-data", "#!/bin/sh\necho hi\n"),
            ("/latest/meta-data/instance-id/more", "404"),
            ("/latest/meta-data/nonsense", "404"),
            ("/2031-01-01/meta-data/", "404"),
            ("/../etc/passwd", "404"),
        ] {
            assert_eq!(text(path), answer, "{path}");
        }
    }

    #[test]
    fn an_old_version_shows_what_it_had() {
        assert_eq!(text("/1.0/meta-data/hostname"), "404");
        assert_eq!(text("/2007-01-19/meta-data/hostname"), "web-1.novalocal");
        assert_eq!(text("/2007-12-15/meta-data/placement/"), "404");
    }

    #[test]
    fn no_user_data_is_not_found_and_binary_user_data_comes_back_whole() {
        let mut m = metadata();
        m.user_data = None;
        assert!(find(&m, "/latest/user-data").is_none());
        m.user_data = Some(STANDARD.encode([0, 255, 10, 128]));
        let bytes = find(&m, "/latest/user-data").unwrap_or_default();
        assert_eq!(bytes.as_ref(), [0, 255, 10, 128]);
    }
}
