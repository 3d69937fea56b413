//! The messages between server and agent: JSON over HTTP/1.1, on a unix socket in one host's
//! process pair, over TLS between hosts. docs/agent-protocol.md has the paths.

use crate::rule::Traffic;
use crate::{HostObject, InstanceId, MacAddr, ObjectKey};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// An agent introduces itself: `POST /agent/v1/hosts/{host}/hello`. Repeated on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the program.
    pub version: String,
    /// What the host does.
    pub roles: Vec<HostRole>,
    /// The host's `my_ip`.
    pub my_ip: Ipv4Addr,
    /// Kinds of network that it can run.
    pub kinds: Vec<crate::NetworkKind>,
    /// Processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
}

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostRole {
    /// Gateway, DHCP, floating IPs.
    Network,
    /// Instances.
    Compute,
}

/// How far a follower is: `GET /agent/v1/hosts/{host}/objects?epoch=E&after=V&wait_ms=N`.
/// Without `epoch` (or with another one) the answer is a whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// Epoch of the last answer, empty at first.
    #[serde(default)]
    pub epoch: String,
    /// Version of the last answer.
    #[serde(default)]
    pub after: i64,
    /// How long to wait for news, in milliseconds (at most 30,000).
    #[serde(default)]
    pub wait_ms: u64,
}

/// Answer to [`Follow`], and what the ledger keeps. All of one snapshot of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// Changes when the operator decides about a restored copy: versions of two epochs say nothing
    /// about each other.
    pub epoch: String,
    /// The clock at this snapshot.
    pub version: i64,
    /// `true`: these are all objects, forget what you had; `false`: changes since `after`.
    pub whole: bool,
    /// Objects, and tombstones (`object` absent): those since `after` in a delta, all that are kept
    /// in a list. A host of the same epoch removes nothing that has no tombstone.
    pub changes: Vec<Change>,
    /// Epochs that this one takes over from on this host, because the operator said so
    /// (`nova-manage db restored`). In lists only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
    /// Questions waiting for an answer.
    #[serde(default)]
    pub questions: Vec<Asked>,
}

/// One object that is new or different, or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its key.
    pub key: ObjectKey,
    /// When it changed last.
    pub version: i64,
    /// What it is now; `None`: gone.
    pub object: Option<HostObject>,
}

/// `GET /agent/v1/hosts/{host}/digest`: what a follower that is up to date has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Epoch.
    pub epoch: String,
    /// The clock.
    pub version: i64,
    /// Objects that are there.
    pub count: i64,
    /// Largest of their versions.
    pub max: i64,
    /// Sum of their versions.
    pub sum: i64,
    /// [`fingerprint`] of their keys and versions, if it was asked for (`?full=true`): two
    /// histories may agree in all the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
}

/// How much of a [`Digest`] is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// With the fingerprint.
    #[serde(default)]
    pub full: bool,
}

/// A number that is another one, but for chance, when an object has another key or version. In
/// whatever order.
pub fn fingerprint<'a>(objects: impl Iterator<Item = (&'a str, i64)>) -> u64 {
    // FNV-1a of each, summed.
    let one = |(key, version): (&str, i64)| {
        let bytes = key.bytes().chain(version.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    objects.map(one).fold(0, u64::wrapping_add)
}

/// `POST /agent/v1/hosts/{host}/status`: after every round in which something changed, and as a
/// heartbeat every `report_interval`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Epoch of the objects that were applied.
    pub epoch: String,
    /// Everything up to this version has been tried; what failed is in `errors`.
    pub version: i64,
    /// Objects that are not in force, all of them; and under `host/…` what is wrong with the host
    /// itself: what every host has, and rules of others that drop what is in force.
    pub errors: Vec<ObjectError>,
    /// Instances whose state changed since the last report that was answered (all at the first).
    pub instances: Vec<InstanceReport>,
}

/// An object that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectError {
    /// Which; where the host cannot have a network at all, [`ObjectKey::of_network`].
    pub key: ObjectKey,
    /// Why, with the remedy.
    pub message: String,
}

/// State of an instance on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The instance.
    pub instance: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// The boot that this is about (see [`crate::object::Instance::boot`]).
    pub boot: i64,
    /// For people: what it waits for, why it failed, how it ended. In one line, with the remedy.
    pub detail: Option<String>,
}

