//! The cost of authentication before a request is looked at: decoding, and checking the signature
//! of both versions. Depends on `ec2` only.

use super::World;
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::{Result, anyhow};
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder, SignedRequest, V2Method};
use novanet_ec2::{Params, RawRequest, credentials};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

pub(super) fn run(_: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let endpoint = Endpoint::from_url("http://127.0.0.1:8773/services/Cloud")
        .ok_or_else(|| anyhow!("the endpoint"))?;
    let keys = Credentials {
        access_key: "bench:bench".to_owned(),
        secret_key: "a-secret-of-usual-length-for-such-keys".to_owned(),
    };
    let request = RequestBuilder::new(endpoint, "RunInstances")
        .param("ImageId", "ami-00000001")
        .param("InstanceType", "m1.tiny")
        .param("MinCount", 1)
        .param("MaxCount", 1)
        .list("SecurityGroup", ["default", "web"]);
    let now = OffsetDateTime::now_utc();
    let signed = [
        ("4", request.sign_v4(&keys, "nova", now)),
        ("2", request.sign_v2(&keys, V2Method::Sha256, now)),
    ];
    let mut rows = Vec::new();
    for (version, request) in signed {
        let mut took = Samples::default();
        for _ in 0..scale.of(20_000, 500) {
            let began = Instant::now();
            check(&request, &keys.secret_key, now)?;
            took.push(began.elapsed());
        }
        rows.push(
            Row::new(
                format!("signature check, version {version}"),
                Unit::Micros,
                &took,
            )
            .at_most(Duration::from_micros(50)),
        );
    }
    Ok(rows)
}

fn check(request: &SignedRequest, secret: &str, now: OffsetDateTime) -> Result<()> {
    let headers: Vec<(&str, &[u8])> = request
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    let raw = RawRequest {
        method: request.method,
        path: request.path(),
        query: request.query(),
        headers: &headers,
        body: request.body.as_bytes(),
    };
    let refused = |e: novanet_ec2::Ec2Error| anyhow!("{}", e.message);
    let params = Params::decode(&raw).map_err(refused)?;
    let presented = credentials::parse(&raw, &params).map_err(refused)?;
    presented.verify(secret, now).map_err(refused)
}
