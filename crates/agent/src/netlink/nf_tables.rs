//! Message kinds and attributes of nf_tables that more than one module lists, and the number of the
//! last transaction. Depends on `nfnetlink`.

use super::nfnetlink::{Socket, big};
use std::io;

/// The subsystem's number, in the upper byte of a message's kind.
pub(crate) const SUBSYSTEM: u16 = 10 << 8;
/// Lists chains.
pub(crate) const GET_CHAIN: u16 = SUBSYSTEM + 4;
/// Lists rules.
pub(crate) const GET_RULE: u16 = SUBSYSTEM + 7;
/// Announces a transaction.
pub(crate) const NEW_GENERATION: u16 = SUBSYSTEM + 15;
const GET_GENERATION: u16 = SUBSYSTEM + 16;
/// The first attribute of each message about a table's contents: the table's name.
pub(crate) const TABLE_NAME: u16 = 1;
/// The number of a transaction, in the messages about it.
pub(crate) const GENERATION_ID: u16 = 1;
/// A verdict in the data of an element or a rule: its code, and the chain of a jump or goto.
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;
/// `NFT_GOTO`.
pub(crate) const GOTO: i32 = -4;

/// The number of the last transaction of any program in this network namespace.
pub(crate) fn generation(socket: &mut Socket) -> io::Result<u32> {
    let found = socket.ask(GET_GENERATION, |m| {
        m.attributes()
            .find(|(kind, _)| *kind == GENERATION_ID)
            .and_then(|(_, data)| big(data))
    })?;
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
