//! Security group rules.

use crate::{GroupId, ModelError};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a rule lets through, in the words of EC2 (`IpProtocol`, `FromPort`, `ToPort`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub enum Traffic {
    /// Everything.
    Any,
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// ICMP of this type and code; `None` is EC2's -1, any.
    Icmp {
        /// ICMP type, `None` = any.
        icmp_type: Option<u8>,
        /// ICMP code, `None` = any.
        code: Option<u8>,
    },
}

/// An inclusive range of ports, `from` never above `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ports {
    /// First port.
    pub from: u16,
    /// Last port.
    pub to: u16,
}

/// The source of the traffic that a rule accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Addresses. `0.0.0.0/0` means the internet, the own project and traffic through
    /// floating IPs; never another project's private addresses.
    Cidr(Ipv4Net),
    /// The members of a group.
    Group(GroupId),
}

impl Traffic {
    /// Reads EC2's three parameters. Protocol by name or number; -1 stands for any.
    pub fn parse(protocol: &str, from: Option<i64>, to: Option<i64>) -> Result<Self, ModelError> {
        let lower = protocol.to_ascii_lowercase();
        match lower.as_str() {
            "-1" | "all" => Ok(Self::Any),
            "tcp" | "6" => Ports::parse(from, to, 65_535).map(Self::Tcp),
            // nova printed 65536 for "all" UDP ports (a bug that clients may send back).
            "udp" | "17" => Ports::parse(from, to, 65_536).map(Self::Udp),
            "icmp" | "1" => {
                let byte = |name, value: Option<i64>| match value {
                    None | Some(-1) => Ok(None),
                    Some(v) => u8::try_from(v)
                        .map(Some)
                        .map_err(|_| ModelError::new(name, v, "must be -1 (any) or 0 to 255")),
                };
                let icmp_type = byte("ICMP type", from)?;
                let code = byte("ICMP code", to)?;
                if icmp_type.is_none() && code.is_some() {
                    return Err(ModelError::new(
                        "ICMP code",
                        to.unwrap_or(-1),
                        "needs an ICMP type too",
                    ));
                }
                Ok(Self::Icmp { icmp_type, code })
            }
            _ => Err(ModelError::new(
                "protocol",
                protocol,
                "must be tcp, udp, icmp or -1 (all)",
            )),
        }
    }

    /// EC2's words for it: protocol, from port, to port.
    pub fn to_ec2(self) -> (&'static str, Option<i64>, Option<i64>) {
        let icmp = |v: Option<u8>| Some(v.map_or(-1, i64::from));
        match self {
            Self::Any => ("-1", None, None),
            Self::Tcp(p) => ("tcp", Some(p.from.into()), Some(p.to.into())),
            Self::Udp(p) => ("udp", Some(p.from.into()), Some(p.to.into())),
            Self::Icmp { icmp_type, code } => ("icmp", icmp(icmp_type), icmp(code)),
        }
    }
}

impl Ports {
    fn parse(from: Option<i64>, to: Option<i64>, largest: i64) -> Result<Self, ModelError> {
        let (from, to) = match (from, to) {
            (None | Some(-1), None | Some(-1)) => (1, 65_535),
            (Some(from), None) => (from, from),
            (Some(from), Some(to)) => (from, to),
            (None, Some(to)) => {
                return Err(ModelError::new(
                    "from port",
                    "",
                    format!("is missing (to port is {to})"),
                ));
            }
        };
        if !(0..=65_535).contains(&from) {
            return Err(ModelError::new(
                "from port",
                from,
                "must be 0 to 65535, or -1 for all",
            ));
        }
        if !(0..=largest).contains(&to) {
            return Err(ModelError::new(
                "to port",
                to,
                "must be 0 to 65535, or -1 for all",
            ));
        }
        if from > to {
            return Err(ModelError::new(
                "from port",
                from,
                format!("is above the to port, {to}"),
            ));
        }
        let port = |v: i64| u16::try_from(v.min(65_535)).unwrap_or(u16::MAX);
        Ok(Self {
            from: port(from),
            to: port(to),
        })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2_parameters_are_read() {
        let ports = |from, to| Ports { from, to };
        assert_eq!(
            Traffic::parse("tcp", Some(22), Some(22)),
            Ok(Traffic::Tcp(ports(22, 22)))
        );
        assert_eq!(
            Traffic::parse("UDP", Some(1), Some(65_536)),
            Ok(Traffic::Udp(ports(1, 65_535)))
        );
        assert_eq!(
            Traffic::parse("tcp", Some(-1), Some(-1)),
            Ok(Traffic::Tcp(ports(1, 65_535)))
        );
        assert_eq!(
            Traffic::parse("icmp", Some(-1), Some(-1)),
            Ok(Traffic::Icmp {
                icmp_type: None,
                code: None
            })
        );
        assert_eq!(Traffic::parse("-1", None, None), Ok(Traffic::Any));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let text = |p, f, t| Traffic::parse(p, f, t).expect_err("refused").to_string();
        assert_eq!(
            text("tcp", Some(70_000), Some(70_000)),
            "from port \"70000\": must be 0 to 65535, or -1 for all"
        );
        assert_eq!(
            text("tcp", Some(23), Some(22)),
            "from port \"23\": is above the to port, 22"
        );
        assert_eq!(
            text("sctp", None, None),
            "protocol \"sctp\": must be tcp, udp, icmp or -1 (all)"
        );
        assert_eq!(
            text("icmp", Some(300), Some(0)),
            "ICMP type \"300\": must be -1 (any) or 0 to 255"
        );
    }
}
