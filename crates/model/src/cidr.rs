//! Reading subnets, strictly: one notation means one network. `ipnet` reads `010.0.0.0/24`, which
//! the C library takes for 8.0.0.0/24 and the standard library refuses; so subnets are read here.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Reads `ADDRESS/LENGTH`, host bits included: four decimal numbers without leading zeros, and a
/// length of 0 to 32 without sign or leading zero. `None` for anything else.
pub fn parse_cidr(text: &str) -> Option<Ipv4Net> {
    let (address, length) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let is_plain = length == "0" || !length.starts_with('0');
    if !is_plain || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Ipv4Net::new(address, length.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_cidr;

    #[test]
    fn a_subnet_has_one_notation() {
        for (text, read) in [
            ("10.0.0.0/24", Some("10.0.0.0/24")),
            ("10.0.0.7/24", Some("10.0.0.7/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("255.255.255.255/32", Some("255.255.255.255/32")),
            ("010.0.0.0/24", None),
            ("10.0.0.00/24", None),
            ("0x0a.0.0.0/24", None),
            ("10.0.0/24", None),
            ("10.0.0.0/024", None),
            ("10.0.0.0/+24", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/00", None),
            ("10.0.0.0/", None),
            ("10.0.0.0", None),
            (" 10.0.0.0/24", None),
            ("10.0.0.0/24 ", None),
        ] {
            let found = parse_cidr(text).map(|net| net.to_string());
            assert_eq!(found.as_deref(), read, "{text}");
        }
    }
}
