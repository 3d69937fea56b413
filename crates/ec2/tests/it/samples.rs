//! One answer of every kind, for the snapshots and for botocore's parser.

use novanet_ec2::AllocationId;
use novanet_ec2::response::{
    Address, AllocatedAddress, Answer, AssociatedAddress, AttributeValue, AuthorizedIngress,
    CallerIdentity, ConsoleOutput, CreatedKeyPair, CreatedSecurityGroup, DescribedAddresses,
    DescribedImages, DescribedInstanceAttribute, DescribedInstanceStatus, DescribedInstanceTypes,
    DescribedInstances, DescribedKeyPairs, DescribedRegions, DescribedSecurityGroupRules,
    DescribedSecurityGroups, DescribedZones, Done, GroupName, Health, Image, ImageState,
    ImportedKeyPair, Instance, InstanceState, InstanceStatus, KeyPair, Permission,
    PermissionSource, Region, Reservation, RunningInstances, SecurityGroup, SecurityGroupRule,
    StateChange, StateChanges, Zone,
};
use novanet_model::instance_type::INSTANCE_TYPES;
use novanet_model::rule::Traffic;
use novanet_model::{AmiId, GroupId, InstanceId, ReservationId, SecurityGroupRuleId};
use std::net::Ipv4Addr;
use time::OffsetDateTime;
use time::macros::datetime;

const AT: OffsetDateTime = datetime!(2026-11-23 05:15:10.5 UTC);

pub fn running() -> Instance {
    Instance {
        id: InstanceId(10),
        image: AmiId(3),
        state: InstanceState::Running,
        reason: String::new(),
        reason_code: novanet_ec2::response::ReasonCode::Pending,
        hostname: "i-0000000a".into(),
        private_address: Some(Ipv4Addr::new(10, 0, 0, 3)),
        public_address: Some(Ipv4Addr::new(68, 99, 26, 170)),
        key_name: Some("mykey".into()),
        launch_index: 0,
        instance_type: "m1.tiny".into(),
        launch_time: AT,
        zone: "nova".into(),
        architecture: "x86_64".into(),
        client_token: None,
        groups: vec![GroupName {
            id: GroupId(1),
            name: "default".into(),
        }],
    }
}

pub fn pending() -> Instance {
    Instance {
        id: InstanceId(11),
        state: InstanceState::Pending,
        reason: "waiting for <host> & image".into(),
        private_address: None,
        public_address: None,
        key_name: None,
        launch_index: 1,
        client_token: Some("once".into()),
        ..running()
    }
}

pub fn reservation() -> Reservation {
    Reservation {
        id: ReservationId(7),
        owner: "web".into(),
        instances: vec![running(), pending()],
    }
}

pub fn image() -> Image {
    Image {
        id: AmiId(3),
        name: "tiny".into(),
        description: "busybox & dropbear".into(),
        location: "local (tiny)".into(),
        owner: "admin".into(),
        public: true,
        state: ImageState::Available,
        architecture: "x86_64".into(),
        created: AT,
    }
}

pub fn group() -> SecurityGroup {
    let permission = |protocol: &str, from, to, source| Permission {
        traffic: Traffic::parse(protocol, from, to).unwrap(),
        description: from.is_none().then(|| "among <ourselves>".into()),
        source,
    };
    let cidr = |text: &str| PermissionSource::Cidr(text.parse().unwrap());
    SecurityGroup {
        id: GroupId(1),
        owner: "web".into(),
        name: "default".into(),
        description: "default".into(),
        permissions: vec![
            permission("tcp", Some(22), Some(22), cidr("0.0.0.0/0")),
            permission("icmp", Some(-1), Some(-1), cidr("10.0.0.0/8")),
            permission("tcp", Some(22), Some(22), cidr("192.0.2.1/32")),
            permission(
                "-1",
                None,
                None,
                PermissionSource::Group {
                    id: GroupId(1),
                    name: "default".into(),
                    owner: "web".into(),
                },
            ),
        ],
    }
}

pub fn rules() -> Vec<SecurityGroupRule> {
    let permissions = group().permissions.into_iter().zip(1..);
    permissions
        .map(|(permission, id)| SecurityGroupRule {
            id: SecurityGroupRuleId(id),
            group: GroupId(1),
            owner: "web".into(),
            traffic: permission.traffic,
            source: permission.source,
            description: permission.description,
        })
        .collect()
}

pub fn addresses() -> Vec<Address> {
    vec![
        Address {
            id: AllocationId(1),
            public: Ipv4Addr::new(68, 99, 26, 170),
            target: Some((InstanceId(10), Ipv4Addr::new(10, 0, 0, 3))),
            pool: "nova".into(),
        },
        Address {
            id: AllocationId(2),
            public: Ipv4Addr::new(68, 99, 26, 171),
            target: None,
            pool: "nova".into(),
        },
    ]
}

pub fn statuses() -> Vec<InstanceStatus> {
    let status = |id, state, instance, system| InstanceStatus {
        id: InstanceId(id),
        zone: "nova".into(),
        state,
        instance,
        system,
    };
    vec![
        status(10, InstanceState::Running, Health::Ok, Health::Ok),
        status(
            11,
            InstanceState::Terminated,
            Health::NotApplicable,
            Health::InsufficientData,
        ),
    ]
}

/// All of them, each with a name for its snapshot.
pub fn all() -> Vec<(&'static str, Box<dyn Answer>)> {
    let mut all = instances();
    all.extend(the_rest());
    all
}

