//! `euca-*` commands for key pairs. Pure.

use super::{Command, Request, line};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use novanet_ec2::reader::Element;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "add-keypair",
        aliases: &["create-keypair"],
        about: "make a key pair and print the private key",
        example: "add-keypair mykey -f mykey.pem",
        params: &[
            NAME,
            param(
                "filename",
                Takes::Named,
                "write the private key here (0600)",
            )
            .or(&["f"]),
        ],
        // nova's kind. ssh finds such a key behind the line that is printed before it.
        request: |b| {
            Ok(Request::new("CreateKeyPair")
                .with("KeyName", b.required("name")?)
                .with("KeyType", "rsa"))
        },
        show: created,
    },
    Command {
        name: "import-keypair",
        aliases: &[],
        about: "make a key pair of a public key of your own",
        example: "import-keypair mykey -f id_ed25519.pub",
        params: &[
            NAME,
            param("public_key_file", Takes::Named, "file with the public key").or(&["f"]),
        ],
        request: import,
        show: |_, answer| Ok(keypair(answer)),
    },
    Command {
        name: "delete-keypair",
        aliases: &[],
        about: "remove a key pair",
        example: "delete-keypair mykey",
        params: &[NAME],
        request: |b| Ok(Request::new("DeleteKeyPair").with("KeyName", b.required("name")?)),
        show: |b, _| Ok(format!("KEYPAIR\t{}\n", b.required("name")?)),
    },
    Command {
        name: "describe-keypairs",
        aliases: &[],
        about: "your key pairs",
        example: "describe-keypairs",
        params: &[param("name", Takes::Optional, "only this one")],
        request: |b| Ok(Request::new("DescribeKeyPairs").maybe("KeyName.1", b.text("name"))),
        show: |_, answer| Ok(answer.items("keySet").map(keypair).collect()),
    },
];

const NAME: Param = param("name", Takes::Required, "the key pair's name");

fn import(bound: &Bound) -> Result<Request, Failure> {
    let path = bound.text("public_key_file").ok_or_else(|| {
        Failure::usage("public_key_file is missing: say which with -f id_ed25519.pub")
    })?;
    let key =
        std::fs::read(path).map_err(|e| Failure::failed(format!("public_key_file {path}: {e}")))?;
    Ok(Request::new("ImportKeyPair")
        .with("KeyName", bound.required("name")?)
        .with("PublicKeyMaterial", STANDARD.encode(key)))
}

/// A key pair as a line.
fn keypair(item: &Element) -> String {
    let mut out = String::new();
    let cells = [
        "KEYPAIR",
        item.text_of("keyName"),
        item.text_of("keyFingerprint"),
    ];
    line(&mut out, &cells);
    out
}

fn created(bound: &Bound, answer: &Element) -> Result<String, Failure> {
    let mut out = keypair(answer);
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
