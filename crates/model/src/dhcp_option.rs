//! A DHCP option that the operator gives to a network: its text is checked here, as dnsmasq does
//! not start with a wrong one. Depends on the error type only.

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Options that dnsmasq knows by name and an operator may set.
const NAMES: &[&str] = &[
    "time-offset",
    "log-server",
    "lpr-server",
    "boot-file-size",
    "swap-server",
    "root-path",
    "extension-path",
    "default-ttl",
    "nis-domain",
    "nis-server",
    "ntp-server",
    "netbios-ns",
    "netbios-dd",
    "netbios-nodetype",
    "netbios-scope",
    "tftp-server",
    "bootfile-name",
    "smtp-server",
    "pop3-server",
    "posix-timezone",
    "tzdb-timezone",
    "domain-search",
    "sip-server",
    "tftp-server-address",
    "server-ip-address",
];

/// Options by number or name that novanet sets itself, and what sets them.
const OURS: &[(&[&str], &str)] = &[
    (&["1", "netmask"], "the network's range"),
    (&["3", "router"], "--gateway"),
    (
        &["6", "dns-server"],
        "the network's DNS server: --dns1 and --dns2 are whom it asks",
    ),
    (&["12", "hostname"], "the instance"),
    (&["15", "domain-name"], "--domain"),
    (&["26", "mtu"], "the flag network_device_mtu"),
    (&["28", "broadcast"], "the network's range"),
    (&["51", "lease-time"], "the flag dhcp_lease_time"),
    (&["121", "classless-static-route"], "--gateway"),
];

/// The longest text of an option, in bytes; the content of a DHCP option has 255.
const MAX_LENGTH: usize = 255;

/// An option as dnsmasq takes it: `42,10.0.0.9` or `ntp-server,10.0.0.9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DhcpOption(String);

impl DhcpOption {
    /// As behind dnsmasq's `--dhcp-option=`: a name gets the word `option:`.
    pub fn argument(&self) -> String {
        if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            self.0.clone()
        } else {
            format!("option:{}", self.0)
        }
    }
}

impl fmt::Display for DhcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DhcpOption {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let wrong = |reason: String| Err(ModelError::new("dhcp_option", text, reason));
        let form = "must look like ntp-server,10.0.0.9 or 42,10.0.0.9";
        let text = text.trim();
        let text = text.strip_prefix("option:").unwrap_or(text);
        let Some((option, value)) = text.split_once(',') else {
            return wrong(form.to_owned());
        };
        if value.is_empty() || text.len() > MAX_LENGTH || text.chars().any(char::is_control) {
            return wrong(format!(
                "{form}, in at most {MAX_LENGTH} bytes without control characters"
            ));
        }
        if let Some((_, by)) = OURS.iter().find(|(names, _)| names.contains(&option)) {
            return wrong(format!("is set by {by}"));
        }
        let number = option.parse::<u8>().is_ok_and(|n| (2..=254).contains(&n));
        let plain = option.bytes().all(|byte| byte.is_ascii_digit()) && !option.starts_with('0');
        if !(number && plain || NAMES.contains(&option)) {
            return wrong(format!(
                "{option}: must be a number from 2 to 254 or one of {}",
                NAMES.join(", ")
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DhcpOption {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl From<DhcpOption> for String {
    fn from(option: DhcpOption) -> Self {
        option.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_name_or_a_number_with_a_value() {
        let argument = |text: &str| text.parse::<DhcpOption>().map(|o| o.argument());
        assert_eq!(argument("42,10.0.0.9").as_deref(), Ok("42,10.0.0.9"));
        for text in ["ntp-server,10.0.0.9", "option:ntp-server,10.0.0.9"] {
            assert_eq!(argument(text).as_deref(), Ok("option:ntp-server,10.0.0.9"));
        }
        for bad in [
            "",
            "ntp-server",
            "ntp-server,",
            "0,1",
            "042,1",
            "255,1",
            "-1,1",
            "nothing,1",
            "42,a\nb",
            "router,10.0.0.1",
            "121,1",
        ] {
            assert!(argument(bad).is_err(), "{bad:?}");
        }
        let error = argument("3,10.0.0.1").map_err(|e| e.to_string());
        assert_eq!(
            error,
            Err("dhcp_option \"3,10.0.0.1\": is set by --gateway".to_owned())
        );
    }
}
