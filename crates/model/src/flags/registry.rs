//! The flags that novanet honours: name, kind, default, scopes, help. nova's names and defaults
//! (2011.3), except where a comment says why not.

/// The commands that use a flag. Every command accepts all flags, since one nova.conf serves all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All commands.
    All,
    /// The server (`novanet server`, `novanet up`).
    Server,
    /// The agent (`novanet agent`, `novanet up`).
    Agent,
    /// `nova-manage`, as defaults of its commands.
    Manage,
}

/// What a value has to be. A kind that may be empty says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; also as `--flag` and `--noflag`.
    Switch,
    /// A whole number in this range.
    Number(i64, i64),
    /// A number that may be empty.
    OptionalNumber(i64, i64),
    /// Any text.
    Text,
    /// A path; made absolute.
    Path,
    /// An IPv4 address.
    Address,
    /// An IPv4 address, or empty.
    OptionalAddress,
    /// IPv4 addresses, or empty.
    Addresses,
    /// IPv4 subnets, or empty.
    Subnets,
    /// An IPv4 subnet, or empty.
    Subnet,
    /// An interface name.
    Interface,
    /// An interface name, or empty.
    OptionalInterface,
    /// Words, or empty.
    Words,
    /// One of nova's network managers.
    Manager,
    /// A firewall driver, ours or nova's.
    FirewallDriver,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Given twice at one level, the values add up instead of the last one counting.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Addresses | Self::Subnets | Self::Words)
    }
}

/// A flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What its value has to be.
    pub kind: Kind,
    /// Default, before interpolation. `$hostname` and `$address` are the machine's own.
    pub default: &'static str,
    /// The commands that use it.
    pub scope: Scope,
    /// One line for people.
    pub help: &'static str,
}

const fn flag(
    scope: Scope,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        default,
        scope,
        help,
    }
}

const PORT: Kind = Kind::Number(1, 65_535);
const QUOTA: Kind = Kind::Number(-1, 1_000_000_000);
const SECONDS: Kind = Kind::Number(1, 31_536_000);

use Scope::{Agent, All, Manage, Server};

