//! `euca-*` commands for images, zones and regions. Pure.

use super::{Command, Request, line};
use crate::args::{Takes, param};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "describe-images",
        aliases: &[],
        about: "the images that you may run",
        example: "describe-images",
        params: &[param("image", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeImages").maybe("ImageId.1", b.text("image"))),
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("imagesSet") {
                let public = match item.text_of("isPublic") {
                    "true" => "public",
                    _ => "private",
                };
                let cells = [
                    "IMAGE",
                    item.text_of("imageId"),
                    item.text_of("imageLocation"),
                    item.text_of("imageOwnerId"),
                    item.text_of("imageState"),
                    public,
                    "",
                    item.text_of("architecture"),
                    item.text_of("imageType"),
                ];
                line(&mut out, &cells);
            }
            Ok(out)
        },
    },
    Command {
        name: "describe-availability-zones",
        aliases: &[],
        about: "the zones",
        example: "describe-availability-zones verbose",
        params: &[param(
            "zone",
            Takes::Optional,
            "only this one; verbose: with hosts and services, for administrators",
        )],
        request: |b| {
            Ok(Request::new("DescribeAvailabilityZones").maybe("ZoneName.1", b.text("zone")))
        },
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("availabilityZoneInfo") {
                let cells = [
                    "AVAILABILITYZONE",
                    item.text_of("zoneName"),
                    item.text_of("zoneState"),
                ];
                line(&mut out, &cells);
            }
            Ok(out)
        },
    },
    Command {
        name: "describe-regions",
        aliases: &[],
        about: "the regions",
        example: "describe-regions",
        params: &[param("region", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeRegions").maybe("RegionName.1", b.text("region"))),
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("regionInfo") {
                let cells = [
                    "REGION",
                    item.text_of("regionName"),
                    item.text_of("regionEndpoint"),
                ];
                line(&mut out, &cells);
            }
            Ok(out)
        },
    },
];
