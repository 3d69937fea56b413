//! Every command: the request that it makes (which the server's own parser must take), and what it
//! prints of an answer (which the server's own renderer wrote).

use super::{Request, find, reader};
use crate::args::{Bound, Reader};
use crate::failure::Failure;
use novanet_ec2::AllocationId;
use novanet_ec2::response::{
    self, Address, AllocatedAddress, Answer, ConsoleOutput, CreatedKeyPair, DescribedAddresses,
    DescribedInstances, DescribedSecurityGroups, Done, GroupName, Instance, InstanceState,
    Permission, PermissionSource, Reservation, RunningInstances, SecurityGroup, StateChange,
    StateChanges,
};
use novanet_ec2::{Action, Params, RawRequest};
use novanet_model::rule::Traffic;
use novanet_model::{AmiId, GroupId, InstanceId, ReservationId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use time::OffsetDateTime;

fn bound(line: &str) -> Result<(&'static super::Command, Bound), Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let command = find(&words[0])?;
    let mut read = Reader::new(&words[1..]).rest(command.params);
    Ok((command, read.bind(command.params, &[])?))
}

fn asked(line: &str) -> Result<Request, Failure> {
    let (command, bound) = bound(line)?;
    (command.request)(&bound)
}

/// The request of a command line, as the server understands it.
fn check(line: &str) -> String {
    let request = match asked(line) {
        Ok(request) => request,
        Err(failure) => return format!("exit {}\n{failure}", failure.code),
    };
    let fields = request
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let body: Vec<String> = [
        format!("Action={}", request.action),
        "Version=2016-11-15".to_owned(),
    ]
    .into_iter()
    .chain(fields)
    .collect();
    let encoded: Vec<String> = body
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(n, v)| {
            format!(
                "{}={}",
                novanet_ec2::encoding::encode(n),
                novanet_ec2::encoding::encode(v)
            )
        })
        .collect();
    let encoded = encoded.join("&");
    let raw = RawRequest {
        method: "POST",
        path: "/services/Cloud",
        query: "",
        headers: &[(
            "content-type",
            b"application/x-www-form-urlencoded; charset=utf-8",
        )],
        body: encoded.as_bytes(),
    };
    let params = Params::decode(&raw).unwrap();
    let action = Action::parse(&params).unwrap_or_else(|e| panic!("{line}: {e}"));
    assert_eq!(action.name(), request.action);
    body[2..].join(" ").trim().to_owned()
}

/// What a command prints of an answer.
fn shown(line: &str, answer: &dyn Answer) -> String {
    let (command, bound) = bound(line).unwrap();
    let xml = response::render(answer, "2016-11-15", "req");
    let element = reader::read(xml.as_bytes()).unwrap();
    (command.show)(&bound, &element).unwrap()
}

#[test]
fn the_manuals_commands_are_understood() {
    insta::assert_snapshot!(check("euca-authorize -P icmp -t -1:-1 default"), @"GroupName=default IpPermissions.1.IpProtocol=icmp IpPermissions.1.FromPort=-1 IpPermissions.1.ToPort=-1 IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0");
    // As the manual prints it, which no release understood.
    insta::assert_snapshot!(check("authorize tcp -p 22 default"), @"GroupName=default IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=22 IpPermissions.1.ToPort=22 IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0");
    insta::assert_snapshot!(check("euca-allocate-address"), @"");
    insta::assert_snapshot!(check("euca-allocate-address 68.99.26.170"), @"Address=68.99.26.170");
    insta::assert_snapshot!(check("euca-associate-address -i i-1 68.99.26.170"), @"PublicIp=68.99.26.170 InstanceId=i-1");
    insta::assert_snapshot!(check("euca-disassociate-address 68.99.26.170"), @"PublicIp=68.99.26.170");
    insta::assert_snapshot!(check("euca-deallocate-address 68.99.26.170"), @"PublicIp=68.99.26.170");
    insta::assert_snapshot!(check("euca-describe-groups"), @"");
    insta::assert_snapshot!(check("euca-reboot-instances i-1 i-2"), @"InstanceId.1=i-1 InstanceId.2=i-2");
}

