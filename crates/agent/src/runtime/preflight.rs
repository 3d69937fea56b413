//! Checks before the first change that the host has the programs, the rights and the free ports
//! that an agent needs. One message names everything that is missing, with the Debian packages to
//! install. Depends on the file system and on sockets.

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

/// Programs of which one is enough, the package to install, and the role that needs it (`None`:
/// all).
type Need = (&'static [&'static str], &'static str, Option<HostRole>);

const NEEDS: [Need; 4] = [
    (&["nft"], "nftables", None),
    (&["dnsmasq"], "dnsmasq-base", Some(HostRole::Network)),
    (&["runc", "crun"], "runc", Some(HostRole::Compute)),
    (&["mkfs.ext4"], "e2fsprogs", Some(HostRole::Compute)),
];

/// Debian's folders of programs. Not `PATH`: only the crate `cli` reads the environment, and sudo
/// and cron leave `sbin` out of it.
const PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Refuses a host on which this process cannot run an agent with these roles.
pub fn check(roles: &[HostRole]) -> Result<(), AgentError> {
    refuse(&missing(roles, &[OsStr::new(PLACES)]))
}

/// [`check`], for a process that has to build the `tiny` image first.
pub fn check_to_build(roles: &[HostRole]) -> Result<(), AgentError> {
    let mut lacks = missing(roles, &[OsStr::new(PLACES)]);
    let to_build = crate::image::build::missing().into_iter();
    lacks.extend(to_build.map(|(program, package)| (program.to_owned(), package)));
    refuse(&lacks)
}

/// An address that programs do not bind by itself: a port is taken there only if a program listens
/// on every address, and so on the addresses of bridges that do not exist yet.
const UNUSED: Ipv4Addr = Ipv4Addr::new(127, 6, 7, 53);

/// Refuses a host on which dnsmasq could not listen on new bridges. Binds as dnsmasq does, so that
/// servers which share the ports with it (on other bridges or on addresses of their own) do not
/// count.
pub fn check_dhcp_ports() -> Result<(), AgentError> {
    let dns = TcpListener::bind((UNUSED, 53)).map(drop);
    free(dns, 53, "tcp", "DNS")?;
    free(bind_udp(UNUSED, 53), 53, "udp", "DNS")?;
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
        // dnsmasq reports any other error.
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

/// A missing program (or several, of which one is enough), and the package that has it.
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
