//! An example of every action, for help and man pages. A test parses each one and finds one for
//! every action of the command table.

/// Command lines after `nova-manage`; the first two words are category and action.
pub(super) const EXAMPLES: &[&str] = &[
    "audit list web --format json",
    "config list --flagfile=/etc/nova/nova.conf",
    "db sync",
    "db version",
    "db check",
    "db restored --adopt",
    "firewall block 192.0.2.0/24 tcp 8000-8099",
    "firewall explain --from 192.0.2.7 --to i-00000001 --port 22",
    "firewall list",
    "firewall show --instance i-00000001",
    "firewall unblock 192.0.2.0/24 tcp 8000-8099",
    "fixed list node1",
    "fixed reserve 10.0.0.9 --mac=02:16:3e:00:00:09",
    "fixed unreserve 10.0.0.9",
    "floating create 68.99.26.170/31",
    "floating delete 68.99.26.170/31",
    "floating disassociate 68.99.26.170",
    "floating list --format table",
    "host list",
    "host plan --diff",
    "host cleanup --dry-run",
    "host adopt br100",
    "host confirm eth1",
    "host zone node1 rack-2",
    "host rename node1 node2",
    "host delete node1",
    "image build tiny",
    "image register web.tar --name=web",
    "image list",
    "image delete ami-00000002",
    "instance_type list",
    "network create private 10.0.0.0/24 1 256",
    "network list",
    "network show 10.0.0.0/24",
    "network delete 10.0.0.0/24 --dry-run",
    "network modify 10.0.0.0/24 --dns=8.8.4.4",
    "project add web joe",
    "project create web john \"the web servers\"",
    "project delete web --dry-run",
    "project environment web joe joe.rc",
    "project list joe",
    "project modify web joe",
    "project quota web floating_ips 20",
    "project remove web joe",
    "project scrub web --dry-run",
    "project zipfile web joe joe.zip",
    "role add joe netadmin web",
    "role has joe netadmin web",
    "role list joe",
    "role remove joe netadmin web",
    "service disable node1",
    "service enable node1",
    "service list",
    "user admin root",
    "user create joe",
    "user delete joe --dry-run",
    "user exports joe",
    "user list",
    "user modify joe \"\" \"\" T",
    "user revoke joe web",
    "user rotate joe",
    "version list",
    "vm list node1",
    "vm run ami-00000001 web --type=m1.small --key=mykey --wait",
    "vm terminate i-00000001 --wait",
    "vpn change web 192.0.2.9 1017",
    "vpn list web",
    "vpn profile web joe",
    "vpn revoke joe web",
    "vpn run web",
    "vpn spawn",
    "vpn stop web",
];

/// The example of an action, after `nova-manage`.
pub(crate) fn of(category: &str, action: &str) -> Option<&'static str> {
    let is = |line: &&&str| {
        let mut words = line.split(' ');
        words.next() == Some(category) && words.next() == Some(action)
    };
    EXAMPLES.iter().find(is).copied()
}

/// The words of an example as a shell hands them over.
#[cfg(test)]
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