/// What a host says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Being made.
    Pending,
    /// Running.
    Running,
    /// Ended by itself; its file system is kept.
    Stopped,
    /// Nothing of it is left on the host.
    Gone,
    /// Could not be started.
    Error,
}

/// `POST /agent/v1/hosts/{host}/leases`: what happened to leases, oldest first. The journal keeps
/// them until the server has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// The events.
    pub events: Vec<LeaseEvent>,
}

/// One event of one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEvent {
    /// Leased or released.
    pub event: LeaseChange,
    /// The address.
    pub address: Ipv4Addr,
    /// The MAC that had or has it.
    pub mac: MacAddr,
}

/// What happened to a lease. A renewal is not news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseChange {
    /// Handed out.
    Leased,
    /// Given back or expired.
    Released,
}

/// A question that needs an answer from a host now, as it waits in [`Objects::questions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Answer to `POST /agent/v1/hosts/{host}/answers/{id}`.
    pub id: String,
    /// The question.
    pub question: Question,
}

/// A question to a host; the same over the host's own socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// The last bytes of an instance's console (at most 64 KiB).
    Console {
        /// The instance.
        instance: InstanceId,
    },
    /// The host's plan: what it must have, or only what would change now.
    Plan {
        /// Only the difference to the present state.
        diff: bool,
    },
    /// The firewall as it is in the kernel, as text.
    Firewall,
    /// Whether the firewall lets a packet pass. The answer's text is an [`Explanation`] in JSON.
    Explain(Packet),
    /// What the firewall has in force, with counters, and where each line comes from.
    Rules(RulesView),
    /// Remove everything of ours from the host.
    Cleanup {
        /// Only say what would be removed.
        dry_run: bool,
        /// Also if instances run.
        #[serde(default)]
        force: bool,
    },
}

/// A packet that begins a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The sender.
    pub from: PacketEnd,
    /// The receiver; a floating IP leads to its instance.
    pub to: PacketEnd,
    /// One protocol with one port, or with one ICMP type and code.
    pub traffic: Traffic,
}

/// An end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketEnd {
    /// An address.
    Address(std::net::Ipv4Addr),
    /// An instance of the host, with its first address.
    Instance(InstanceId),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// It passes.
    pub allowed: bool,
    /// The word of AWS's Reachability Analyzer for the obstacle, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Which rule decides, or which is missing.
    pub why: String,
}

/// Which part of a firewall is shown, and in whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesView {
    /// The words; `None`: those of the host's driver.
    #[serde(default)]
    pub form: Option<RulesForm>,
    /// Only what concerns this instance.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Only what concerns this address.
    #[serde(default)]
    pub address: Option<std::net::Ipv4Addr>,
}

/// The words in which a firewall is shown, whichever driver it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulesForm {
    /// Those of `iptables-save -c` and `ipset save`.
    IptablesSave,
    /// Those of nft's scripts.
    Nft,
    /// A JSON object on each line, an item each.
    Json,
}

/// Answer to a [`Question`]. At most 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Text for people.
    Text {
        /// The text.
        text: String,
    },
    /// It could not be answered.
    Failed {
        /// Why.
        message: String,
    },
}

/// `GET /agent/v1/hosts/{host}/metadata/{instance}`: what an instance may learn about itself. The
/// agent renders nova's tree from it and keeps it in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `i-…`
    pub instance_id: String,
    /// `ami-…`
    pub ami_id: String,
    /// Number in the launch.
    pub ami_launch_index: i64,
    /// `r-…`
    pub reservation_id: String,
    /// `m1.tiny`
    pub instance_type: String,
    /// Host name with domain.
    pub hostname: String,
    /// Fixed IP.
    pub local_ipv4: String,
    /// Floating IP, empty if none.
    pub public_ipv4: String,
    /// Groups, by name.
    pub security_groups: Vec<String>,
    /// Key pairs: name and public key in OpenSSH's format.
    pub public_keys: Vec<(String, String)>,
    /// Zone.
    pub availability_zone: String,
    /// User data in base64; `None`: 404.
    pub user_data: Option<String>,
}
