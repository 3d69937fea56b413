//! Requests that are refused before their action is parsed.

use crate::recorded::{NOW, Recorded};
use novanet_ec2::params::MAX_BYTES;
use novanet_ec2::{Code, Ec2Error, Params};
use time::Duration;
use time::macros::datetime;

fn get(query: &str) -> Recorded {
    Recorded {
        method: "GET".into(),
        path: "/services/Cloud".into(),
        query: query.into(),
        headers: vec![("Host".into(), b"127.0.0.1:8773".to_vec())],
        body: Vec::new(),
    }
}

fn post(body: &str) -> Recorded {
    Recorded {
        method: "POST".into(),
        query: String::new(),
        body: body.into(),
        ..get("")
    }
}

fn decode(request: &Recorded) -> Result<Params, Ec2Error> {
    request.with(|raw| Params::decode(&raw))
}

fn code(request: &Recorded) -> Code {
    request.read().map(|_| ()).unwrap_err().code
}

#[test]
fn a_query_of_a_megabyte_is_refused_in_query_and_body() {
    let long = format!("Action=DescribeInstances&x={}", "a".repeat(1 << 20));
    for request in [get(&long), post(&long)] {
        let error = decode(&request).unwrap_err();
        assert_eq!(error.code, Code::RequestEntityTooLarge);
        assert_eq!(error.status(), 413);
        assert!(error.message.contains("65536"), "{error}");
    }
    let fits = format!("x={}", "a".repeat(MAX_BYTES - 2));
    assert!(decode(&post(&fits)).is_ok());
    assert_eq!(
        decode(&post(&format!("{fits}a"))).unwrap_err().code,
        Code::RequestEntityTooLarge
    );
}

#[test]
fn too_many_parameters_are_refused() {
    let many: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    let many = many.join("=&");
    assert_eq!(
        decode(&post(&many)).unwrap_err().code,
        Code::RequestEntityTooLarge
    );
}

#[test]
fn bad_percent_encoding_is_refused() {
    for bad in [
        "%",
        "%4",
        "%zz",
        "a=%+1",
        "x=%ff",
        "%C3=%28",
        "a=b&c=%E2%82",
    ] {
        assert_eq!(
            decode(&get(bad)).unwrap_err().code,
            Code::MalformedQueryString,
            "{bad}"
        );
        assert_eq!(
            decode(&post(bad)).unwrap_err().code,
            Code::MalformedQueryString,
            "{bad}"
        );
    }
}

#[test]
fn a_parameter_that_is_there_twice_is_refused() {
    let mut request = post("Action=DescribeInstances");
    request.query = "Action=TerminateInstances".into();
    for request in [request, get("a=1&b=2&%61=1")] {
        assert_eq!(
            decode(&request).unwrap_err().code,
            Code::MalformedQueryString
        );
    }
}

#[test]
fn only_forms_by_get_and_post_are_read() {
    for method in ["PUT", "DELETE", "HEAD", "get"] {
        let mut request = get("Action=DescribeInstances");
        request.method = method.into();
        assert_eq!(decode(&request).unwrap_err().code, Code::InvalidRequest);
    }
    let mut json = post("{}");
    json.headers
        .push(("content-type".into(), b"application/json".to_vec()));
    assert_eq!(decode(&json).unwrap_err().code, Code::InvalidRequest);
}

#[test]
fn nobody_gets_in_without_credentials() {
    assert_eq!(
        get("Action=DescribeInstances").read().unwrap_err(),
        Ec2Error::missing("AWSAccessKeyId")
    );
    assert_eq!(
        code(&get("Action=DescribeInstances&AWSAccessKeyId=AK")),
        Code::MissingParameter
    );
}

#[test]
fn old_signature_versions_and_unknown_methods_are_refused() {
    let query = |version: &str, method: &str| {
        get(&format!(
            "Action=X&AWSAccessKeyId=AK&Signature=AAAA&SignatureVersion={version}\
             &SignatureMethod={method}&Timestamp=2026-11-23T05:15:08Z"
        ))
    };
    assert!(query("2", "HmacSHA256").read().is_ok());
    for (version, method) in [("3", "HmacSHA1"), ("2", "HmacMD5")] {
        assert_eq!(code(&query(version, method)), Code::InvalidParameterValue);
    }
    for version in ["0", "1"] {
        let error = query(version, "HmacSHA1").read().map(|_| ()).unwrap_err();
        assert_eq!(
            error,
            Ec2Error::new(
                Code::AuthFailure,
                format!(
                    "Signature version {version} is not accepted: it does not protect the whole \
                     request. Sign with version 2 or 4."
                )
            )
        );
    }
}

