//! What a host must bring, looked at before anything is changed: everything that is missing in one
//! message, with the Debian packages to install.

use super::error::AgentError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use novanet_model::wire::HostRole;
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Programs of which one is enough, the package to install, and who needs it.
type Need = (&'static [&'static str], &'static str, Option<HostRole>);

const NEEDS: [Need; 4] = [
    (&["nft"], "nftables", None),
    (&["dnsmasq"], "dnsmasq-base", Some(HostRole::Network)),
    (&["runc", "crun"], "runc", Some(HostRole::Compute)),
    (&["mkfs.ext4"], "e2fsprogs", Some(HostRole::Compute)),
];

/// Debian's places for programs. `PATH` is not asked: only the binary reads the environment, and sudo
/// and cron leave `sbin` out of it.
const PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether this process may run an agent with these roles here.
pub fn check(roles: &[HostRole]) -> Result<(), AgentError> {
    refuse(&missing(roles, &[OsStr::new(PLACES)]))
}

/// [`check`], for one that has to build the `tiny` image first.
pub fn check_to_build(roles: &[HostRole]) -> Result<(), AgentError> {
    let mut lacks = missing(roles, &[OsStr::new(PLACES)]);
    let to_build = crate::image::build::missing().into_iter();
    lacks.extend(to_build.map(|(program, package)| (program.to_owned(), package)));
    refuse(&lacks)
}

/// An address that nobody listens on by itself: a port cannot be had there only if somebody has it on
/// every address, and so on the bridges' that are not there yet.
const NOBODYS: Ipv4Addr = Ipv4Addr::new(127, 6, 7, 53);

/// Whether DHCP servers can be started on bridges that are to be made. Asks as dnsmasq will; servers
/// that get along with it (for other bridges, or on addresses of their own) are no obstacle.
pub fn check_dhcp_ports() -> Result<(), AgentError> {
    let dns = TcpListener::bind((NOBODYS, 53)).map(drop);
    free(dns, 53, "tcp", "DNS")?;
    free(bind_udp(NOBODYS, 53), 53, "udp", "DNS")?;
    free(bind_udp(Ipv4Addr::UNSPECIFIED, 67), 67, "udp", "DHCP")
}

fn free(
    bound: io::Result<()>,
    port: u16,
    protocol: &'static str,
    service: &'static str,
) -> Result<(), AgentError> {
    match bound {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(AgentError::PortTaken {
            port,
            protocol,
            letter: if protocol == "tcp" { 't' } else { 'u' },
            service,
        }),
        // Whatever else there is, dnsmasq will say it.
        _ => Ok(()),
    }
}

fn bind_udp(address: Ipv4Addr, port: u16) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let udp = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&udp, sockopt::ReuseAddr, &true)?;
    if port == 67 {
        setsockopt(&udp, sockopt::ReusePort, &true)?;
    }
    let address = SockaddrIn::from(SocketAddrV4::new(address, port));
    Ok(bind(udp.as_raw_fd(), &address)?)
}

/// Programs, and the packages that have them.
type Lack = (String, &'static str);

fn refuse(lacks: &[Lack]) -> Result<(), AgentError> {
    if !rustix::process::geteuid().is_root() {
        return Err(AgentError::NotRoot);
    }
    if lacks.is_empty() {
        return Ok(());
    }
    Err(AgentError::MissingPrograms(words(lacks)))
}

fn words(lacks: &[Lack]) -> String {
    let programs: Vec<_> = lacks.iter().map(|(program, _)| program.as_str()).collect();
    let mut packages: Vec<_> = lacks.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    format!(
        "{}; install them with: apt-get install {}",
        programs.join(", "),
        packages.join(" ")
    )
}

fn missing(roles: &[HostRole], paths: &[&OsStr]) -> Vec<Lack> {
    let needed = |need: &&Need| need.2.is_none_or(|role| roles.contains(&role));
    let there = |program: &str| {
        let folders = paths.iter().flat_map(std::env::split_paths);
        folders
            .into_iter()
            .any(|dir| is_program(&dir.join(program)))
    };
    NEEDS
        .iter()
        .filter(needed)
        .filter(|(programs, ..)| !programs.iter().any(|program| there(program)))
        .map(|(programs, package, _)| (programs.join(" or "), *package))
        .collect()
}

fn is_program(path: &Path) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once_with_its_package() {
        let none = [OsStr::new("/nonexistent")];
        assert_eq!(
            words(&missing(&[HostRole::Network, HostRole::Compute], &none)),
            "nft, dnsmasq, runc or crun, mkfs.ext4; install them with: \
             apt-get install nftables dnsmasq-base runc e2fsprogs"
        );
        assert_eq!(
            words(&missing(&[HostRole::Compute], &none)),
            "nft, runc or crun, mkfs.ext4; install them with: \
             apt-get install nftables runc e2fsprogs"
        );
    }

    #[test]
    fn a_folder_or_a_plain_file_is_no_program() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/bin")));
        assert!(!is_program(Path::new("/etc/passwd")));
    }
}
