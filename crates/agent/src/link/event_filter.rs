//! Drops learned fdb entries and neighbours before they wake the watch: a BPF program at the
//! socket. It passes fdb entries that were made or removed by hand, and every message that is no
//! entry. Depends on the kernel's message layout only.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::sys::Socket;
use socket2::{SockFilter, SockRef};
use std::io;

/// `RTM_NEWNEIGH` and, one above, `RTM_DELNEIGH`.
const NEIGHBOURS: u16 = 28;
/// `NUD_NOARP` and `NUD_PERMANENT`: an entry that was not learned.
const MADE: u16 = 0x40 | 0x80;

/// Offsets in a message: `nlmsghdr`'s type, `ndmsg`'s family and state.
const TYPE: u32 = 4;
const FAMILY: u32 = 16;
const STATE: u32 = 24;

/// From `linux/bpf_common.h`.
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Attaches the program.
pub(crate) fn attach(socket: &Socket) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&program())
}

fn program() -> [SockFilter; 9] {
    // A load takes the bytes for big-endian; the kernel wrote them in the host's order.
    let host = |value: u16| u32::from(value.to_be());
    let family = u32::from(u8::from(AddressFamily::Bridge));
    [
        SockFilter::new(LOAD_HALF, 0, 0, TYPE),
        SockFilter::new(JUMP_EQUAL, 1, 0, host(NEIGHBOURS)),
        SockFilter::new(JUMP_EQUAL, 0, 4, host(NEIGHBOURS + 1)), // another: pass
        SockFilter::new(LOAD_BYTE, 0, 0, FAMILY),
        SockFilter::new(JUMP_EQUAL, 0, 3, family), // no bridge's: drop
        SockFilter::new(LOAD_HALF, 0, 0, STATE),
        SockFilter::new(JUMP_SET, 0, 1, host(MADE)), // learned: drop
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
