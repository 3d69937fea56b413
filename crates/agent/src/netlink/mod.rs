//! Sockets to the kernel: rtnetlink (links, addresses, routes), nfnetlink (nftables, conntrack) and
//! raw ARP frames. The link, firewall and DHCP subsystems use them; nothing here depends on a
//! subsystem.

pub(crate) mod address;
pub(crate) mod answers;
pub(crate) mod arp;
pub(crate) mod conntrack;
pub(crate) mod nf_tables;
pub(crate) mod nfnetlink;
pub(crate) mod ownership;
pub(crate) mod rtnetlink;
pub(crate) mod subscription;
pub(crate) mod tcp_sessions;
