//! A DHCP client (RFC 2131) with a hardware address of the test's choice, on raw frames: it needs
//! no address, and configures none in the kernel.
//!
//! Unicast answers reach it because it answers ARP for its own lease while it waits.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

use crate::packet::{Arp, BROADCAST, Ends, Mac, Seen};
use crate::{Host, Wire};

const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// How long a client waits for one answer before it asks again, and how often it asks.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
const TRIES: u32 = 4;

/// What a server gave, or offers.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The DHCP server that offered it.
    pub server: Ipv4Addr,
    /// The hardware address that the answer came from.
    pub server_mac: Mac,
    /// The whole answer.
    pub message: Message,
}

impl Lease {
    /// An option of the answer.
    pub fn option(&self, code: OptionCode) -> Option<&DhcpOption> {
        self.message.opts().get(code)
    }

    /// The routers of the lease.
    pub fn routers(&self) -> Vec<Ipv4Addr> {
        match self.option(OptionCode::Router) {
            Some(DhcpOption::Router(routers)) => routers.clone(),
            _ => Vec::new(),
        }
    }

    /// The name servers of the lease.
    pub fn name_servers(&self) -> Vec<Ipv4Addr> {
        match self.option(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(servers)) => servers.clone(),
            _ => Vec::new(),
        }
    }

    /// The subnet mask of the lease.
    pub fn netmask(&self) -> Option<Ipv4Addr> {
        match self.option(OptionCode::SubnetMask) {
            Some(DhcpOption::SubnetMask(mask)) => Some(*mask),
            _ => None,
        }
    }

    /// How long the lease is, in seconds.
    pub fn seconds(&self) -> Option<u32> {
        match self.option(OptionCode::AddressLeaseTime) {
            Some(DhcpOption::AddressLeaseTime(seconds)) => Some(*seconds),
            _ => None,
        }
    }

    /// The host name of the lease.
    pub fn host_name(&self) -> Option<&str> {
        match self.option(OptionCode::Hostname) {
            Some(DhcpOption::Hostname(name)) => Some(name),
            _ => None,
        }
    }
}

/// A client on an interface.
#[derive(Debug)]
pub struct DhcpClient {
    wire: Wire,
    mac: Mac,
    host_name: Option<String>,
}

impl DhcpClient {
    /// A client on an interface of a host, with the interface's own hardware address.
    pub fn on(host: &Host, device: &str) -> Result<Self> {
        Ok(Self::over(Wire::tap(host, device)?))
    }

    /// A client on a tapped interface, with the interface's own hardware address.
    pub fn over(wire: Wire) -> Self {
        Self {
            mac: wire.mac(),
            wire,
            host_name: None,
        }
    }

    /// With another hardware address.
    #[must_use]
    pub fn with_mac(mut self, mac: Mac) -> Self {
        self.mac = mac;
        self
    }

    /// With a host name that it tells the server.
    #[must_use]
    pub fn with_host_name(mut self, name: &str) -> Self {
        self.host_name = Some(name.into());
        self
    }

    /// Its hardware address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The interface it works on.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Discover and request: an address as a booting machine gets one.
    pub fn obtain(&self) -> Result<Lease> {
        self.request(&self.discover()?)
    }

    /// Broadcasts a DISCOVER; answers the first offer.
    pub fn discover(&self) -> Result<Lease> {
        self.insist(MessageType::Offer, || {
            Ok((self.message(MessageType::Discover), self.to_everybody()))
        })
    }

    /// Broadcasts one DISCOVER and returns all offers that arrive within `time`, of all servers.
    pub fn offers(&self, time: Duration) -> Result<Vec<Lease>> {
        let message = self.message(MessageType::Discover);
        self.send(&message, self.to_everybody())?;
        let mut offers = Vec::new();
        self.listen(time, message.xid(), Ipv4Addr::UNSPECIFIED, |lease| {
            offers.push(lease);
            None::<()>
        })?;
        Ok(offers)
    }

    /// Takes an offer.
    pub fn request(&self, offer: &Lease) -> Result<Lease> {
        self.insist(MessageType::Ack, || {
            let mut message = self.message(MessageType::Request);
            message
                .opts_mut()
                .insert(DhcpOption::ServerIdentifier(offer.server));
            message
                .opts_mut()
                .insert(DhcpOption::RequestedIpAddress(offer.address));
            Ok((message, self.to_everybody()))
        })
    }

    /// Asks for an address it says it had before, as a machine does that was restarted (RFC 2131
    /// §4.3.2, INIT-REBOOT).
    pub fn request_again(&self, address: Ipv4Addr) -> Result<Lease> {
        self.insist(MessageType::Ack, || {
            let mut message = self.message(MessageType::Request);
            message
                .opts_mut()
                .insert(DhcpOption::RequestedIpAddress(address));
            Ok((message, self.to_everybody()))
        })
    }