#[rustfmt::skip] // one flag a line
const FLAGS: &[Flag] = &[
    // The process
    flag(All, "state_path", Kind::Path, "/var/lib/nova", "top folder of everything that is kept"),
    flag(All, "host", Kind::Text, "$hostname", "name of this host"),
    flag(All, "my_ip", Kind::Address, "$address", "address of this host"),
    flag(All, "sql_connection", Kind::Text, "sqlite:///$state_path/nova.sqlite", "database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"),
    flag(All, "secret_key_file", Kind::Path, "$state_path/secret.key", "key that secrets in the database are sealed with (0600)"),
    flag(All, "verbose", Kind::Switch, "false", "log what is done, in detail; without it a terminal shows only what is wrong"),
    flag(All, "debug", Kind::Switch, "false", "log everything"),
    flag(All, "log_format", Kind::Choice(&["text", "json"]), "text", "shape of log lines"),
    flag(All, "server_socket", Kind::Path, "$state_path/server.sock", "unix socket between server and agent on one host"),
    flag(All, "state_reserve_mb", Kind::Number(0, 1_048_576), "32", "MiB in state_path that are kept for novanet itself when the disk is full (0: none)"),
    flag(Agent, "report_interval", SECONDS, "10", "seconds between heartbeats of an agent"),
    flag(Server, "service_down_time", SECONDS, "60", "seconds without a heartbeat after which a host counts as down"),
    flag(Agent, "roles", Kind::Words, "network,compute", "what this host does: network, compute or both"),
    // Networks
    flag(All, "network_manager", Kind::Manager, "nova.network.manager.VlanManager", "kind of networks that network create makes: FlatManager, FlatDHCPManager, VlanManager; with VlanManager a project's first instance takes a free VLAN network"),
    flag(Server, "network_host", Kind::Text, "", "host that becomes the gateway of new networks; empty: the first that can"),
    // Cactus' default and the manual's; 2011.3 had none and refused to go on without it.
    flag(Manage, "flat_network_bridge", Kind::Interface, "br100", "bridge of flat networks"),
    flag(Manage, "flat_network_dns", Kind::OptionalAddress, "8.8.4.4", "DNS server written into instances of flat networks"),
    // Cactus' default; without it an instance of a flat network has no address.
    flag(Manage, "flat_injected", Kind::Switch, "true", "new flat networks: write addresses, keys and user-data into the instances' disks"),
    flag(Agent, "flat_interface", Kind::OptionalInterface, "", "interface that this host puts into flat-DHCP bridges"),
    flag(Manage, "vlan_start", Kind::Number(1, 4094), "100", "first VLAN id"),
    // Cactus' default and the manual's, like flat_network_bridge.
    flag(Agent, "vlan_interface", Kind::Interface, "eth0", "interface that carries the VLANs on this host"),
    flag(Manage, "num_networks", Kind::Number(1, 65_536), "1", "networks that network create makes"),
    flag(Manage, "network_size", Kind::Number(4, 1 << 32), "256", "addresses in each network"),
    flag(Manage, "fixed_range", Kind::Subnet, "10.0.0.0/8", "range that novanet up takes its first network from (addresses are translated for each network, whatever this says)"),
    // nova's 4.4.4.0/24 is a public range of another owner.
    flag(Manage, "floating_range", Kind::Subnet, "", "floating addresses that novanet up makes"),
    flag(Manage, "default_floating_pool", Kind::Text, "nova", "pool of floating addresses"),
    flag(Manage, "multi_host", Kind::Switch, "false", "new networks have a gateway on every host"),
    flag(Server, "auto_assign_floating_ip", Kind::Switch, "false", "give every new instance a floating address"),
    flag(Agent, "public_interface", Kind::Interface, "eth0", "interface with the floating addresses"),
    flag(Agent, "routing_source_ip", Kind::Address, "$my_ip", "source address of instances without a floating address"),
    flag(Agent, "dmz_cidr", Kind::Subnets, "", "destinations that see the instances' own addresses"),
    flag(Agent, "force_snat_range", Kind::Subnets, "", "destinations that are translated for networks with --snat=F all the same"),
    // Azure's and Alibaba Cloud's; others answer at link-local addresses, which never pass.
    flag(Agent, "blocked_cidr", Kind::Subnets, "168.63.129.16/32,100.100.100.200/32", "destinations that instances never reach: services of a cloud that this host is itself in"),
    flag(Agent, "firewall_driver", Kind::FirewallDriver, "nftables", "what renders the firewall: nftables, or iptables with nova's chain names (nova's class names are understood)"),
    flag(Agent, "floating_address_mode", Kind::Choice(&["route", "address"]), "route", "how floating addresses answer: a local route each, or a /32 on the interface each (the default with firewall_driver=iptables)"),
    // nova's false left neighbours with the old MAC for minutes where a frame was lost.
    flag(Agent, "send_arp_for_ha", Kind::Switch, "true", "announce a floating address that comes to this host more than once"),
    flag(Agent, "send_arp_for_ha_count", Kind::Number(1, 60), "3", "how often then, a second apart"),
    flag(Agent, "network_device_mtu", Kind::OptionalNumber(576, 65_535), "", "MTU of bridges and ports; empty: the kernel's"),
    // DHCP and DNS
    flag(Agent, "networks_path", Kind::Path, "$state_path/networks", "dnsmasq's files"),
    flag(Agent, "dhcpbridge", Kind::Text, "", "program that dnsmasq calls on lease events; empty: this one"),
    flag(Server, "dhcp_domain", Kind::Text, "novalocal", "DNS domain of the instances"),
    flag(Server, "dhcp_lease_time", Kind::Number(120, 31_536_000), "120", "seconds of a DHCP lease"),
    flag(Agent, "dnsmasq_config_file", Kind::Text, "", "file with further settings of dnsmasq; empty: none"),
    flag(Agent, "dns_server", Kind::Addresses, "", "DNS servers that dnsmasq asks; empty: this host's own resolver"),
    // Metadata, EC2
    flag(Agent, "metadata_port", PORT, "8775", "local port that 169.254.169.254:80 leads to"),
    flag(Server, "ec2_listen", Kind::Address, "0.0.0.0", "address that the EC2 API listens on"),
    flag(Server, "ec2_listen_port", PORT, "8773", "port that the EC2 API listens on"),
    flag(Server, "ec2_host", Kind::Text, "$my_ip", "name or address of the EC2 API for clients"),
    flag(Server, "ec2_dmz_host", Kind::Text, "$ec2_host", "name or address of the EC2 API for instances and in novarc"),
    flag(Server, "ec2_port", PORT, "$ec2_listen_port", "port of the EC2 API for clients"),
    flag(Server, "ec2_scheme", Kind::Choice(&["http", "https"]), "http", "scheme of the EC2 API for clients"),
    flag(Server, "ec2_path", Kind::Text, "/services/Cloud", "path of the EC2 API"),
    flag(Server, "ec2_timestamp_expiry", SECONDS, "300", "seconds that a request's timestamp may be off"),
    flag(Server, "lockout_attempts", Kind::Number(0, 1_000_000), "5", "wrong signatures from one address that lock an access key there (0: never)"),
    flag(Server, "lockout_minutes", Kind::Number(1, 1_000_000), "15", "minutes that it is locked"),
    flag(Server, "lockout_window", Kind::Number(1, 1_000_000), "15", "minutes within which wrong signatures count"),
    flag(Server, "region_list", Kind::Words, "", "regions as NAME=HOST,…; empty: nova at ec2_host"),
    // Certificates and credentials
    flag(All, "use_project_ca", Kind::Switch, "false", "each project has a certificate authority of its own (VPNs need that)"),
    flag(All, "ca_path", Kind::Path, "$state_path/CA", "where certificates are exported for people"),
    // Cloudpipe
    flag(Manage, "keys_path", Kind::Path, "$state_path/keys", "where vpn run exports private ssh keys of Cloudpipes"),
    flag(Server, "vpn_image_id", Kind::Text, "", "image of the Cloudpipes, like ami-00000002 (nova-manage image build cloudpipe)"),
    flag(Server, "vpn_autostart", Kind::Switch, "true", "a VPN starts with a project's first instance in a VLAN network, if vpn_image_id is set"),
    flag(Server, "vpn_ip", Kind::Address, "$my_ip", "public address of the VPNs"),
    flag(Manage, "vpn_start", PORT, "1000", "first public UDP port of the VPNs"),
    flag(Manage, "cnt_vpn_clients", Kind::Number(0, 65_536), "0", "addresses for VPN clients in each network that has a VPN (the manual: 5; 0: vpn run takes 5)"),
    // Instances
    flag(Agent, "instance_uid_base", Kind::Number(65_536, 4_294_901_760), "1879048192", "where user ids of the instances begin on the host"),
    flag(Agent, "tiny_disk_mb", Kind::Number(16, 16_777_216), "1024", "MiB that the disk of an instance type without a disk size (m1.tiny) has beside the image"),
    // Quotas
    flag(Server, "quota_instances", QUOTA, "10", "instances of a project (-1: no limit)"),
    flag(Server, "quota_cores", QUOTA, "20", "processors of a project"),
    flag(Server, "quota_ram", QUOTA, "51200", "MiB of memory of a project"),
    flag(Server, "quota_floating_ips", QUOTA, "10", "floating addresses of a project"),
    flag(Server, "quota_fixed_ips", QUOTA, "-1", "fixed addresses of a project"),
    flag(Server, "quota_security_groups", QUOTA, "10", "security groups of a project"),
    flag(Server, "quota_security_group_rules", QUOTA, "20", "rules of a security group"),
    flag(Server, "quota_key_pairs", QUOTA, "100", "key pairs of a project"),
];

/// All flags that novanet honours.
pub fn registry() -> &'static [Flag] {
    FLAGS
}

/// The flag of this name; takes the names that later releases gave to it too.
pub fn find(name: &str) -> Option<&'static Flag> {
    let name = match name {
        "connection" => "sql_connection",
        "metadata_listen_port" => "metadata_port",
        other => other,
    };
    FLAGS.iter().find(|f| f.name == name)
}

/// For a firewall driver that is none.
pub(super) const MUST_BE_FIREWALL_DRIVER: &str = "must be nftables, iptables, or a driver of \
     nova's like nova.virt.libvirt.firewall.IptablesFirewallDriver";

/// Whether a word names a firewall driver, ours or one of nova's classes.
pub(super) fn is_firewall_driver(text: &str) -> bool {
    let ends = ["FirewallDriver", "NWFilterFirewall"];
    let class = text.strip_prefix("nova.virt.");
    matches!(text, "nftables" | "iptables")
        || class.is_some_and(|class| ends.iter().any(|end| class.ends_with(end)))
}
