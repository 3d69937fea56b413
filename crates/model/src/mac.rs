//! MAC addresses.

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An Ethernet address, written `02:16:3e:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// An instance's address: nova's prefix `02:16:3e`, then `[0-7f]` and two random bytes
    /// (Diablo's `generate_mac_address`). `random` are the three bytes to draw from.
    pub fn for_instance(random: [u8; 3]) -> Self {
        Self([0x02, 0x16, 0x3e, random[0] & 0x7f, random[1], random[2]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(
            f,
            "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
            m[0], m[1], m[2], m[3], m[4], m[5]
        )
    }
}

impl FromStr for MacAddr {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let malformed = || ModelError::new("MAC address", text, "must look like 02:16:3e:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(malformed)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(malformed());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| malformed())?;
        }
        if parts.next().is_some() {
            return Err(malformed());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let mac = MacAddr::for_instance([0xff, 1, 2]);
        assert_eq!(mac.to_string(), "02:16:3e:7f:01:02");
        assert_eq!("02:16:3E:7f:1:2".parse(), Ok(mac));
        for bad in [
            "",
            "02:16:3e",
            "02:16:3e:00:00:01:02",
            "02:16:3e:00:00:+1",
            "02:16:3e:00:00:",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