    /// Renews with the server itself, unicast, as a client does at half of the lease.
    pub fn renew(&self, lease: &Lease) -> Result<Lease> {
        self.insist(MessageType::Ack, || {
            let mut message = self.message(MessageType::Request);
            message
                .set_ciaddr(lease.address)
                .set_flags(Flags::default());
            Ok((message, self.to_server(lease)))
        })
    }

    /// Releases the address. DHCP has no answer to a RELEASE.
    pub fn release(&self, lease: &Lease) -> Result<()> {
        let mut message = self.message(MessageType::Release);
        message
            .set_ciaddr(lease.address)
            .set_flags(Flags::default());
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(lease.server));
        self.send(&message, self.to_server(lease))
    }

    fn message(&self, kind: MessageType) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new(none, none, none, none, &self.mac);
        message.set_flags(Flags::default().set_broadcast());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::Hostname,
            OptionCode::DomainName,
            OptionCode::InterfaceMtu,
            OptionCode::BroadcastAddr,
        ]));
        if let Some(name) = &self.host_name {
            options.insert(DhcpOption::Hostname(name.clone()));
        }
        message
    }

    fn to_everybody(&self) -> Ends {
        Ends {
            from_mac: self.mac,
            to_mac: BROADCAST,
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::BROADCAST,
        }
    }

    fn to_server(&self, lease: &Lease) -> Ends {
        Ends {
            from_mac: self.mac,
            to_mac: lease.server_mac,
            from: lease.address,
            to: lease.server,
        }
    }

    fn send(&self, message: &Message, ends: Ends) -> Result<()> {
        self.wire.send(&ends.udp(
            CLIENT,
            SERVER,
            &message.to_vec().context("encoding a DHCP message")?,
        ))
    }

    /// Sends and waits, a few times over. A refusal is an error at once.
    fn insist(
        &self,
        wanted: MessageType,
        what: impl Fn() -> Result<(Message, Ends)>,
    ) -> Result<Lease> {
        for _ in 0..TRIES {
            let (message, ends) = what()?;
            self.send(&message, ends)?;
            let answer = self.listen(
                ANSWER_TIMEOUT,
                message.xid(),
                ends.from,
                |lease| match lease.message.opts().msg_type() {
                    Some(kind) if kind == wanted => Some(Ok(lease)),
                    Some(MessageType::Nak) => Some(Err(lease)),
                    _ => None,
                },
            )?;
            match answer {
                Some(Ok(lease)) => return Ok(lease),
                Some(Err(refusal)) => bail!(
                    "{} refused: {:?}",
                    refusal.server,
                    refusal.option(OptionCode::Message)
                ),
                None => {}
            }
        }
        bail!("no {wanted:?} from any DHCP server after {TRIES} tries of {ANSWER_TIMEOUT:?}")
    }

    /// Hears the answers to one question, and meanwhile answers for its own address.
    fn listen<T>(
        &self,
        time: Duration,
        xid: u32,
        own: Ipv4Addr,
        mut wanted: impl FnMut(Lease) -> Option<T>,
    ) -> Result<Option<T>> {
        let until = Instant::now() + time;
        while let Some(frame) = self
            .wire
            .receive(until.saturating_duration_since(Instant::now()))?
        {
            match Seen::parse(&frame) {
                Some(Seen::Arp { arp, .. })
                    if !arp.answer && arp.target == own && !own.is_unspecified() =>
                {
                    self.wire.send(
                        &Arp::answer(self.mac, own, arp.sender_mac, arp.sender)
                            .frame(self.mac, arp.sender_mac),
                    )?;
                }
                Some(Seen::Udp {
                    ends,
                    from_port: SERVER,
                    to_port: CLIENT,
                    payload,
                }) => {
                    let found = self.answer(&payload, xid, ends).and_then(&mut wanted);
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn answer(&self, payload: &[u8], xid: u32, ends: Ends) -> Option<Lease> {
        let message = Message::decode(&mut Decoder::new(payload)).ok()?;
        if message.xid() != xid || message.chaddr() != self.mac {
            return None;
        }
        let server = match message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => *server,
            _ => ends.from,
        };
        Some(Lease {
            address: message.yiaddr(),
            server,
            server_mac: ends.from_mac,
            message,
        })
    }
}

/// A DHCP server's `Ack` for an address to a client, forged: tests try with it whether an instance
/// can play the server.
pub fn forged_ack(
    server: (Mac, Ipv4Addr),
    client: Mac,
    xid: u32,
    address: Ipv4Addr,
) -> Result<Vec<u8>> {
    ensure!(!address.is_unspecified(), "an address to give");
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(xid, none, address, server.1, none, &client);
    message.set_opcode(dhcproto::v4::Opcode::BootReply);
    message
        .opts_mut()
        .insert(DhcpOption::MessageType(MessageType::Ack));
    message
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier(server.1));
    let ends = Ends {
        from_mac: server.0,
        to_mac: BROADCAST,
        from: server.1,
        to: Ipv4Addr::BROADCAST,
    };
    Ok(ends.udp(
        SERVER,
        CLIENT,
        &message.to_vec().context("encoding a DHCP message")?,
    ))
}
