//! `euca-*` commands for instances. Pure.

use super::{Command, Request, line};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use novanet_ec2::reader::Element;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "run-instances",
        aliases: &[],
        about: "start instances",
        example: "run-instances ami-00000001 -t m1.tiny -k mykey",
        params: RUN,
        request: run,
        show: |_, answer| {
            let mut out = String::new();
            reservation(&mut out, answer);
            Ok(out)
        },
    },
    Command {
        name: "describe-instances",
        aliases: &[],
        about: "the project's instances",
        example: "describe-instances i-00000001",
        params: &[param("instance", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeInstances").maybe("InstanceId.1", b.text("instance"))),
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("reservationSet") {
                reservation(&mut out, item);
            }
            Ok(out)
        },
    },
    Command {
        name: "stop-instances",
        aliases: &[],
        about: "shut instances down and keep them",
        example: "stop-instances i-00000001",
        params: SOME,
        request: |b| Ok(Request::new("StopInstances").list("InstanceId", &b.all("instance"))),
        show: changed,
    },
    Command {
        name: "start-instances",
        aliases: &[],
        about: "start instances that were stopped, or that failed",
        example: "start-instances i-00000001",
        params: SOME,
        request: |b| Ok(Request::new("StartInstances").list("InstanceId", &b.all("instance"))),
        show: changed,
    },
    Command {
        name: "terminate-instances",
        aliases: &[],
        about: "end instances",
        example: "terminate-instances i-00000001",
        params: SOME,
        request: |b| Ok(Request::new("TerminateInstances").list("InstanceId", &b.all("instance"))),
        show: changed,
    },
    Command {
        name: "reboot-instances",
        aliases: &[],
        about: "start instances again",
        example: "reboot-instances i-00000001",
        params: SOME,
        request: |b| Ok(Request::new("RebootInstances").list("InstanceId", &b.all("instance"))),
        show: |b, _| {
            let mut out = String::new();
            for instance in b.all("instance") {
                line(&mut out, &["INSTANCE", instance]);
            }
            Ok(out)
        },
    },
    Command {
        name: "get-console-output",
        aliases: &[],
        about: "what an instance printed",
        example: "get-console-output i-00000001",
        params: &[param("instance", Takes::Required, "the instance")],
        request: |b| {
            Ok(Request::new("GetConsoleOutput").with("InstanceId", b.required("instance")?))
        },
        show: console,
    },
];

const SOME: &[Param] = &[param("instance", Takes::Many, "the instances")];

const RUN: &[Param] = &[
    param("image", Takes::Required, "the image, like ami-00000001"),
    param(
        "instance_count",
        Takes::Named,
        "how many, or two numbers like 1-3: at least and at most",
    )
    .or(&["n"]),
    param("instance_type", Takes::Named, "size (m1.small)").or(&["t"]),
    param("key", Takes::Named, "key pair for ssh").or(&["k"]),
    param(
        "group",
        Takes::Named,
        "security group; may be given several times (default)",
    )
    .or(&["g"]),
    param("user_data", Takes::Named, "user data").or(&["d"]),
    param("user_data_file", Takes::Named, "file with user data").or(&["f"]),
    param("availability_zone", Takes::Named, "zone").or(&["z"]),
];

/// The instances whose state a command changed.
#[allow(clippy::unnecessary_wraps)] // as the table wants it
fn changed(_: &Bound, answer: &Element) -> Result<String, Failure> {
    let mut out = String::new();
    for item in answer.items("instancesSet") {
        line(&mut out, &["INSTANCE", item.text_of("instanceId")]);
    }
    Ok(out)
}

fn run(bound: &Bound) -> Result<Request, Failure> {
    let count = bound.text("instance_count").unwrap_or("1");
    let (least, most) = count.split_once('-').unwrap_or((count, count));
    if [least, most]
        .iter()
        .any(|n| n.parse::<u32>().map_or(true, |n| n == 0))
    {
        return Err(Failure::usage(format!(
            "instance_count {count:?}: must be a number like 2, or two like 1-3"
        )));
    }
    let data = match (bound.text("user_data"), bound.text("user_data_file")) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "user_data and user_data_file: give one of them",
            ));
        }
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(path)) => Some(
            std::fs::read(path)
                .map_err(|e| Failure::failed(format!("user_data_file {path}: {e}")))?,
        ),
        (None, None) => None,
    };
    let data = data.map(|bytes| STANDARD.encode(&bytes));
    Ok(Request::new("RunInstances")
        .with("ImageId", bound.required("image")?)
        .with("MinCount", least)
        .with("MaxCount", most)
        .maybe("InstanceType", bound.text("instance_type"))
        .maybe("KeyName", bound.text("key"))
        .list("SecurityGroup", &bound.all("group"))
        .maybe("UserData", data.as_deref())
        .maybe(
            "Placement.AvailabilityZone",
            bound.text("availability_zone"),
        ))
}

fn reservation(out: &mut String, item: &Element) {
    let instances: Vec<&Element> = item.items("instancesSet").collect();
    let groups: Vec<&str> = item
        .items("groupSet")
        .map(|g| g.text_of("groupName"))
        .collect();
    let of_instance = || {
        let first = instances.first();
        first.map(|i| {
            i.items("groupSet")
                .map(|g| g.text_of("groupName"))
                .collect()
        })
    };
    let groups = if groups.is_empty() {
        of_instance().unwrap_or_default()
    } else {
        groups
    };
    let cells = [
        "RESERVATION",
        item.text_of("reservationId"),
        item.text_of("ownerId"),
        &groups.join(", "),
    ];
    line(out, &cells);
    for instance in instances {
        // Before there is a floating address, nova showed the fixed one in both places.
        let private = instance.text_of("privateIpAddress");
        let public = Some(instance.text_of("ipAddress"))
            .filter(|a| !a.is_empty())
            .unwrap_or(private);
        let cells = [
            "INSTANCE",
            instance.text_of("instanceId"),
            instance.text_of("imageId"),
            public,
            private,
            instance.text_of("instanceState/name"),
            instance.text_of("keyName"),
            instance.text_of("amiLaunchIndex"),
            "",
            instance.text_of("instanceType"),
            instance.text_of("launchTime"),
            instance.text_of("placement/availabilityZone"),
        ];
        line(out, &cells);
    }
}

fn console(_: &Bound, answer: &Element) -> Result<String, Failure> {
    let bytes = STANDARD
        .decode(answer.text_of("output").trim())
        .map_err(|_| Failure::failed("the output is not base64"))?;
    Ok(format!(
        "{}\n{}\n{}",
        answer.text_of("instanceId"),
        answer.text_of("timestamp"),
        String::from_utf8_lossy(&bytes)
    ))
}