#[test]
fn every_option_has_its_place_in_the_request() {
    insta::assert_snapshot!(check("run-instances ami-1 -n 1-3 -t m1.tiny -k mykey -g default -g www -d hello"), @"ImageId=ami-1 MinCount=1 MaxCount=3 InstanceType=m1.tiny KeyName=mykey SecurityGroup.1=default SecurityGroup.2=www UserData=aGVsbG8=");
    insta::assert_snapshot!(check("run-instances ami-1"), @"ImageId=ami-1 MinCount=1 MaxCount=1");
    insta::assert_snapshot!(check("authorize -P udp -p 5000-5010 -s 10.0.0.0/8 www"), @"GroupName=www IpPermissions.1.IpProtocol=udp IpPermissions.1.FromPort=5000 IpPermissions.1.ToPort=5010 IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8");
    insta::assert_snapshot!(check("revoke -P tcp -p 80 -o other -u web www"), @"GroupName=www IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=80 IpPermissions.1.ToPort=80 IpPermissions.1.Groups.1.GroupName=other IpPermissions.1.Groups.1.UserId=web");
    insta::assert_snapshot!(check("add-group -d servers www"), @"GroupName=www GroupDescription=servers");
    insta::assert_snapshot!(check("create-keypair mykey"), @"KeyName=mykey KeyType=rsa");
    insta::assert_snapshot!(check("describe-addresses"), @"");
    insta::assert_snapshot!(check("describe-images ami-1"), @"ImageId.1=ami-1");
    insta::assert_snapshot!(check("describe-instances i-1"), @"InstanceId.1=i-1");
    insta::assert_snapshot!(check("terminate-instances i-1"), @"InstanceId.1=i-1");
    insta::assert_snapshot!(check("stop-instances i-1 i-2"), @"InstanceId.1=i-1 InstanceId.2=i-2");
    insta::assert_snapshot!(check("start-instances i-1"), @"InstanceId.1=i-1");
    insta::assert_snapshot!(check("get-console-output i-1"), @"InstanceId=i-1");
    insta::assert_snapshot!(check("describe-keypairs"), @"");
    insta::assert_snapshot!(check("delete-keypair mykey"), @"KeyName=mykey");
    insta::assert_snapshot!(check("delete-group www"), @"GroupName=www");
    insta::assert_snapshot!(check("describe-availability-zones"), @"");
    insta::assert_snapshot!(check("describe-availability-zones verbose"), @"ZoneName.1=verbose");
    insta::assert_snapshot!(check("describe-regions"), @"");
    insta::assert_snapshot!(check("describe-regions nova"), @"RegionName.1=nova");
}

