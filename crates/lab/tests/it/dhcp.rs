//! The DHCP client, against a real dnsmasq.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use novanet_lab::dhcp::forged_ack;
use novanet_lab::packet::{Mac, Seen};
use novanet_lab::{DhcpClient, Host, HostOptions, Wire, connect, eventually};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const KNOWN: Mac = [2, 0, 0, 0, 0, 5];
const UNKNOWN: Mac = [2, 0, 0, 0, 0, 6];

/// A DHCP server that knows one hardware address, and a client on a cable to it.
fn network() -> (Host, Host) {
    let server = Host::with("server", &HostOptions::default().private("/var/lib/misc")).unwrap();
    let client = Host::new("client").unwrap();
    connect(&server, "eth0", &client, "eth0").unwrap();
    server
        .run(&["ip", "address", "add", "10.0.0.1/24", "dev", "eth0"])
        .unwrap();
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=/run/dnsmasq.pid",
        "--no-ping",
        "--dhcp-authoritative",
        "--port=0",
    ]);
    dnsmasq.args([
        "--dhcp-range=10.0.0.0,static,255.255.255.0,300",
        "--dhcp-host=02:00:00:00:00:05,10.0.0.5,known",
    ]);
    dnsmasq.args([
        "--dhcp-option=option:dns-server,10.0.0.53",
        "--interface=eth0",
        "--dhcp-leasefile=/run/leases",
    ]);
    server
        .spawn(dnsmasq.stderr(std::process::Stdio::null()))
        .unwrap();
    eventually(Duration::from_secs(20), || {
        server.sh("test -e /run/dnsmasq.pid && ss -lun | grep -q :67")
    })
    .unwrap();
    (server, client)
}

#[test]
fn an_address_is_obtained_renewed_and_given_back() {
    let (server, client) = network();
    let dhcp = DhcpClient::on(&client, "eth0")
        .unwrap()
        .with_mac(KNOWN)
        .with_host_name("mine");
    let lease = dhcp.obtain().unwrap();
    assert_eq!(
        (lease.address, lease.server),
        (Ipv4Addr::new(10, 0, 0, 5), SERVER)
    );
    assert_eq!(
        (lease.routers(), lease.name_servers()),
        (vec![SERVER], vec![Ipv4Addr::new(10, 0, 0, 53)])
    );
    assert_eq!(
        (lease.netmask(), lease.seconds()),
        (Some(Ipv4Addr::new(255, 255, 255, 0)), Some(300))
    );
    assert_eq!(lease.host_name(), Some("known"));
    // The server's answer is unicast; nothing but the client answers its ARP.
    let renewed = dhcp.renew(&lease).unwrap();
    assert_eq!(renewed.address, lease.address);
    assert_eq!(
        dhcp.request_again(lease.address).unwrap().address,
        lease.address
    );
    assert!(
        server
            .sh("cat /run/leases")
            .unwrap()
            .stdout
            .contains("10.0.0.5")
    );
    dhcp.release(&renewed).unwrap();
    eventually(Duration::from_secs(20), || {
        let leases = server.sh("cat /run/leases")?.stdout;
        if leases.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!(leases))
        }
    })
    .unwrap();
}

#[test]
fn a_stranger_gets_no_offer_and_a_wrong_address_is_refused() {
    let (_server, client) = network();
    let stranger = DhcpClient::on(&client, "eth0").unwrap().with_mac(UNKNOWN);
    assert!(
        stranger
            .offers(Duration::from_millis(200))
            .unwrap()
            .is_empty()
    );
    let known = DhcpClient::on(&client, "eth0").unwrap().with_mac(KNOWN);
    let offers = eventually(Duration::from_secs(20), || {
        let offers = known.offers(Duration::from_millis(500))?;
        anyhow::ensure!(!offers.is_empty(), "no offer");
        Ok(offers)
    });
    assert_eq!(
        offers
            .unwrap()
            .iter()
            .map(|offer| offer.server)
            .collect::<Vec<_>>(),
        [SERVER]
    );
    let refusal = known
        .request_again(Ipv4Addr::new(10, 0, 0, 77))
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("10.0.0.1 refused"), "{refusal}");
}

#[test]
fn a_forged_answer_looks_like_a_servers() {
    let (server, client) = network();
    let (here, there) = (
        Wire::tap(&client, "eth0").unwrap(),
        Wire::tap(&server, "eth0").unwrap(),
    );
    let forged = forged_ack(
        (here.mac(), Ipv4Addr::new(10, 0, 0, 66)),
        KNOWN,
        7,
        Ipv4Addr::new(10, 0, 0, 9),
    )
    .unwrap();
    here.send(&forged).unwrap();
    let ports = there.find(Duration::from_secs(20), |frame| match Seen::parse(frame)? {
        Seen::Udp {
            from_port, to_port, ..
        } => Some((from_port, to_port)),
        _ => None,
    });
    assert_eq!(ports.unwrap(), Some((67, 68)));
}