#[test]
fn a_version_2_request_says_when_it_was_signed_or_until_when_it_is_good() {
    let query = |times: &str| {
        get(&format!(
            "Action=X&AWSAccessKeyId=AK&Signature=AAAA&SignatureVersion=2\
             &SignatureMethod=HmacSHA256{times}"
        ))
    };
    assert_eq!(
        query("").read().unwrap_err(),
        Ec2Error::missing("Timestamp")
    );
    assert_eq!(
        code(&query("&Timestamp=yesterday")),
        Code::InvalidParameterValue
    );
    let both = "&Timestamp=2026-11-23T05:15:08Z&Expires=2026-11-23T05:15:08Z";
    assert_eq!(code(&query(both)), Code::InvalidParameterCombination);
}

#[test]
fn an_authorization_header_that_is_not_whole_is_refused() {
    let whole = "AWS4-HMAC-SHA256 Credential=AK/20261123/nova/ec2/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature=00ff";
    let with = |header: &str, date: &str| {
        let mut request = post("Action=X");
        request
            .headers
            .push(("authorization".into(), header.as_bytes().to_vec()));
        request
            .headers
            .push(("x-amz-date".into(), date.as_bytes().to_vec()));
        request
    };
    let date = "20261123T051510Z";
    let request = with(whole, date);
    assert_eq!(
        request.verify("SK", NOW).unwrap_err(),
        Ec2Error::auth_failure()
    );
    for (from, to) in [
        ("Credential=", "Credentials="),
        ("SignedHeaders=", "Headers="),
        ("Signature=", "Sig="),
        ("/aws4_request", "/aws5_request"),
        ("AK/20261123", "20261123"),
        ("20261123", "20261124"),
        ("host;", "hosts;"),
        ("host;", "host;a:b;"),
        ("host;", "host;host;"),
        ("host;", "host;Cookie;"),
        ("host;", "host;;"),
    ] {
        let header = whole.replace(from, to);
        assert_eq!(
            code(&with(&header, date)),
            Code::IncompleteSignature,
            "{header}"
        );
    }
    assert_eq!(code(&with(whole, "yesterday")), Code::InvalidParameterValue);
    let nameless = whole.replace("AK/", ":web/");
    assert_eq!(code(&with(&nameless, date)), Code::AuthFailure);
    let nowhere = whole.replace("AK/", "AK:../");
    assert_eq!(code(&with(&nowhere, date)), Code::AuthFailure);
}

#[test]
fn a_presigned_request_lives_as_long_as_it_says_and_a_week_at_most() {
    use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder};
    let endpoint = Endpoint::from_url("http://127.0.0.1:8773/services/Cloud").unwrap();
    let key = Credentials {
        access_key: "AK".into(),
        secret_key: "SK".into(),
    };
    let signed = |seconds| {
        let request = RequestBuilder::new(endpoint.clone(), "DescribeRegions")
            .presign_v4(&key, "nova", NOW, seconds);
        get(request.query())
    };
    let request = signed(60);
    assert!(request.verify("SK", NOW).is_ok());
    assert!(request.verify("SK", NOW + Duration::seconds(60)).is_ok());
    let expired = |now| request.verify("SK", now).unwrap_err().code;
    assert_eq!(expired(NOW + Duration::seconds(61)), Code::RequestExpired);
    assert_eq!(expired(NOW - Duration::minutes(6)), Code::RequestExpired);
    assert_eq!(code(&signed(0)), Code::InvalidParameterValue);
    assert_eq!(code(&signed(604_801)), Code::InvalidParameterValue);
}

#[test]
fn times_at_the_end_of_the_calendar_do_no_harm() {
    let query = "Action=X&AWSAccessKeyId=AK&Signature=AAAA&SignatureVersion=2\
                 &SignatureMethod=HmacSHA256&Timestamp=9999-12-31T23:59:59Z";
    let request = get(query);
    for now in [
        datetime!(0001-01-01 0:00 UTC),
        datetime!(9999-12-31 23:59:59 UTC),
    ] {
        assert!(request.verify("SK", now).is_err());
    }
}

#[test]
fn neither_signatures_nor_values_show_when_a_request_is_printed() {
    let request = get(
        "Action=X&AWSAccessKeyId=AK&Signature=c2VjcmV0&SignatureVersion=2\
                       &SignatureMethod=HmacSHA256&Timestamp=2026-11-23T05:15:08Z",
    );
    let (params, presented) = request.read().unwrap();
    let shown = format!("{params:?} {presented:?}");
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
    assert!(shown.contains("AK"), "{shown}");
}