fn instances() -> Vec<(&'static str, Box<dyn Answer>)> {
    let attribute = |value| {
        Box::new(DescribedInstanceAttribute {
            id: InstanceId(10),
            value,
        })
    };
    let change = |action, previous, current| {
        let id = InstanceId(10);
        let change = StateChange {
            id,
            previous,
            current,
        };
        Box::new(StateChanges {
            action,
            changes: vec![change],
        })
    };
    vec![
        ("run", Box::new(RunningInstances(reservation()))),
        (
            "instances",
            Box::new(DescribedInstances {
                reservations: vec![reservation()],
                next_token: Some("after-7".into()),
            }),
        ),
        ("no_instances", Box::new(DescribedInstances::default())),
        (
            "status",
            Box::new(DescribedInstanceStatus {
                statuses: statuses(),
                next_token: None,
            }),
        ),
        (
            "terminate",
            change(
                "TerminateInstances",
                InstanceState::Running,
                InstanceState::ShuttingDown,
            ),
        ),
        (
            "stop",
            change(
                "StopInstances",
                InstanceState::Running,
                InstanceState::Stopping,
            ),
        ),
        (
            "start",
            change(
                "StartInstances",
                InstanceState::Stopped,
                InstanceState::Pending,
            ),
        ),
        (
            "modify_attribute",
            Box::new(Done("ModifyInstanceAttribute")),
        ),
        ("reboot", Box::new(Done("RebootInstances"))),
        (
            "console",
            Box::new(ConsoleOutput {
                id: InstanceId(10),
                at: AT,
                output: b"login:\xff ".to_vec(),
            }),
        ),
        (
            "attribute_user_data",
            attribute(AttributeValue::UserData(Some(b"#!/bin/sh\n".to_vec()))),
        ),
        (
            "attribute_no_user_data",
            attribute(AttributeValue::UserData(None)),
        ),
        (
            "attribute_type",
            attribute(AttributeValue::InstanceType("m1.tiny".into())),
        ),
        (
            "attribute_groups",
            attribute(AttributeValue::Groups(running().groups)),
        ),
        (
            "attribute_termination",
            attribute(AttributeValue::DisableApiTermination),
        ),
        (
            "attribute_shutdown",
            attribute(AttributeValue::ShutdownBehavior),
        ),
        ("attribute_root", attribute(AttributeValue::RootDeviceName)),
        (
            "types",
            Box::new(DescribedInstanceTypes {
                types: INSTANCE_TYPES.iter().take(2).collect(),
                architecture: "x86_64".into(),
                next_token: None,
            }),
        ),
        (
            "images",
            Box::new(DescribedImages {
                images: vec![image()],
                next_token: None,
            }),
        ),
    ]
}

fn the_rest() -> Vec<(&'static str, Box<dyn Answer>)> {
    let fingerprint = "1f:51:ae:28:bf:89:e9:d8:1f:25:5d:37:2d:7d:b8:ca";
    vec![
        (
            "identity",
            Box::new(CallerIdentity {
                user: "alice".into(),
                project: "web".into(),
            }),
        ),
        (
            "key_created",
            Box::new(CreatedKeyPair {
                name: "mykey".into(),
                fingerprint: fingerprint.into(),
                material: "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n"
                    .into(),
            }),
        ),
        (
            "key_imported",
            Box::new(ImportedKeyPair {
                name: "mykey".into(),
                fingerprint: fingerprint.into(),
            }),
        ),
        (
            "keys",
            Box::new(DescribedKeyPairs(vec![KeyPair {
                name: "mykey".into(),
                fingerprint: fingerprint.into(),
                kind: "rsa".into(),
                public_key: Some("ssh-rsa AAAA mykey".into()),
                created: Some(AT),
            }])),
        ),
        ("key_deleted", Box::new(Done("DeleteKeyPair"))),
        ("group_created", Box::new(CreatedSecurityGroup(GroupId(10)))),
        (
            "groups",
            Box::new(DescribedSecurityGroups {
                groups: vec![group()],
                next_token: None,
            }),
        ),
        ("group_deleted", Box::new(Done("DeleteSecurityGroup"))),
        ("authorize", Box::new(AuthorizedIngress(rules()))),
        (
            "group_rules",
            Box::new(DescribedSecurityGroupRules {
                rules: rules(),
                next_token: Some("after-2".into()),
            }),
        ),
        ("revoke", Box::new(Done("RevokeSecurityGroupIngress"))),
        (
            "allocate",
            Box::new(AllocatedAddress {
                id: AllocationId(1),
                public: Ipv4Addr::new(68, 99, 26, 170),
                pool: "nova".into(),
            }),
        ),
        ("associate", Box::new(AssociatedAddress(AllocationId(1)))),
        ("disassociate", Box::new(Done("DisassociateAddress"))),
        ("release", Box::new(Done("ReleaseAddress"))),
        ("addresses", Box::new(DescribedAddresses(addresses()))),
        (
            "zones",
            Box::new(DescribedZones(vec![Zone {
                name: "nova".into(),
                state: "available".into(),
                region: "nova".into(),
            }])),
        ),
        (
            "regions",
            Box::new(DescribedRegions(vec![Region {
                name: "nova".into(),
                endpoint: "http://127.0.0.1:8773/services/Cloud".into(),
            }])),
        ),
    ]
}
