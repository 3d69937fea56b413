//! Reserves the ports of `novanet up` before anything is made: a port that another program has is
//! an error at the start, not after half of the work.

use crate::failure::Failure;
use novanet_agent::runtime::AgentError;
use novanet_model::flags::Flags;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

/// Listeners that hold the ports until this is dropped.
pub(super) struct ReservedPorts {
    _listeners: [TcpListener; 2],
}

/// Takes the EC2 API's port and the metadata service's.
pub(super) fn reserve(flags: &Flags) -> Result<ReservedPorts, Failure> {
    let socket = flags.path("server_socket");
    if UnixStream::connect(&socket).is_ok() {
        return Err(Failure::failed(format!(
            "another server runs with this state_path: {} is its socket (stop it first, or give \
             this one another --state_path)",
            socket.display()
        )));
    }
    let ec2 = SocketAddr::V4(flags.ec2_listen());
    let api = TcpListener::bind(ec2).map_err(|e| {
        Failure::failed(format!(
            "cannot listen on {ec2}: {e} (another program has the port, or the address is not on \
             this host: see ec2_listen and ec2_listen_port)"
        ))
    })?;
    let port = flags.metadata_port();
    let metadata = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|source| Failure::because(&AgentError::Port { port, source }))?;
    Ok(ReservedPorts {
        _listeners: [api, metadata],
    })
}
