//! The vault.

use novanet_pki::{PkiError, Vault};

const CONTEXT: &str = "user/alice/secret_key";

#[test]
fn what_was_sealed_opens_with_the_same_key_and_context() {
    let vault = Vault::generate();
    let again = Vault::parse(&vault.to_text()).unwrap();
    for plain in [&b""[..], b"s3cret", &[7; 10_000]] {
        let sealed = vault.seal(CONTEXT, plain);
        assert_eq!(again.open(CONTEXT, &sealed).unwrap(), plain);
    }
}

#[test]
fn the_same_secret_sealed_twice_looks_different() {
    let vault = Vault::generate();
    assert_ne!(vault.seal(CONTEXT, b"same"), vault.seal(CONTEXT, b"same"));
}

#[test]
fn a_secret_moved_to_another_user_does_not_open() {
    let vault = Vault::generate();
    let sealed = vault.seal(CONTEXT, b"s3cret");
    assert_eq!(
        vault.open("user/mallory/secret_key", &sealed),
        Err(PkiError::Damaged("user/mallory/secret_key".to_owned()))
    );
}

#[test]
fn a_wrong_key_file_is_named_as_such() {
    let (right, wrong) = (Vault::generate(), Vault::generate());
    let sealed = right.seal(CONTEXT, b"s3cret");
    assert_eq!(wrong.open(CONTEXT, &sealed), Err(PkiError::WrongKey));
    assert_eq!(wrong.verify(&right.check_value()), Err(PkiError::WrongKey));
    right.verify(&right.check_value()).unwrap();
}

#[test]
fn every_flipped_bit_and_every_missing_byte_is_noticed() {
    let vault = Vault::generate();
    let sealed = vault.seal(CONTEXT, b"s3cret");
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        vault.open(CONTEXT, &bad).unwrap_err();
    }
    for length in 0..sealed.len() {
        vault.open(CONTEXT, &sealed[..length]).unwrap_err();
    }
}

#[test]
fn a_key_file_is_one_line_and_may_have_comments() {
    let vault = Vault::generate();
    let text = vault.to_text();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("novanet-key-1 ") && text.ends_with('\n'));
    let commented = format!("# made by hand\n\n  {text}\n");
    assert_eq!(Vault::parse(&commented).unwrap(), vault);
}

#[test]
fn a_bad_key_file_says_what_is_wrong_and_shows_nothing_of_it() {
    let good = Vault::generate().to_text();
    let mut mistyped = good.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'A' { b'B' } else { b'A' };
    let cases = [
        (String::new(), "key file: is empty"),
        (
            "hello".to_owned(),
            "key file: does not start with novanet-key-1",
        ),
        (
            good.replace("key-1 ", "key-1"),
            "key file: does not start with novanet-key-1",
        ),
        ("novanet-key-1 ***".to_owned(), "key file: is not base64"),
        ("novanet-key-1 AAAA".to_owned(), "key file: is cut short"),
        (format!("{good}{good}"), "key file: holds more than one key"),
        (
            String::from_utf8(mistyped).unwrap(),
            "key file: is damaged (its check value differs)",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(Vault::parse(&text).unwrap_err().to_string(), message);
    }
}

#[test]
fn debug_output_does_not_show_the_key() {
    let vault = Vault::generate();
    let text = vault.to_text();
    let coded = text.split(' ').nth(1).unwrap().trim();
    let shown = format!("{vault:?}");
    assert!(shown.starts_with("Vault { check: "), "{shown}");
    assert!(!shown.contains(&coded[..8]), "{shown}");
}
