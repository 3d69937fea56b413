//! `euca-*` commands for floating addresses. Pure.

use super::{Command, Request, line};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use novanet_ec2::reader::Element;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "allocate-address",
        aliases: &[],
        about: "take an address from the pool",
        example: "allocate-address 68.99.26.170",
        params: &[param("address", Takes::Optional, "this one, if it is free")],
        request: |b| Ok(Request::new("AllocateAddress").maybe("Address", b.text("address"))),
        show: |_, answer| Ok(one(&["ADDRESS", answer.text_of("publicIp")])),
    },
    Command {
        name: "associate-address",
        aliases: &[],
        about: "lead an address to an instance",
        example: "associate-address -i i-00000001 68.99.26.170",
        params: &[INSTANCE, param("address", Takes::Required, "the address")],
        request: |b| {
            let instance = b.text("instance").ok_or_else(|| {
                Failure::usage("instance is missing: say which with -i i-00000001")
            })?;
            Ok(Request::new("AssociateAddress")
                .with("PublicIp", b.required("address")?)
                .with("InstanceId", instance))
        },
        show: |b, _| {
            let instance = b.text("instance").unwrap_or_default();
            Ok(one(&["ADDRESS", b.required("address")?, instance]))
        },
    },
    Command {
        name: "disassociate-address",
        aliases: &[],
        about: "lead an address nowhere",
        example: "disassociate-address 68.99.26.170",
        params: ADDRESS,
        request: |b| named("DisassociateAddress", b),
        show: shown,
    },
    Command {
        name: "release-address",
        // The manual's word, which no release had.
        aliases: &["deallocate-address"],
        about: "give an address back to the pool",
        example: "release-address 68.99.26.170",
        params: ADDRESS,
        request: |b| named("ReleaseAddress", b),
        show: shown,
    },
    Command {
        name: "describe-addresses",
        aliases: &[],
        about: "the project's addresses",
        example: "describe-addresses",
        params: &[param("address", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeAddresses").maybe("PublicIp.1", b.text("address"))),
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("addressesSet") {
                line(
                    &mut out,
                    &[
                        "ADDRESS",
                        item.text_of("publicIp"),
                        item.text_of("instanceId"),
                    ],
                );
            }
            Ok(out)
        },
    },
];

const INSTANCE: Param = param("instance", Takes::Named, "the instance").or(&["i"]);

const ADDRESS: &[Param] = &[param("address", Takes::Required, "the address")];

fn named(action: &'static str, bound: &Bound) -> Result<Request, Failure> {
    Ok(Request::new(action).with("PublicIp", bound.required("address")?))
}

fn shown(bound: &Bound, _: &Element) -> Result<String, Failure> {
    Ok(one(&["ADDRESS", bound.required("address")?]))
}

fn one(cells: &[&str]) -> String {
    let mut out = String::new();
    line(&mut out, cells);
    out
}