#[test]
fn slips_are_named() {
    insta::assert_snapshot!(check("euca-describe-instance"), @"
    exit 2
    error: euca-describe-instance: no such command: did you mean euca-describe-instances?
    ");
    insta::assert_snapshot!(check("euca-bundle-vol"), @"
    exit 2
    error: euca-bundle-vol: no such command: novanet euca --help shows all
    ");
    insta::assert_snapshot!(check("associate-address 68.99.26.170"), @"
    exit 2
    error: instance is missing: say which with -i i-00000001
    ");
    insta::assert_snapshot!(check("authorize default"), @"
    exit 2
    error: port_range is missing: say it with -p 22 or -p 80-90
    ");
    insta::assert_snapshot!(check("authorize -p x default"), @r#"
    exit 2
    error: port_range "x": must be numbers like 22 or 80-90
    "#);
    insta::assert_snapshot!(check("run-instances ami-1 -n 0"), @r#"
    exit 2
    error: instance_count "0": must be a number like 2, or two like 1-3
    "#);
    insta::assert_snapshot!(check("terminate-instances"), @"
    exit 2
    error: instance is missing: the instances
    ");
}

fn instance(id: i64, public: Option<Ipv4Addr>) -> Instance {
    Instance {
        id: InstanceId(id),
        image: AmiId(1),
        state: InstanceState::Running,
        reason: String::new(),
        reason_code: novanet_ec2::response::ReasonCode::Pending,
        hostname: format!("i-{id:08x}"),
        private_address: Some(Ipv4Addr::new(10, 0, 0, 3)),
        public_address: public,
        key_name: Some("mykey".to_owned()),
        launch_index: 0,
        instance_type: "m1.tiny".to_owned(),
        launch_time: OffsetDateTime::UNIX_EPOCH,
        zone: "nova".to_owned(),
        architecture: "x86_64".to_owned(),
        client_token: None,
        groups: vec![GroupName {
            id: GroupId(1),
            name: "default".to_owned(),
        }],
    }
}

fn reservation() -> Reservation {
    Reservation {
        id: ReservationId(1),
        owner: "web".to_owned(),
        instances: vec![
            instance(1, Some(Ipv4Addr::new(68, 99, 26, 170))),
            instance(2, None),
        ],
    }
}

#[test]
fn instances_are_printed_as_euca2ools_did() {
    let all = DescribedInstances {
        reservations: vec![reservation()],
        next_token: None,
    };
    insta::assert_snapshot!(shown("describe-instances", &all), @"
    RESERVATION	r-00000001	web	default
    INSTANCE	i-00000001	ami-00000001	68.99.26.170	10.0.0.3	running	mykey	0		m1.tiny	1970-01-01T00:00:00.000Z	nova
    INSTANCE	i-00000002	ami-00000001	10.0.0.3	10.0.0.3	running	mykey	0		m1.tiny	1970-01-01T00:00:00.000Z	nova
    ");
    assert_eq!(
        shown("run-instances ami-1", &RunningInstances(reservation())),
        shown("describe-instances", &all)
    );
    for (command, action) in [
        ("terminate", "TerminateInstances"),
        ("stop", "StopInstances"),
        ("start", "StartInstances"),
    ] {
        let changes = StateChanges {
            action,
            changes: vec![StateChange {
                id: InstanceId(1),
                previous: InstanceState::Running,
                current: InstanceState::ShuttingDown,
            }],
        };
        let said = shown(&format!("{command}-instances i-1"), &changes);
        assert_eq!(
            said,
            "INSTANCE	i-00000001
",
            "{command}"
        );
    }
    let console = ConsoleOutput {
        id: InstanceId(1),
        at: OffsetDateTime::UNIX_EPOCH,
        output: b"tiny login:\n".to_vec(),
    };
    insta::assert_snapshot!(shown("get-console-output i-1", &console), @"
    i-00000001
    1970-01-01T00:00:00.000Z
    tiny login:
    ");
}

#[test]
fn addresses_and_keys_are_printed_as_euca2ools_did() {
    let address = |id, target| Address {
        id: AllocationId(id),
        public: Ipv4Addr::new(68, 99, 26, 170),
        target,
        pool: "nova".to_owned(),
    };
    let inside = Ipv4Addr::new(10, 0, 0, 3);
    let all = DescribedAddresses(vec![
        address(1, None),
        address(2, Some((InstanceId(1), inside))),
    ]);
    insta::assert_snapshot!(shown("describe-addresses", &all), @"
    ADDRESS	68.99.26.170	
    ADDRESS	68.99.26.170	i-00000001
    ");
    let new = AllocatedAddress {
        id: AllocationId(1),
        public: Ipv4Addr::new(68, 99, 26, 170),
        pool: "nova".to_owned(),
    };
    insta::assert_snapshot!(shown("allocate-address", &new), @"ADDRESS	68.99.26.170");
    insta::assert_snapshot!(shown("associate-address -i i-1 68.99.26.170", &Done("AssociateAddress")), @"ADDRESS	68.99.26.170	i-1");
    let key = CreatedKeyPair {
        name: "mykey".to_owned(),
        fingerprint: "aa:bb".to_owned(),
        material: "-----BEGIN-----\nx\n-----END-----\n".to_owned(),
    };
    insta::assert_snapshot!(shown("add-keypair mykey", &key), @"
    KEYPAIR	mykey	aa:bb
    -----BEGIN-----
    x
    -----END-----
    ");
}

#[test]
fn groups_are_printed_as_the_manual_shows() {
    let rule = |protocol, from, to| Permission {
        description: None,
        traffic: Traffic::parse(protocol, Some(from), Some(to)).unwrap(),
        source: PermissionSource::Cidr("0.0.0.0/0".parse().unwrap()),
    };
    let member = Permission {
        description: None,
        traffic: Traffic::Any,
        source: PermissionSource::Group {
            id: GroupId(1),
            name: "default".to_owned(),
            owner: "admin-project".to_owned(),
        },
    };
    let all = DescribedSecurityGroups {
        groups: vec![SecurityGroup {
            id: GroupId(1),
            owner: "admin-project".to_owned(),
            name: "default".to_owned(),
            description: "default".to_owned(),
            permissions: vec![rule("icmp", -1, -1), rule("tcp", 22, 22), member],
        }],
        next_token: None,
    };
    insta::assert_snapshot!(shown("describe-groups", &all), @"
    GROUP	admin-project	default	default
    PERMISSION	admin-project	default	ALLOWS	icmp	-1	-1	FROM	CIDR	0.0.0.0/0
    PERMISSION	admin-project	default	ALLOWS	tcp	22	22	FROM	CIDR	0.0.0.0/0
    PERMISSION	admin-project	default	ALLOWS	-1	-1	-1	FROM	GRPNAME	default
    ");
    insta::assert_snapshot!(shown("authorize -P tcp -p 22 default", &Done("AuthorizeSecurityGroupIngress")), @"
    GROUP	default
    PERMISSION	default	ALLOWS	tcp	22	22	FROM	CIDR	0.0.0.0/0
    ");
}

#[test]
fn a_refusal_is_one_line_with_its_code() {
    let xml = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidAddress.NotFound</Code><Message>no such address</Message></Error></Errors><RequestID>r</RequestID></Response>";
    let error = reader::read(xml.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "InvalidAddress.NotFound: no such address"
    );
}

/// `make install` links every name that the program knows, and no other.
#[test]
fn every_name_of_every_command_is_linked_by_the_makefile() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Makefile");
    let makefile = std::fs::read_to_string(path).unwrap();
    let list = |from: &str, to: &str| -> BTreeSet<String> {
        let (_, rest) = makefile.split_once(from).unwrap();
        let (list, _) = rest.split_once(to).unwrap();
        list.split_whitespace()
            .filter(|word| *word != "\\")
            .map(str::to_owned)
            .collect()
    };
    let known: BTreeSet<String> = super::commands()
        .flat_map(super::Command::names)
        .map(str::to_owned)
        .collect();
    assert_eq!(list("EUCA  := $(addprefix euca-, \\\n", ")"), known);
    for name in list("APPLETS := ", "\n") {
        assert!(crate::applet::by_name(&name).is_some(), "{name}");
    }
}

/// Those that read a file are tried in tests/it/euca.rs.
#[test]
fn every_command_has_an_example_that_its_parser_takes() {
    for command in super::commands() {
        let usage = super::run(&[command.name.to_owned(), "--help".to_owned()]).unwrap();
        let end = format!("\nExample:\n    euca-{}\n", command.example);
        assert!(usage.ends_with(&end), "{usage}");
        let words = command.example.split(' ').next();
        assert_eq!(words, Some(command.name));
        let line = command.example.replace("\"web servers\"", "servers");
        if command.name == "import-keypair" {
            bound(&line).unwrap();
        } else {
            let said = check(&line);
            assert!(!said.starts_with("exit"), "{said}");
        }
    }
}

#[test]
fn help_shows_the_other_names_and_errors_the_name_that_was_called() {
    let args = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let all = super::run(&args("help")).unwrap();
    assert!(
        all.contains("give an address back to the pool (also euca-deallocate-address)"),
        "{all}"
    );
    let failure = super::run(&args("euca-deallocate-address")).unwrap_err();
    insta::assert_snapshot!(failure, @"error: euca-deallocate-address: address is missing: the address");
    let usage = super::run(&args("euca-create-group --help")).unwrap();
    assert!(usage.starts_with("usage: euca-create-group "), "{usage}");
    insta::assert_snapshot!(super::run(&args("euca-dealocate-address")).unwrap_err(), @"error: euca-dealocate-address: no such command: did you mean euca-deallocate-address?");
}
