//! What the parameters of old and odd clients mean, and which code what cannot be gets.

use novanet_ec2::action::{
    Action, AddressRef, CreateSecurityGroup, DescribeInstances, GroupRef, IngressChange,
    IngressRule, IngressSource, InstanceIds,
};
use novanet_ec2::{Code, Ec2Error, Params, RawRequest};
use novanet_model::rule::{Ports, Traffic};
use novanet_model::{GroupId, InstanceId, SubnetId};
use std::fmt::Write;

pub fn parse(query: &str) -> Result<Action, Ec2Error> {
    let raw = RawRequest {
        method: "GET",
        path: "/services/Cloud",
        query,
        headers: &[],
        body: b"",
    };
    Action::parse(&Params::decode(&raw)?)
}

fn code_of(query: &str) -> &'static str {
    parse(query).expect_err(query).code.as_str()
}

fn rule(traffic: Traffic, source: IngressSource) -> IngressRule {
    IngressRule {
        traffic,
        source,
        description: None,
    }
}

fn tcp(from: u16, to: u16) -> Traffic {
    Traffic::Tcp(Ports { from, to })
}

fn cidr(text: &str) -> IngressSource {
    IngressSource::Cidr(text.parse().unwrap())
}

fn ingress(query: &str) -> IngressChange {
    match parse(&format!("Action=AuthorizeSecurityGroupIngress&{query}")).unwrap() {
        Action::AuthorizeSecurityGroupIngress(change) => change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn short_and_padded_ids_and_every_spelling_of_a_list_mean_the_same() {
    let expected = |ids: &[i64]| {
        Action::DescribeInstances(DescribeInstances {
            ids: ids.iter().copied().map(InstanceId).collect(),
            ..DescribeInstances::default()
        })
    };
    for query in [
        "InstanceId.1=i-1&InstanceId.2=i-0000000a",
        "InstanceId.2=i-0000000a&InstanceId.1=i-00000001",
        "InstanceId.member.1=i-1&InstanceId.member.2=i-a",
        "InstanceId.7=i-1&InstanceId.10=i-a",
    ] {
        let action = parse(&format!("Action=DescribeInstances&{query}")).unwrap();
        assert_eq!(action, expected(&[1, 10]), "{query}");
    }
    let one = parse("Action=DescribeInstances&InstanceId=i-1").unwrap();
    assert_eq!(one, expected(&[1]));
}

#[test]
fn an_instance_named_twice_is_terminated_once() {
    let query = "Action=TerminateInstances&InstanceId.1=i-2&InstanceId.2=i-00000002";
    assert_eq!(
        parse(query),
        Ok(Action::TerminateInstances(InstanceIds {
            ids: vec![InstanceId(2)]
        }))
    );
}

#[test]
fn flat_rules_are_read_and_no_source_means_everybody() {
    let everybody = cidr("0.0.0.0/0");
    for query in [
        "GroupName=web&IpProtocol=tcp&FromPort=22&ToPort=22",
        "GroupName=web&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=0.0.0.0/0",
        "GroupName=web&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22\
         &IpPermissions.1.ToPort=22",
        "GroupName=web&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22\
         &IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
    ] {
        let expected = IngressChange {
            group: GroupRef::Name("web".into()),
            rules: vec![rule(tcp(22, 22), everybody.clone())],
        };
        assert_eq!(ingress(query), expected, "{query}");
    }
}

#[test]
fn a_source_group_alone_lets_everything_in_and_its_owner_may_carry_a_user() {
    let change =
        ingress("GroupName=web&SourceSecurityGroupName=db&SourceSecurityGroupOwnerId=john:other");
    let source = IngressSource::Group {
        group: GroupRef::Name("db".into()),
        owner: Some("other".parse().unwrap()),
    };
    assert_eq!(change.rules, [rule(Traffic::Any, source)]);
}

#[test]
fn one_permission_with_several_sources_is_several_rules() {
    let change = ingress(
        "GroupId=sg-1&IpPermissions.1.IpProtocol=6&IpPermissions.1.FromPort=1\
         &IpPermissions.1.ToPort=9&IpPermissions.1.IpRanges.1.CidrIp=10.1.2.3/8\
         &IpPermissions.1.Groups.1.GroupId=sg-2&IpPermissions.2.IpProtocol=-1",
    );
    assert_eq!(change.group, GroupRef::Id(GroupId(1)));
    let group = IngressSource::Group {
        group: GroupRef::Id(GroupId(2)),
        owner: None,
    };
    assert_eq!(
        change.rules,
        [
            rule(tcp(1, 9), cidr("10.0.0.0/8")),
            rule(tcp(1, 9), group),
            rule(Traffic::Any, cidr("0.0.0.0/0")),
        ]
    );
}

#[test]
fn a_subnet_whose_notation_readers_disagree_about_is_refused() {
    for range in ["010.0.0.0/24", "10.0.0.0/024", "10.0.0.0"] {
        for query in [
            format!("IpProtocol=tcp&FromPort=1&ToPort=1&CidrIp={range}"),
            format!("IpPermissions.1.IpProtocol=-1&IpPermissions.1.IpRanges.1.CidrIp={range}"),
        ] {
            let query = format!("Action=AuthorizeSecurityGroupIngress&GroupName=web&{query}");
            assert_eq!(code_of(&query), "InvalidParameterValue", "{query}");
        }
    }
}

#[test]
fn the_client_of_2011_that_lists_images_asks_for_all_it_may_run() {
    let wanted = |version: &str, owner: &str| {
        let query =
            format!("Action=DescribeImages&Version={version}&Owner.1={owner}&ExecutableBy.1=self");
        match parse(&query).unwrap() {
            Action::DescribeImages(request) => (request.owners, request.executable_by),
            other => panic!("{other:?}"),
        }
    };
    let own = vec!["self".to_owned()];
    assert_eq!(wanted("2009-11-30", "self"), (vec![], vec![]));
    assert_eq!(wanted("2011-01-01", "self"), (vec![], vec![]));
    assert_eq!(wanted("2016-11-15", "self"), (own.clone(), own.clone()));
    assert_eq!(wanted("2009-11-30", "nova"), (vec!["nova".to_owned()], own));
}

#[test]
fn what_every_instance_is_anyway_may_be_asked_for() {
    let query = "Action=RunInstances&ImageId=ami-1&Monitoring.Enabled=false&EbsOptimized=false\
         &Placement.Tenancy=default&MetadataOptions.HttpTokens=optional\
         &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.AssociatePublicIpAddress=true\
         &KernelId=&AWSAccessKeyId=k&SignatureVersion=2&X-Amz-Date=d";
    match parse(query).unwrap() {
        Action::RunInstances(run) => assert_eq!(run.public_address, Some(true)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_instance_may_have_an_interface_in_each_of_several_subnets() {
    let run = |query: &str| match parse(&format!("Action=RunInstances&ImageId=ami-1&{query}")) {
        Ok(Action::RunInstances(run)) => Ok(run.subnets),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code.as_str()),
    };
    assert_eq!(run("SubnetId=subnet-2"), Ok(vec![SubnetId(2)]));
    assert_eq!(
        run(
            "NetworkInterface.1.SubnetId=subnet-2&NetworkInterface.1.DeviceIndex=1\
             &NetworkInterface.2.SubnetId=subnet-0000000a&NetworkInterface.2.DeviceIndex=0"
        ),
        Ok(vec![SubnetId(10), SubnetId(2)]),
    );
    let two = "NetworkInterface.1.SubnetId=subnet-1&NetworkInterface.2";
    for (query, code) in [
        ("SubnetId=10.0.0.0", "InvalidSubnetID.Malformed"),
        (
            &format!("{two}.DeviceIndex=1"),
            "InvalidParameterCombination",
        ),
        (
            &format!("{two}.DeviceIndex=0"),
            "InvalidParameterCombination",
        ),
        (
            "SubnetId=subnet-1&NetworkInterface.1.SubnetId=subnet-1",
            "InvalidParameterCombination",
        ),
        (
            &format!(
                "{two}.SubnetId=subnet-2&{}",
                "NetworkInterface.2.SecurityGroupId.1=sg-1"
            ),
            "UnsupportedOperation",
        ),
        (
            &format!("{two}.SubnetId=subnet-2&NetworkInterface.2.PrivateIpAddress=10.0.0.9"),
            "UnsupportedOperation",
        ),
    ] {
        assert_eq!(run(query), Err(code), "{query}");
    }
}

#[test]
fn a_floating_ip_is_named_by_address_or_by_allocation() {
    let address = |query: &str| match parse(&format!("Action=ReleaseAddress&{query}")) {
        Ok(Action::ReleaseAddress(release)) => release.address.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(address("PublicIp=68.99.26.170"), "68.99.26.170");
    assert_eq!(address("AllocationId=eipalloc-1f"), "eipalloc-0000001f");
    let query = "Action=DisassociateAddress&AssociationId=eipassoc-2";
    let Ok(Action::DisassociateAddress(request)) = parse(query) else {
        panic!("not understood");
    };
    assert!(request.by_association);
    assert!(matches!(request.address, AddressRef::Allocation(id) if id.0 == 2));
}

#[test]
fn the_address_that_euca_allocate_address_names_is_asked_for() {
    for name in ["Address", "PublicIp"] {
        let query = format!("Action=AllocateAddress&{name}=68.99.26.171");
        let Ok(Action::AllocateAddress(request)) = parse(&query) else {
            panic!("{query} not understood");
        };
        assert_eq!(request.address, Some([68, 99, 26, 171].into()));
    }
}

#[test]
fn counts_and_type_of_run_instances_have_defaults() {
    let run = |query: &str| match parse(&format!("Action=RunInstances&ImageId=ami-1&{query}")) {
        Ok(Action::RunInstances(run)) => (run.min, run.max, run.instance_type.name),
        other => panic!("{other:?}"),
    };
    assert_eq!(run(""), (1, 1, "m1.small"));
    assert_eq!(run("MinCount=2"), (2, 2, "m1.small"));
    assert_eq!(run("MaxCount=3&InstanceType=m1.tiny"), (1, 3, "m1.tiny"));
}

#[test]
fn user_data_is_decoded_with_or_without_padding_and_never_printed() {
    for text in ["IyEvYmluL3NoCg==", "IyEvYmluL3NoCg", "IyEv%0AYmluL3NoCg=="] {
        let query = format!("Action=RunInstances&ImageId=ami-1&UserData={text}");
        let action = parse(&query).unwrap();
        assert!(!format!("{action:?}").contains("bin/sh"));
        let Action::RunInstances(run) = action else {
            panic!("not understood");
        };
        assert_eq!(run.user_data.unwrap(), b"#!/bin/sh\n");
    }
}

#[test]
fn names_are_held_to_what_files_and_tables_can_take() {
    let group = |name: &str, about: &str| {
        parse(&format!(
            "Action=CreateSecurityGroup&GroupName={name}&GroupDescription={about}"
        ))
    };
    assert_eq!(
        group("web-1", "my+servers"),
        Ok(Action::CreateSecurityGroup(CreateSecurityGroup {
            name: "web-1".into(),
            description: "my servers".into(),
        }))
    );
    let long = "x".repeat(256);
    for bad in [
        "a%00b",
        "%C3%A4",
        "sg-0a",
        "+x",
        long.as_str(),
        "a%0Ab",
        "%22",
    ] {
        let error = group(bad, "about").expect_err(bad);
        assert_eq!(error.code.as_str(), "InvalidParameterValue", "{bad}");
    }
    for bad in ["..%2Fx", "a%2Fb", ".x", "x+", "a%0Ab", long.as_str()] {
        let query = format!("Action=CreateKeyPair&KeyName={bad}");
        assert_eq!(code_of(&query), "InvalidParameterValue", "{bad}");
    }
}

#[test]
fn more_filters_than_ec2_takes_are_refused() {
    let values = |count: usize| {
        let values: Vec<_> = (1..=count)
            .map(|n| format!("Filter.1.Value.{n}=x"))
            .collect();
        parse(&format!(
            "Action=DescribeInstances&Filter.1.Name=key-name&{}",
            values.join("&")
        ))
    };
    assert!(values(200).is_ok());
    assert_eq!(values(201).unwrap_err().code, Code::FilterLimitExceeded);
    let names: Vec<_> = (1..=51)
        .map(|n| format!("Filter.{n}.Name=key-name"))
        .collect();
    let query = format!("Action=DescribeInstances&{}", names.join("&"));
    assert_eq!(code_of(&query), "FilterLimitExceeded");
}

#[test]
fn what_cannot_be_gets_the_code_that_ec2_gives() {
    let mut found = String::new();
    for query in include_str!("refused_queries.txt").lines() {
        let error = parse(query).expect_err(query);
        writeln!(found, "{query}\n    {} {error}", error.status()).unwrap();
    }
    insta::assert_snapshot!("refused_queries", found);
}
