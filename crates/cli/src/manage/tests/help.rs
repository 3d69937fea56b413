//! Help at every level, and the examples in it.

use super::check;
use crate::manage::CATEGORIES;
use crate::manage::examples::{EXAMPLES, of, words};
use crate::manage::grammar::{What, parse};

#[test]
fn help_says_what_there_is() {
    insta::assert_snapshot!(check(""), @"
    exit 2
    usage: nova-manage [--flag=value …] CATEGORY ACTION [argument …] [--format table|json|plain]

    Available categories:
        audit          who changed what, when, from where
        config         the flags and where their values come from
        db             the database itself
        firewall       a host's rules as they are in the kernel, and provider rules for all hosts
        fixed          the instances' own addresses
        floating       the pool of public addresses
        host           the hosts, what they must have, and what is there
        image          what instances boot from
        instance_type  sizes of instances
        network        subnets for instances
        project        who owns instances, addresses and groups
        role           what users may do: cloudadmin, itsec, sysadmin, netadmin, developer
        service        which hosts are alive, and as what
        user           who may call the API
        version        the version of this program
        vm             instances
        vpn            the ways into projects' networks

    nova-manage CATEGORY --help shows a category's actions, nova-manage config list all flags.

    Example:
        nova-manage network create private 10.0.0.0/24 1 256
    ");
    insta::assert_snapshot!(check("network"), @"
    exit 2
    Available actions for network category:
        create         make networks: carve NUM_NETWORKS subnets of NETWORK_SIZE addresses from a range
        list           all networks
        show           everything about one network
        delete         remove a network that no instance uses
        modify         change a network; its hosts follow while instances run

    Example:
        nova-manage network create private 10.0.0.0/24 1 256
    ");
    insta::assert_snapshot!(check("floating create --help"), @"
    usage: nova-manage floating create IP_RANGE
       or: nova-manage floating create HOST_NAME IP_RANGE

    put the hosts' addresses of a range into a pool

    By place or as --name=value:
        ip_range           addresses, like 68.99.26.0/28 (its network and broadcast addresses are left out), 68.99.26.170/31 (both) or 68.99.26.170
        host_name          taken before the range, as in the manual; the network's host has the address

    As --name=value:
        pool               pool (flag default_floating_pool)
        interface          interface (each host's public_interface)

    Example:
        nova-manage floating create 68.99.26.170/31
    ");
}

#[test]
fn every_action_has_one_example_which_is_a_command_line_that_works() {
    let mut actions = 0;
    for category in CATEGORIES {
        let said = check(&format!("{} --help", category.name));
        assert!(said.contains("\nExample:\n    nova-manage "), "{said}");
        for action in category.actions {
            actions += 1;
            let name = format!("{} {}", category.name, action.name);
            let line = of(category.name, action.name);
            let line = line.unwrap_or_else(|| panic!("{name} has no example"));
            match parse(&words(line)) {
                Ok(parsed) => assert!(matches!(parsed.what, What::Run(_)), "{line}"),
                Err(failure) => panic!("{line}: {failure}"),
            }
            let said = check(&format!("{name} --help"));
            let end = format!("Example:\n    nova-manage {line}");
            assert!(said.ends_with(&end), "{said}");
        }
    }
    assert_eq!(EXAMPLES.len(), actions, "one each");
}
