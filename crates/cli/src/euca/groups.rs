//! `euca-*` commands for security groups. Pure.

use super::{Command, Request, line};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use novanet_ec2::reader::Element;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "add-group",
        aliases: &["create-group"],
        about: "make a security group",
        example: "add-group -d \"web servers\" www",
        params: &[
            GROUP,
            param("description", Takes::Named, "a few words about it").or(&["d"]),
        ],
        request: |b| {
            let group = b.required("group")?;
            Ok(Request::new("CreateSecurityGroup")
                .with("GroupName", group)
                .with("GroupDescription", b.text("description").unwrap_or(group)))
        },
        show: |b, _| {
            let group = b.required("group")?;
            let about = b.text("description").unwrap_or(group);
            Ok(format!("GROUP\t{group}\t{about}\n"))
        },
    },
    Command {
        name: "delete-group",
        aliases: &[],
        about: "remove a security group",
        example: "delete-group www",
        params: &[GROUP],
        request: |b| Ok(Request::new("DeleteSecurityGroup").with("GroupName", b.required("group")?)),
        show: |b, _| Ok(format!("GROUP\t{}\n", b.required("group")?)),
    },
    Command {
        name: "describe-groups",
        aliases: &["describe-group"],
        about: "the project's security groups and their rules",
        example: "describe-groups",
        params: &[param("group", Takes::Optional, "only this one")],
        request: |b| {
            Ok(Request::new("DescribeSecurityGroups").maybe("GroupName.1", b.text("group")))
        },
        show: |_, answer| Ok(described(answer)),
    },
    Command {
        name: "authorize",
        aliases: &[],
        about: "let somebody in",
        example: "authorize -P tcp -p 22 -s 192.0.2.0/24 default",
        params: RULE,
        request: |b| rule("AuthorizeSecurityGroupIngress", b),
        show: |b, _| ruled(b, "ALLOWS"),
    },
    Command {
        name: "revoke",
        aliases: &[],
        about: "take back what euca-authorize did",
        example: "revoke -P tcp -p 22 -s 192.0.2.0/24 default",
        params: RULE,
        request: |b| rule("RevokeSecurityGroupIngress", b),
        show: |b, _| ruled(b, "REVOKED"),
    },
];

const GROUP: Param = param("group", Takes::Required, "the group");

const RULE: &[Param] = &[
    param("group", Takes::Many, "the group"),
    param("protocol", Takes::Named, "tcp, udp or icmp (tcp)").or(&["P"]),
    param("port_range", Takes::Named, "a port, or two like 80-90").or(&["p"]),
    param("icmp_type_code", Takes::Named, "like -1:-1, which is any").or(&["t"]),
    param("source_subnet", Takes::Named, "who (0.0.0.0/0)").or(&["s"]),
    param("source_group", Takes::Named, "the members of this group").or(&["o"]),
    param("source_group_user", Takes::Named, "owner of that group").or(&["u"]),
];

/// A rule as its options say it.
struct Rule<'a> {
    group: &'a str,
    protocol: &'a str,
    from: i64,
    to: i64,
}

/// The manual prints `euca-authorize tcp -p 22 default`, which no release understood: the first of
/// two words is the protocol.
fn read(bound: &Bound) -> Result<Rule<'_>, Failure> {
    let words = bound.all("group");
    let (group, spoken) = match words.as_slice() {
        [group] => (*group, None),
        [protocol @ ("tcp" | "udp" | "icmp"), group] => (*group, Some(*protocol)),
        _ => return Err(Failure::usage("name one group, the last word")),
    };
    let protocol = bound.text("protocol").or(spoken).unwrap_or("tcp");
    let (option, separator) = if protocol == "icmp" {
        ("icmp_type_code", ':')
    } else {
        ("port_range", '-')
    };
    let text = match (bound.text(option), protocol) {
        (Some(text), _) => text,
        (None, "icmp") => "-1:-1",
        (None, _) => {
            return Err(Failure::usage(
                "port_range is missing: say it with -p 22 or -p 80-90",
            ));
        }
    };
    let wrong = || {
        Failure::usage(format!(
            "{option} {text:?}: must be numbers like 22 or 80{separator}90"
        ))
    };
    let number = |part: &str| part.parse::<i64>().map_err(|_| wrong());
    let (from, to) = match text
        .split_once(separator)
        .filter(|(first, _)| !first.is_empty())
    {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    Ok(Rule {
        group,
        protocol,
        from,
        to,
    })
}

fn rule(action: &'static str, bound: &Bound) -> Result<Request, Failure> {
    let rule = read(bound)?;
    let request = Request::new(action)
        .with("GroupName", rule.group)
        .with("IpPermissions.1.IpProtocol", rule.protocol)
        .with("IpPermissions.1.FromPort", rule.from.to_string())
        .with("IpPermissions.1.ToPort", rule.to.to_string());
    Ok(match bound.text("source_group") {
        Some(source) => request
            .with("IpPermissions.1.Groups.1.GroupName", source)
            .maybe(
                "IpPermissions.1.Groups.1.UserId",
                bound.text("source_group_user"),
            ),
        None => request.with(
            "IpPermissions.1.IpRanges.1.CidrIp",
            bound.text("source_subnet").unwrap_or("0.0.0.0/0"),
        ),
    })
}

fn ruled(bound: &Bound, what: &str) -> Result<String, Failure> {
    let rule = read(bound)?;
    let (kind, source) = match bound.text("source_group") {
        Some(group) => ("GRPNAME", group),
        None => ("CIDR", bound.text("source_subnet").unwrap_or("0.0.0.0/0")),
    };
    let mut out = String::new();
    line(&mut out, &["GROUP", rule.group]);
    let (from, to) = (rule.from.to_string(), rule.to.to_string());
    line(
        &mut out,
        &[
            "PERMISSION",
            rule.group,
            what,
            rule.protocol,
            &from,
            &to,
            "FROM",
            kind,
            source,
        ],
    );
    Ok(out)
}

fn described(answer: &Element) -> String {
    let mut out = String::new();
    for group in answer.items("securityGroupInfo") {
        let (owner, name) = (group.text_of("ownerId"), group.text_of("groupName"));
        line(
            &mut out,
            &["GROUP", owner, name, group.text_of("groupDescription")],
        );
        for rule in group.items("ipPermissions") {
            let or_any = |text: &str| {
                if text.is_empty() {
                    "-1".to_owned()
                } else {
                    text.to_owned()
                }
            };
            let (from, to) = (
                or_any(rule.text_of("fromPort")),
                or_any(rule.text_of("toPort")),
            );
            let start = [
                "PERMISSION",
                owner,
                name,
                "ALLOWS",
                rule.text_of("ipProtocol"),
                &from,
                &to,
                "FROM",
            ];
            for range in rule.items("ipRanges") {
                line(
                    &mut out,
                    &[&start[..], &["CIDR", range.text_of("cidrIp")]].concat(),
                );
            }
            for source in rule.items("groups") {
                let by_name = source.text_of("groupName");
                let source_name = if by_name.is_empty() {
                    source.text_of("groupId")
                } else {
                    by_name
                };
                line(&mut out, &[&start[..], &["GRPNAME", source_name]].concat());
            }
        }
    }
    out
}
