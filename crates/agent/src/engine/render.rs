//! Plans as text for people: one line per item.

use super::command::Shows;
use super::reconcile::{Cleaned, Reconciler, action};
use crate::firewall;
use crate::subsystem::{Change, Subsystem};
use novanet_model::rule::{Source, Traffic};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What a subsystem must have, and what it cannot have.
pub(super) fn desired<R: Subsystem + Shows>(subsystem: &Reconciler<R>) -> String {
    let items = subsystem.desired().iter();
    let items = items.map(|(key, value)| format!("{key}: {}", R::describe(value)));
    let failures = failures(subsystem).map(|(_, line)| line);
    block::<R>(refusals(subsystem).chain(failures).chain(items), "nothing")
}

/// What would change in a subsystem, what it cannot have, and which objects do not get what they want.
pub(super) fn difference<R: Subsystem + Shows>(
    subsystem: &Reconciler<R>,
    changes: &[Change<R::Key, R::Value>],
) -> String {
    let disputes = subsystem.disputes();
    let disputes =
        disputes.map(|(item, object, why)| format!("refuse {item} to {}: {why}", object.0));
    // What failed and is right by now failed in the last round.
    let differing: BTreeSet<_> = changes.iter().map(|change| &change.key).collect();
    let failures = failures(subsystem).filter(|(key, _)| differing.contains(key));
    let failures = failures.map(|(_, line)| line);
    let lines = refusals(subsystem).chain(changes.iter().map(line::<R>));
    block::<R>(lines.chain(failures).chain(disputes), "nothing differs")
}

fn changes<R: Subsystem + Shows>(changes: &[Change<R::Key, R::Value>]) -> String {
    block::<R>(changes.iter().map(line::<R>), "nothing differs")
}

/// Items that are not in force, with a line that says why.
fn failures<R: Subsystem>(subsystem: &Reconciler<R>) -> impl Iterator<Item = (&R::Key, String)> {
    let failing = subsystem.failing.iter();
    failing.map(|(key, failure)| (key, format!("not in force: {key}: {}", failure.message)))
}

fn refusals<R: Subsystem>(subsystem: &Reconciler<R>) -> impl Iterator<Item = String> {
    subsystem.refusals().map(|(_, why)| format!("refuse {why}"))
}

fn block<R: Subsystem>(lines: impl Iterator<Item = String>, nothing: &str) -> String {
    let mut text = format!("{}\n", R::NAME);
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        let _ = writeln!(text, "  {nothing}");
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// What a cleanup removed (or would); an error if some of it failed.
pub(super) fn cleaned<R: Subsystem + Shows>(
    (removed, failures): &Cleaned<R>,
) -> Result<String, String> {
    if failures.is_empty() {
        return Ok(changes::<R>(removed));
    }
    let mut text = format!("{}: not everything could be removed\n", R::NAME);
    for (key, error) in failures {
        let _ = writeln!(text, "  {key}: {error}");
    }
    Err(text)
}

fn line<R: Subsystem + Shows>(change: &Change<R::Key, R::Value>) -> String {
    let word = action(&change.from, &change.to);
    let key = &change.key;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (R::describe(from), R::describe(to));
            format!("{word} {key}: {from} -> {to}")
        }
        (None, Some(value)) | (Some(value), None) => {
            format!("{word} {key}: {}", R::describe(value))
        }
        (None, None) => format!("{word} {key}"),
    }
}

/// A value of the firewall, in the words of a rule.
pub(super) fn firewall(value: &firewall::Value) -> String {
    use firewall::Value;
    match value {
        Value::Present => "there".to_owned(),
        Value::Damaged => "changed by somebody else".to_owned(),
        Value::Skeleton(digest) => format!("text {}", digest.get(..12).unwrap_or(digest)),
        Value::Project(project) => format!("project {project}"),
        Value::Rule(traffic, source) => format!("{} from {}", what(*traffic), whence(source)),
        Value::Groups(groups) => {
            let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
        Value::Address(address) => address.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Goto(chain) => format!("goto {chain}"),
        Value::Foreign(bytes) => format!("none of ours: {bytes:02x?}"),
    }
}

fn what(traffic: Traffic) -> String {
    let or_any = |number: &Option<u8>| number.map_or("any".to_owned(), |n| n.to_string());
    match traffic {
        Traffic::Any => "anything".to_owned(),
        Traffic::Tcp(ports) => format!("tcp {ports}"),
        Traffic::Udp(ports) => format!("udp {ports}"),
        Traffic::Icmp { icmp_type, code } => {
            format!("icmp type {} code {}", or_any(&icmp_type), or_any(&code))
        }
    }
}

fn whence(source: &Source) -> String {
    match source {
        Source::Cidr(cidr) => cidr.to_string(),
        Source::Group(group) => group.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dhcp::{DhcpValue, HostSpec};
    use crate::link::{BridgeSpec, BridgeValue, LinkValue, Mtu};
    use novanet_model::rule::Ports;
    use novanet_model::{MacAddr, NetworkId};

    #[test]
    fn a_plan_is_in_the_words_of_an_administrator() {
        let mac = MacAddr([2, 22, 62, 0, 0, 1]);
        let bridge = LinkValue::Bridge(BridgeValue::Ours(BridgeSpec {
            mac,
            mtu: Mtu::Fixed(1400),
            up: true,
            changed: Vec::new(),
            tagged: true,
        }));
        assert_eq!(bridge.to_string(), "mac 02:16:3e:00:00:01 mtu 1400 up");
        let host = DhcpValue::Host(HostSpec {
            mac,
            hostname: "web".to_owned(),
            network: NetworkId(1),
        });
        assert_eq!(host.to_string(), "02:16:3e:00:00:01 web");
        let ports = Ports { from: 80, to: 80 };
        let source = Source::Cidr("0.0.0.0/0".parse().unwrap());
        let rule = firewall::Value::Rule(Traffic::Tcp(ports), source);
        assert_eq!(firewall(&rule), "tcp 80 from 0.0.0.0/0");
    }
}
