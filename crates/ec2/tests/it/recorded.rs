//! Requests as real clients sent them (2011 to 2026), whole and with their signatures.

use novanet_ec2::{Code, Ec2Error, Params, Presented, RawRequest, credentials};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// One request of the recording, owned so that tests can change it.
#[derive(Clone)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Recorded {
    /// Reads it the way the server does; the headers live as long as the closure.
    pub fn with<T>(&self, use_it: impl FnOnce(RawRequest<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        use_it(RawRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: &self.body,
        })
    }

    pub fn read(&self) -> Result<(Params, Presented), Ec2Error> {
        self.with(|raw| {
            let params = Params::decode(&raw)?;
            let presented = credentials::parse(&raw, &params)?;
            Ok((params, presented))
        })
    }

    pub fn verify(&self, secret: &str, now: OffsetDateTime) -> Result<Params, Ec2Error> {
        let (params, presented) = self.read()?;
        presented.verify(secret, now).map(|()| params)
    }
}

/// All recorded requests.
pub fn all() -> Vec<Recorded> {
    let text = include_str!("requests.txt");
    let requests: Vec<_> = text.split("=== ").skip(1).map(one).collect();
    assert_eq!(requests.len(), 8);
    requests
}

fn one(text: &str) -> Recorded {
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let method = first.next().unwrap().to_owned();
    let target = first.next().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, Vec<u8>)> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.into())
        })
        .collect();
    Recorded {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: body.trim_end().into(),
    }
}

/// All were recorded within two minutes.
pub const NOW: OffsetDateTime = datetime!(2026-11-23 05:15:40 UTC);

#[test]
fn every_recorded_request_verifies_with_its_secret_and_with_no_other() {
    for request in all() {
        let (_, presented) = request.read().unwrap();
        assert_eq!(presented.access_key, "AK");
        presented.verify("SK", NOW).unwrap();
        let wrong = presented.verify("SL", NOW).unwrap_err();
        assert_eq!(wrong, Ec2Error::auth_failure());
    }
}

#[test]
fn the_project_behind_the_access_key_is_read_in_both_versions() {
    let projects: Vec<_> = all()
        .iter()
        .map(|request| request.read().unwrap().1.project.map(String::from))
        .collect();
    let admin = Some("admin-project".to_owned());
    assert_eq!(projects[0], admin, "version 2");
    assert_eq!(projects[3], admin, "version 4");
    assert_eq!(projects[4], None);
}

#[test]
fn more_than_five_minutes_off_in_either_direction_is_expired() {
    for request in all() {
        for off in [Duration::minutes(7), Duration::minutes(-7)] {
            let error = request.verify("SK", NOW + off).unwrap_err();
            assert_eq!(error.code, Code::RequestExpired);
        }
    }
}

#[test]
fn a_stale_authorization_header_of_another_kind_is_ignored() {
    let first = &all()[0];
    let stale = first
        .headers
        .iter()
        .any(|(name, value)| name == "Authorization" && value.starts_with(b"AWS AK"));
    assert!(stale, "the recording has one");
    first.verify("SK", NOW).unwrap();
}

#[test]
fn no_byte_of_query_or_body_can_change_without_the_signature_noticing() {
    for request in all() {
        let original = request.verify("SK", NOW).unwrap();
        for at in 0..request.query.len() + request.body.len() {
            for flip in [0x01, 0x20] {
                let mut changed = request.clone();
                if at < request.query.len() {
                    let mut bytes = changed.query.into_bytes();
                    bytes[at] ^= flip;
                    let Ok(query) = String::from_utf8(bytes) else {
                        continue;
                    };
                    changed.query = query;
                } else {
                    changed.body[at - request.query.len()] ^= flip;
                }
                // `%2f` is `%2F`: the same parameters, so the same request.
                if let Ok(params) = changed.verify("SK", NOW) {
                    assert_eq!(params, original, "byte {at} changed");
                }
            }
        }
    }
}

#[test]
fn no_byte_of_method_path_or_signed_header_can_change() {
    for request in all() {
        let (_, original) = request.read().unwrap();
        let key = (&original.access_key, &original.project);
        let mut variants = Vec::new();
        let mut changed = request.clone();
        changed.path.push('x');
        variants.push(changed);
        let mut changed = request.clone();
        changed.path = changed.path.to_lowercase();
        variants.push(changed);
        for (at, (name, value)) in request.headers.iter().enumerate() {
            let signed = matches!(name.as_str(), "Host" | "X-Amz-Date")
                || name == "Authorization" && value.starts_with(b"AWS4");
            for byte in 0..if signed { value.len() } else { 0 } {
                let mut changed = request.clone();
                changed.headers[at].1[byte] ^= 0x01;
                variants.push(changed);
            }
        }
        for variant in variants {
            // Version 4 does not sign the access key: it decides whose secret has to fit.
            if let Ok((_, presented)) = variant.read()
                && (&presented.access_key, &presented.project) == key
            {
                assert!(presented.verify("SK", NOW).is_err(), "{:?}", variant.path);
            }
        }
    }
}
