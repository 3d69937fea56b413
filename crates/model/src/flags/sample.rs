//! A nova.conf with every flag, its meaning, its values and its default, all commented out.
//! Generated from the registry.

use super::registry::{Flag, Kind, Scope, registry};
use std::fmt::Write as _;

const HEAD: &str = "\
# Sample nova.conf of novanet: every flag with its default. Remove the # of a line to change it.
# Read from /etc/nova/nova.conf, or from the file of --flagfile=FILE. `flag = value` below a line
# [DEFAULT] means the same. `nova-manage config list` shows the values in force and their origins.
# $name stands for the value of another flag.
";

/// The text of the sample.
pub fn sample() -> String {
    let mut text = HEAD.to_owned();
    for flag in registry() {
        let _ = writeln!(text, "\n{}", comment(flag));
        let _ = writeln!(text, "#--{}={}", flag.name, flag.default);
    }
    text
}

/// Help, allowed values and users of a flag, as comments of at most 100 columns.
fn comment(flag: &Flag) -> String {
    let users = match flag.scope {
        Scope::All => "all commands",
        Scope::Server => "novanet server",
        Scope::Agent => "novanet agent",
        Scope::Manage => "nova-manage",
    };
    let text = format!("{} ({}; used by {users})", flag.help, values(flag.kind));
    let mut lines = vec![String::from("#")];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.len());
        if line + 1 + word.len() > 100 {
            lines.push(String::from("#"));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn values(kind: Kind) -> String {
    match kind {
        Kind::Switch => "true or false".to_owned(),
        Kind::Number(from, to) => format!("a number from {from} to {to}"),
        Kind::OptionalNumber(from, to) => format!("a number from {from} to {to}, or empty"),
        Kind::Text => "text".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Address => "an IPv4 address".to_owned(),
        Kind::OptionalAddress => "an IPv4 address, or empty".to_owned(),
        Kind::Addresses => "IPv4 addresses with commas, or empty".to_owned(),
        Kind::Subnets => "IPv4 subnets with commas, or empty".to_owned(),
        Kind::Subnet => "an IPv4 subnet, or empty".to_owned(),
        Kind::Interface => "an interface".to_owned(),
        Kind::OptionalInterface => "an interface, or empty".to_owned(),
        Kind::Words => "words with commas, or empty".to_owned(),
        Kind::Manager => "a network manager".to_owned(),
        Kind::FirewallDriver => "a firewall driver".to_owned(),
        Kind::Choice(words) => words.join(" or "),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::flags::{Facts, Flags, parse_file};
    use std::net::Ipv4Addr;

    const PATH: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../contrib/nova.conf.sample"
    );

    #[test]
    fn the_sample_in_contrib_is_up_to_date() {
        let there = std::fs::read_to_string(PATH).unwrap();
        if there != sample() {
            let new = std::env::temp_dir().join("nova.conf.sample");
            std::fs::write(&new, sample()).unwrap();
            panic!("out of date: cp {} contrib/", new.display());
        }
    }

    #[test]
    fn the_sample_with_all_its_lines_in_force_is_without_warnings_and_changes_nothing() {
        let uncommented = sample().replace("\n#--", "\n--");
        let parsed = parse_file("nova.conf", &uncommented);
        assert_eq!(parsed.errors, []);
        assert_eq!(parsed.given.len(), registry().len());
        let facts = Facts {
            hostname: "cloud1".to_owned(),
            address: Ipv4Addr::new(192, 0, 2, 7),
            current_dir: "/".into(),
        };
        // These two defaults are the machine's own.
        let given = parsed.given.into_iter();
        let given: Vec<_> = given
            .filter(|g| !matches!(g.name.as_str(), "host" | "my_ip"))
            .collect();
        let flags = Flags::resolve(&given, &facts).unwrap();
        assert!(flags.warnings().is_empty() && flags.notes().is_empty());
        let defaults = Flags::resolve(&[], &facts).unwrap();
        for (flag, value) in flags.all() {
            assert_eq!(
                value.text,
                defaults.get(flag.name).unwrap().text,
                "{}",
                flag.name
            );
        }
        assert!(sample().lines().all(|line| line.chars().count() <= 100));
    }
}
