//! `euca-*` commands for key pairs. Pure.

use super::{Command, Request, line};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use novanet_ec2::reader::Element;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "add-keypair",
        aliases: &["create-keypair"],
        about: "make a key pair and print the private key",
        params: &[
            NAME,
            param(
                "filename",
                Takes::Named,
                "write the private key here (0600)",
            )
            .or(&["f"]),
        ],
        request: |b| Ok(Request::new("CreateKeyPair").with("KeyName", b.required("name")?)),
        show: created,
    },
    Command {
        name: "delete-keypair",
        aliases: &[],
        about: "remove a key pair",
        params: &[NAME],
        request: |b| Ok(Request::new("DeleteKeyPair").with("KeyName", b.required("name")?)),
        show: |b, _| Ok(format!("KEYPAIR\t{}\n", b.required("name")?)),
    },
    Command {
        name: "describe-keypairs",
        aliases: &[],
        about: "your key pairs",
        params: &[param("name", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeKeyPairs").maybe("KeyName.1", b.text("name"))),
        show: |_, answer| {
            let mut out = String::new();
            for item in answer.items("keySet") {
                let cells = [
                    "KEYPAIR",
                    item.text_of("keyName"),
                    item.text_of("keyFingerprint"),
                ];
                line(&mut out, &cells);
            }
            Ok(out)
        },
    },
];

const NAME: Param = param("name", Takes::Required, "the key pair's name");

fn created(bound: &Bound, answer: &Element) -> Result<String, Failure> {
    let mut out = String::new();
    let cells = [
        "KEYPAIR",
        answer.text_of("keyName"),
        answer.text_of("keyFingerprint"),
    ];
    line(&mut out, &cells);
    let material = answer.text_of("keyMaterial").trim_end();
    let Some(path) = bound.text("filename") else {
        out.push_str(material);
        out.push('\n');
        return Ok(out);
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{material}\n").as_bytes()))
        .map_err(|e| {
            // The server does not have it any more: losing it here loses it for good.
            Failure::failed(format!("{path}: {e}; the private key is:\n{material}"))
        })?;
    Ok(out)
}
