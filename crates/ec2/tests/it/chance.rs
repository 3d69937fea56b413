//! Every request is read or refused, and every signed request verifies.

use crate::ours::{in_every_way, received};
use crate::recorded::{self, NOW, Recorded};
use novanet_ec2::client::{Endpoint, RequestBuilder};
use novanet_ec2::{Action, Ec2Error, Params, encoding, reader};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        "[A-Za-z0-9.=&%+*-]{0,200}".prop_map(String::into_bytes),
    ]
}

/// Text that comes near to a request.
fn query() -> impl Strategy<Value = String> {
    let action = proptest::sample::select(Action::NAMES);
    let key = proptest::sample::select(vec![
        "InstanceId",
        "InstanceId.1",
        "Filter.1.Name",
        "Filter.1.Value.1",
        "IpPermissions.1.IpProtocol",
        "IpPermissions.1.Groups.1.GroupId",
        "IpPermissions.1.IpRanges.1.CidrIp",
        "IpPermissions.1.FromPort",
        "IpPermissions",
        "GroupName",
        "GroupId",
        "PublicIp",
        "AllocationId",
        "ImageId",
        "MinCount",
        "MaxCount",
        "UserData",
        "KeyName",
        "MaxResults",
        "NextToken",
        "NetworkInterface.1.SecurityGroupId.1",
    ]);
    let value = prop_oneof![
        "i-[0-9a-f]{0,20}",
        "-?[0-9]{1,22}",
        "\\PC{0,12}",
        Just("tcp".to_owned())
    ];
    let pairs = vec((key, value), 0..8);
    (action, pairs).prop_map(|(action, pairs)| {
        let mut out = format!("Action={action}");
        for (key, value) in pairs {
            out.push('&');
            out.push_str(key);
            out.push('=');
            encoding::encode_into(&mut out, &value);
        }
        out
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        query in bytes(),
        body in bytes(),
        path in "\\PC{0,40}",
        auth in "(AWS4-HMAC-SHA256 )?\\PC{0,120}",
        date in "\\PC{0,20}",
        post in any::<bool>(),
    ) {
        let request = Recorded {
            method: if post { "POST" } else { "GET" }.into(),
            path,
            query: String::from_utf8_lossy(&query).into_owned(),
            headers: vec![
                ("Host".into(), query.clone()),
                ("Authorization".into(), auth.into_bytes()),
                ("X-Amz-Date".into(), date.into_bytes()),
            ],
            body,
        };
        if let Err(error) = request.verify("SK", NOW) {
            reads_back(&error);
        } else {
            prop_assert!(false, "nobody signed this");
        }
    }

    #[test]
    fn any_parameters_are_an_action_or_an_error(query in query()) {
        let request = Recorded {
            method: "GET".into(),
            path: "/".into(),
            query,
            headers: Vec::new(),
            body: Vec::new(),
        };
        let parsed = request.with(|raw| Params::decode(&raw)).and_then(|params| Action::parse(&params));
        if let Err(error) = parsed {
            reads_back(&error);
        }
    }

    #[test]
    fn a_byte_changed_in_a_real_request_never_panics(
        which in 0..8_usize,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut request = recorded::all().remove(which);
        for (name, value) in &mut request.headers {
            if name == "Authorization" {
                let at = at.index(value.len());
                value[at] = byte;
            }
        }
        if let Err(error) = request.verify("SK", NOW) {
            reads_back(&error);
        }
    }

    #[test]
    fn whatever_is_signed_verifies_and_arrives_as_it_was(
        values in vec(any::<String>(), 0..6),
        path in "(/[A-Za-z0-9._~%-]{1,8}){0,3}/?",
    ) {
        let endpoint = Endpoint { host: "127.0.0.1:8773".into(), path };
        let builder = RequestBuilder::new(endpoint, "X").list("Value", &values);
        for request in in_every_way(&builder) {
            let params = received(&request).verify("SK", NOW).unwrap();
            prop_assert_eq!(params.fields().list("Value").unwrap(), values.clone());
        }
    }

    #[test]
    fn encoding_and_decoding_are_each_others_inverse(text in any::<String>()) {
        let encoded = encoding::encode(&text);
        prop_assert!(encoded.is_ascii());
        prop_assert_eq!(encoding::decode(encoded.as_bytes()), Some(text));
    }

    #[test]
    fn any_bytes_as_an_answer_are_read_or_refused(body in bytes(), xml in "[<>/a&;\\[\\]! \"=-]{0,60}") {
        let _ = reader::read(&body);
        let _ = reader::read(xml.as_bytes());
    }
}

/// However strange the request, the error that answers it is one that a client can read.
fn reads_back(error: &Ec2Error) {
    match reader::read(error.to_xml("r").as_bytes()) {
        Err(reader::ReadError::Refused { code, .. }) => assert_eq!(code, error.code.as_str()),
        other => panic!("{error} is read as {other:?}"),
    }
}
