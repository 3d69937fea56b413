//! Authorities, certificates and revocation lists, against the real openssl.

use novanet_pki::PkiError;
use novanet_pki::x509::{Authority, Issued, Purpose, Revoked};
use std::path::Path;
use std::process::Command;
use time::{Duration, OffsetDateTime};

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A folder with files, in which openssl runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(desk.path().join(name), text).unwrap();
        }
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Whether it succeeds, and all that it says.
    fn openssl(&self, line: &str) -> (bool, String) {
        let out = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(self.path())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    fn succeeds(&self, line: &str) -> String {
        let (ok, text) = self.openssl(line);
        assert!(ok, "openssl {line}: {text}");
        text
    }

    fn fails(&self, line: &str, because: &str) {
        let (ok, text) = self.openssl(line);
        assert!(!ok && text.contains(because), "openssl {line}: {text}");
    }
}

fn issue(authority: &Authority, purpose: Purpose) -> Issued {
    authority.issue("web", "john", purpose, now()).unwrap()
}

#[test]
fn openssl_accepts_a_certificate_for_its_purpose_only_and_its_key_fits() {
    let authority = Authority::generate("web", now()).unwrap();
    let client = issue(&authority, Purpose::Client);
    let server = issue(&authority, Purpose::Server);
    let desk = Desk::new(&[
        ("ca.pem", authority.certificate()),
        ("client.pem", &client.certificate),
        ("client.key", &client.private_key),
        ("server.pem", &server.certificate),
    ]);
    desk.succeeds("verify -x509_strict -CAfile ca.pem ca.pem");
    desk.succeeds("verify -x509_strict -purpose sslclient -CAfile ca.pem client.pem");
    desk.succeeds("verify -x509_strict -purpose sslserver -CAfile ca.pem server.pem");
    desk.fails(
        "verify -purpose sslserver -CAfile ca.pem client.pem",
        "unsuitable certificate purpose",
    );
    desk.fails(
        "verify -purpose sslclient -CAfile ca.pem server.pem",
        "unsuitable certificate purpose",
    );
    let of_key = desk.succeeds("pkey -in client.key -pubout");
    assert_eq!(desk.succeeds("x509 -in client.pem -noout -pubkey"), of_key);
    let text = desk.succeeds("x509 -in client.pem -noout -text");
    for part in [
        "Subject: O = novanet, OU = web, CN = john",
        "Issuer: O = novanet, OU = web, CN = project CA",
        "NIST CURVE: P-256",
        "CA:FALSE",
        "Digital Signature, Key Agreement",
        "TLS Web Client Authentication",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        desk.succeeds("x509 -in client.pem -noout -serial"),
        format!("serial={}\n", client.serial)
    );
    assert_eq!(client.serial.len(), 16);
    assert_ne!(client.serial, server.serial);
}

#[test]
fn a_clock_that_is_some_hours_slow_finds_authority_and_certificate_valid() {
    let authority = Authority::generate("", now()).unwrap();
    let user = issue(&authority, Purpose::Client);
    let desk = Desk::new(&[
        ("ca.pem", authority.certificate()),
        ("user.pem", &user.certificate),
    ]);
    let at = |hours: i64| now().unix_timestamp() + hours * 3600;
    let verify = |hours| format!("verify -attime {} -CAfile ca.pem user.pem", at(hours));
    desk.succeeds(&verify(-20));
    desk.succeeds(&verify(24 * 364));
    desk.fails(&verify(24 * 366), "certificate has expired");
    let day = Duration::DAY;
    assert!(user.not_before <= now() - day && user.not_after <= now() + day * 365);
    // No certificate lives longer than its authority.
    let later = authority.not_after() - day * 10;
    let last = authority.issue("web", "john", Purpose::Client, later);
    assert_eq!(last.unwrap().not_after, authority.not_after());
}

#[test]
fn another_projects_authority_accepts_no_certificate_of_this_one() {
    let web = Authority::generate("web", now()).unwrap();
    let user = issue(&web, Purpose::Client);
    // The same name, as after a project was deleted and made again.
    for other in ["shop", "web", ""] {
        let other = Authority::generate(other, now()).unwrap();
        let desk = Desk::new(&[
            ("ca.pem", other.certificate()),
            ("user.pem", &user.certificate),
        ]);
        let (ok, text) = desk.openssl("verify -CAfile ca.pem user.pem");
        assert!(!ok, "{text}");
    }
}

#[test]
fn a_stored_authority_signs_on_and_one_whose_key_was_exchanged_is_refused() {
    let made = Authority::generate("web", now()).unwrap();
    let key = made.private_key().unwrap();
    let open = |key: &str| Authority::open("web", made.certificate(), key, made.not_after());
    let user = issue(&open(&key).unwrap(), Purpose::Client);
    let desk = Desk::new(&[
        ("ca.pem", made.certificate()),
        ("user.pem", &user.certificate),
    ]);
    desk.succeeds("verify -x509_strict -CAfile ca.pem user.pem");
    let other = Authority::generate("web", now()).unwrap();
    for wrong in [&other.private_key().unwrap(), "", &key[..80]] {
        let error = open(wrong).unwrap_err();
        assert!(matches!(error, PkiError::Damaged(_)), "{error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
    }
    let shown = format!("{made:?} {user:?}");
    assert!(
        !shown.contains("PRIVATE") && !shown.contains("MI"),
        "{shown}"
    );
}

#[test]
fn a_revocation_list_refuses_exactly_the_revoked() {
    let authority = Authority::generate("web", now()).unwrap();
    let [kept, gone] = [(); 2].map(|()| issue(&authority, Purpose::Client));
    let revoked = [Revoked {
        serial: gone.serial.clone(),
        at: now(),
    }];
    let list = authority.revocation_list(&revoked, now(), 30).unwrap();
    let empty = authority.revocation_list(&[], now(), 30).unwrap();
    let desk = Desk::new(&[
        ("ca.pem", authority.certificate()),
        ("kept.pem", &kept.certificate),
        ("gone.pem", &gone.certificate),
        ("list.pem", &list),
        ("empty.pem", &empty),
    ]);
    let verify =
        |list: &str, name: &str| format!("verify -crl_check -CAfile ca.pem -CRLfile {list} {name}");
    desk.succeeds(&verify("list.pem", "kept.pem"));
    desk.fails(&verify("list.pem", "gone.pem"), "certificate revoked");
    desk.succeeds(&verify("empty.pem", "gone.pem"));
    let text = desk.succeeds("crl -in list.pem -noout -text");
    assert!(text.contains(&gone.serial), "{text}");
    assert!(
        authority
            .revocation_list(
                &[Revoked {
                    serial: "x".into(),
                    at: now()
                }],
                now(),
                1
            )
            .is_err()
    );
}
