//! Key pairs, against the real ssh-keygen.

use novanet_pki::ssh::{KeyKind, generate_key_pair, parse_public};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn keygen(args: &[&str]) -> String {
    let out = Command::new("ssh-keygen").args(args).output().unwrap();
    assert!(
        out.status.success(),
        "ssh-keygen {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

fn private_file(folder: &Path, text: &str) -> PathBuf {
    use std::io::Write;
    let path = folder.join("key");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

/// `ssh-keygen -lf` with MD5: `256 MD5:aa:bb:… comment (ED25519)`.
fn fingerprint_of(path: &str) -> String {
    let line = keygen(&["-l", "-E", "md5", "-f", path]);
    let word = line.split_whitespace().nth(1).unwrap();
    word.strip_prefix("MD5:").unwrap().to_owned()
}

#[test]
fn ssh_keygen_accepts_a_generated_pair_and_sees_the_same_fingerprint() {
    for (kind, word) in [
        (KeyKind::Ed25519, "ssh-ed25519 "),
        (KeyKind::Rsa, "ssh-rsa "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pair = generate_key_pair(kind).unwrap();
        assert!(pair.public_openssh.starts_with(word), "{pair:?}");
        let path = private_file(folder.path(), &pair.private_pem);
        let path = path.to_str().unwrap();
        assert_eq!(keygen(&["-y", "-f", path]).trim(), pair.public_openssh);
        std::fs::write(folder.path().join("key.pub"), &pair.public_openssh).unwrap();
        assert_eq!(fingerprint_of(path), pair.fingerprint_md5);
        if kind == KeyKind::Rsa {
            // As `euca-add-keypair mykey >mykey.pem` leaves it.
            let whole = format!("KEYPAIR\tmykey\taa:bb\n{}", pair.private_pem);
            assert!(
                whole.contains("\n-----BEGIN RSA PRIVATE KEY-----\n"),
                "{pair:?}"
            );
            std::fs::remove_file(path).unwrap();
            let path = private_file(folder.path(), &whole);
            let said = keygen(&["-y", "-f", path.to_str().unwrap()]);
            assert_eq!(said.trim(), pair.public_openssh);
        }
        assert_ne!(generate_key_pair(kind).unwrap(), pair);
    }
}

#[test]
fn public_keys_of_every_usual_kind_are_imported_with_ssh_keygens_fingerprint() {
    for (kind, bits) in [
        ("ed25519", "256"),
        ("rsa", "2048"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let path = path.to_str().unwrap();
        keygen(&[
            "-q",
            "-t",
            kind,
            "-b",
            bits,
            "-N",
            "",
            "-C",
            "alice at home",
            "-f",
            path,
        ]);
        let public = format!("{path}.pub");
        let text = std::fs::read_to_string(&public).unwrap();
        let wanted = (text.trim().to_owned(), fingerprint_of(&public));
        assert_eq!(parse_public(&text).unwrap(), wanted, "{kind} {bits}");
        let (line, fingerprint) = parse_public(&keygen(&["-e", "-f", &public])).unwrap();
        assert_eq!(fingerprint, wanted.1, "{kind} {bits} as RFC 4716");
        assert!(wanted.0.starts_with(&line), "{line}");
    }
}

#[test]
fn what_is_no_usable_public_key_is_refused_with_the_reason() {
    let pair = generate_key_pair(KeyKind::Ed25519).unwrap();
    let two = format!("{0}\n{0}\n", pair.public_openssh);
    let cut = &pair.public_openssh[..40];
    let other = pair.public_openssh.replacen("ssh-ed25519", "ssh-rsa", 1);
    for (text, reason) in [
        ("", "is empty"),
        ("hello", "cannot be read"),
        (&pair.private_pem, "this is a private key"),
        (&two, "one key on one line"),
        (cut, "cannot be read"),
        (&other, "cannot be read"),
    ] {
        let error = parse_public(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

#[test]
fn a_comment_cannot_smuggle_a_second_line() {
    let pair = generate_key_pair(KeyKind::Ed25519).unwrap();
    let text = format!("{} bob\u{b}\u{85}x", pair.public_openssh);
    let (line, _) = parse_public(&text).unwrap();
    assert_eq!(line, format!("{} bobx", pair.public_openssh));
}

#[test]
fn debug_output_does_not_show_the_private_key() {
    let pair = generate_key_pair(KeyKind::Ed25519).unwrap();
    let shown = format!("{pair:?}");
    assert!(shown.contains(&pair.public_openssh));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
