//! Makes a device together with its alias, or none. Depends on rtnetlink only.

use super::message;
use crate::netlink::rtnetlink::{Request, Socket};
use novanet_model::IfName;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use std::io;

/// Sends `before` and `make`, whose first request makes the device and whose others complete it, in
/// one send. A device that was made and could not be completed is removed again: without its alias
/// it would stay foreign for ever. The results are in the order of the requests.
pub(super) fn make_or_remove(
    socket: &mut Socket,
    name: &IfName,
    before: &[Request],
    make: &[Request],
) -> io::Result<Vec<io::Result<()>>> {
    let results = socket.send_together(&[before, make].concat())?;
    let of_device = results.get(before.len()..).unwrap_or_default();
    if of_device.first().is_some_and(Result::is_ok)
        && of_device.iter().any(Result::is_err)
        && let Some(Message::NewLink(link)) = socket.get(message::get_link(name))?
    {
        socket.request(&message::remove_link(link.header.index))?;
    }
    Ok(results)
}
