//! Access and secret keys.

use novanet_pki::credentials::{new_access_key, new_secret_key};
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn access_keys_look_like_ec2s_and_are_never_the_same() {
    let keys: BTreeSet<String> = (0..1000).map(|_| new_access_key()).collect();
    assert_eq!(keys.len(), 1000);
    for key in keys {
        assert_eq!(key.len(), 20, "{key}");
        assert!(
            key.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
            "{key}"
        );
    }
}

#[test]
fn a_secret_key_goes_through_a_shell_unquoted() {
    let keys: BTreeSet<String> = (0..200).map(|_| new_secret_key()).collect();
    assert_eq!(keys.len(), 200);
    let words = keys.iter().cloned().collect::<Vec<_>>().join(" ");
    let out = Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {words}")])
        .output()
        .unwrap();
    let back: BTreeSet<String> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(back, keys);
    assert!(keys.iter().all(|key| key.len() == 40));
}
