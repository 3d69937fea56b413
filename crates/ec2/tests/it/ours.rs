//! Our own client against our own server side.

use crate::recorded::{NOW, Recorded};
use novanet_ec2::action::{Action, DescribeInstances};
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder, SignedRequest, V2Method};
use novanet_ec2::response::{self, DescribedInstances, Done};
use novanet_ec2::{Code, Filter, reader};
use novanet_model::InstanceId;
use time::Duration;

use crate::samples;

pub fn key() -> Credentials {
    Credentials {
        access_key: "AK:web".into(),
        secret_key: "SK".into(),
    }
}

pub fn received(request: &SignedRequest) -> Recorded {
    Recorded {
        method: request.method.into(),
        path: request.path().into(),
        query: request.query().into(),
        headers: request
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()))
            .collect(),
        body: request.body.clone().into_bytes(),
    }
}

pub fn in_every_way(builder: &RequestBuilder) -> Vec<SignedRequest> {
    vec![
        builder.sign_v4(&key(), "nova", NOW),
        builder.presign_v4(&key(), "nova", NOW, 300),
        builder.sign_v2(&key(), V2Method::Sha256, NOW),
        builder.sign_v2(&key(), V2Method::Sha1, NOW),
    ]
}

#[test]
fn what_our_client_signs_in_any_way_our_server_understands() {
    for url in [
        "http://127.0.0.1:8773/services/Cloud",
        "http://cloud.example",
        "https://Cloud.example:443/services/Cloud/",
    ] {
        let endpoint = Endpoint::from_url(url).unwrap();
        let builder = RequestBuilder::new(endpoint, "DescribeInstances")
            .list("InstanceId", [InstanceId(1), InstanceId(2)])
            .param("Filter.1.Name", "key-name")
            .param("Filter.1.Value.1", "my *")
            .optional("NextToken", None::<String>);
        for request in in_every_way(&builder) {
            let params = received(&request).verify("SK", NOW).unwrap();
            assert_eq!(params.version(), Ok("2016-11-15"));
            let expected = DescribeInstances {
                ids: vec![InstanceId(1), InstanceId(2)],
                filters: vec![Filter {
                    name: "key-name".into(),
                    values: vec!["my *".into()],
                }],
                ..DescribeInstances::default()
            };
            assert_eq!(
                Action::parse(&params),
                Ok(Action::DescribeInstances(expected))
            );
            assert!(!format!("{request:?}{builder:?}").contains("SK"));
        }
    }
}

#[test]
fn version_2_may_be_signed_for_the_host_without_its_port_but_for_no_other_host() {
    let endpoint = Endpoint::from_url("http://Cloud.example/services/Cloud").unwrap();
    let builder = RequestBuilder::new(endpoint, "DescribeRegions");
    let arrives = |host: &str, request: &SignedRequest| {
        let mut request = received(request);
        request.headers[0].1 = host.as_bytes().to_vec();
        request.verify("SK", NOW).is_ok()
    };
    let old = builder.sign_v2(&key(), V2Method::Sha256, NOW);
    assert!(arrives("cloud.example:8773", &old));
    assert!(arrives("CLOUD.example", &old));
    assert!(!arrives("cloud.example.net", &old));
    assert!(!arrives("cloud.example:8773:1", &old));
    let new = builder.sign_v4(&key(), "nova", NOW);
    assert!(arrives("Cloud.example", &new));
    assert!(!arrives("Cloud.example:8773", &new));
}

#[test]
fn an_unknown_key_is_refused_as_a_wrong_signature_is() {
    let endpoint = Endpoint::from_url("http://cloud.example/").unwrap();
    let builder = RequestBuilder::new(endpoint, "DescribeRegions");
    for request in in_every_way(&builder) {
        let (_, presented) = received(&request).read().unwrap();
        let unknown = presented.refuse(NOW);
        assert_eq!(Err(unknown), presented.verify("wrong", NOW));
    }
}

#[test]
fn an_ec2_url_is_host_and_path() {
    let endpoint = |url| Endpoint::from_url(url).map(|e| format!("{} {}", e.host, e.path));
    assert_eq!(
        endpoint("http://10.0.0.1:8773/services/Cloud").as_deref(),
        Some("10.0.0.1:8773 /services/Cloud")
    );
    assert_eq!(endpoint("https://ec2").as_deref(), Some("ec2 /"));
    for bad in [
        "",
        "ec2:8773",
        "http://",
        "http:///x",
        "http://a b/",
        "http://u@h/",
    ] {
        assert_eq!(endpoint(bad), None, "{bad}");
    }
}

#[test]
fn our_client_finds_its_way_in_an_answer() {
    let answer = DescribedInstances {
        reservations: vec![samples::reservation()],
        next_token: None,
    };
    let xml = response::render(&answer, "2016-11-15", "r");
    let root = reader::read(xml.as_bytes()).unwrap();
    let mut lines = Vec::new();
    for reservation in root.items("reservationSet") {
        for instance in reservation.items("instancesSet") {
            lines.push(format!(
                "{} {} {} {}",
                instance.text_of("instanceId"),
                instance.text_of("ipAddress"),
                instance.text_of("instanceState/name"),
                instance.text_of("reason"),
            ));
        }
    }
    assert_eq!(
        lines,
        [
            "i-0000000a 68.99.26.170 running ",
            "i-0000000b  pending waiting for <host> & image"
        ]
    );
}

#[test]
fn what_is_no_answer_is_an_error_that_says_so() {
    let done = response::render(&Done("ReleaseAddress"), "2016-11-15", "r");
    for bad in [
        "",
        "not xml",
        "<html><body>hello</body></html>",
        &done[..done.len() - 3],
        &"<a>".repeat(100_000),
        "<a>&nonsense;</a>",
    ] {
        let error = reader::read(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, reader::ReadError::NotEc2(_)), "{error}");
    }
    assert!(reader::read(done.as_bytes()).is_ok());
}

#[test]
fn how_far_clocks_may_be_off_is_the_clouds_to_say() {
    let endpoint = Endpoint::from_url("http://cloud.example/").unwrap();
    let builder = RequestBuilder::new(endpoint, "DescribeRegions");
    let requests = [
        builder.sign_v4(&key(), "nova", NOW),
        builder.sign_v2(&key(), V2Method::Sha256, NOW),
    ];
    for request in requests {
        let (_, presented) = received(&request).read().unwrap();
        for off in [-60, 60] {
            let now = NOW + Duration::seconds(off);
            let within = |skew| presented.verify_within(Duration::seconds(skew), "SK", now);
            assert_eq!(within(60), Ok(()));
            assert_eq!(within(59).unwrap_err().code, Code::RequestExpired);
        }
    }
}
