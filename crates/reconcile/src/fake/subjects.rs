//! What the fake subsystems make of a host's objects: roughly what the real ones do, as text.

use super::{FakeDhcp, FakeFirewall, FakeInstances, FakeLinks, Subject};
use novanet_model::HostObject;

impl Subject for FakeLinks {
    const NAME: &'static str = "links";
    const SEES: bool = true;

    fn items(object: &HostObject) -> Vec<(String, String)> {
        match object {
            HostObject::Bridge(o) => {
                vec![(format!("bridge/{}", o.bridge), format!("mtu {:?}", o.mtu))]
            }
            HostObject::Gateway(o) => {
                let key = format!("gateway/{}/{}", o.bridge, o.address);
                vec![(key, "up".to_owned())]
            }
            HostObject::Port(o) => {
                vec![(
                    format!("port/{}", o.name),
                    format!("{} in {}", o.mac, o.bridge),
                )]
            }
            HostObject::FloatingIp(o) => vec![(format!("route/{}", o.address), "local".to_owned())],
            _ => Vec::new(),
        }
    }
}

impl Subject for FakeFirewall {
    const NAME: &'static str = "firewall";

    fn base() -> Vec<(String, String)> {
        vec![("base".to_owned(), "default deny".to_owned())]
    }

    fn items(object: &HostObject) -> Vec<(String, String)> {
        match object {
            HostObject::Gateway(o) => {
                vec![(format!("snat/{}", o.address.trunc()), "out".to_owned())]
            }
            HostObject::FloatingIp(o) => {
                vec![(format!("float/{}", o.address), o.fixed.to_string())]
            }
            HostObject::Group(o) => vec![(format!("group/{}", o.group), o.project.to_string())],
            HostObject::Rule(o) => {
                let key = format!("rule/{}/{}", o.group, o.rule);
                vec![(key, format!("{:?} from {:?}", o.traffic, o.source))]
            }
            HostObject::Block(o) => {
                vec![(format!("block/{}", o.block), o.source.to_string())]
            }
            HostObject::Member(o) => {
                vec![(format!("member/{}/{}", o.group, o.address), "in".to_owned())]
            }
            HostObject::ProjectAddress(o) => {
                vec![(
                    format!("project/{}/{}", o.project, o.address),
                    "own".to_owned(),
                )]
            }
            HostObject::VpnForward(o) => vec![(
                format!("vpn/{}/{}", o.address, o.port),
                format!("{}:{}", o.to_address, o.to_port),
            )],
            HostObject::Port(o) => vec![
                (
                    format!("guard/{}", o.name),
                    format!("{} {}", o.mac, o.address),
                ),
                (
                    format!("combination/{}", o.combination),
                    format!("{:?}", o.groups),
                ),
            ],
            _ => Vec::new(),
        }
    }
}

impl Subject for FakeDhcp {
    const NAME: &'static str = "dhcp";

    fn items(object: &HostObject) -> Vec<(String, String)> {
        match object {
            HostObject::Dhcp(o) => {
                vec![(
                    format!("server/{}", o.bridge),
                    format!("{} from {}", o.cidr, o.start),
                )]
            }
            HostObject::Binding(o) => {
                let key = format!("host/{}/{}", o.bridge, o.address);
                vec![(key, format!("{} {}", o.mac, o.hostname))]
            }
            _ => Vec::new(),
        }
    }
}

impl Subject for FakeInstances {
    const NAME: &'static str = "instances";

    fn items(object: &HostObject) -> Vec<(String, String)> {
        match object {
            HostObject::Instance(o) => {
                let key = format!("instance/{}", o.instance);
                vec![(key, format!("{} boot {}", o.image, o.boot))]
            }
            HostObject::Port(o) => {
                let key = format!("cable/{}/{}", o.instance, o.index);
                vec![(key, o.name.to_string())]
            }
            _ => Vec::new(),
        }
    }
}
