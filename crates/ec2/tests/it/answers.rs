//! What goes over the wire: every answer as XML, and how errors look.

use crate::samples;
use novanet_ec2::{Action, Code, Ec2Error, reader, response};
use std::collections::BTreeSet;
use std::fmt::Write;

/// One element a line, so that a change is a readable diff.
fn pretty(xml: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for part in xml
        .replace("><", ">\0<")
        .replace("?>\n", "?>\0")
        .split('\0')
    {
        if part.starts_with("</") {
            depth -= 1;
        }
        out.push_str(&"  ".repeat(depth));
        out.push_str(part);
        out.push('\n');
        let opens = !part.starts_with("<?") && !part.contains("</") && !part.ends_with("/>");
        if opens {
            depth += 1;
        }
    }
    out
}

#[test]
fn every_answer_is_written_as_this() {
    let mut all = String::new();
    for (name, answer) in samples::all() {
        let xml = response::render(answer.as_ref(), "2016-11-15", "req-1");
        writeln!(all, "#### {name}\n{}", pretty(&xml)).unwrap();
    }
    insta::assert_snapshot!("answers", all);
}

#[test]
fn there_is_an_answer_for_every_action() {
    let answered: BTreeSet<_> = samples::all()
        .iter()
        .map(|(_, answer)| answer.action())
        .collect();
    let known: BTreeSet<_> = Action::NAMES.iter().copied().collect();
    assert_eq!(answered, known);
}

#[test]
fn an_answer_is_in_the_namespace_of_the_version_that_was_asked_in() {
    let xml = response::render(&response::Done("ReleaseAddress"), "2009-11-30", "r");
    assert_eq!(
        xml,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ReleaseAddressResponse xmlns=\"http://ec2.amazonaws.com/doc/2009-11-30/\">\
         <requestId>r</requestId><return>true</return></ReleaseAddressResponse>"
    );
}

#[test]
fn old_clients_see_what_there_was_in_their_time() {
    let answer = response::DescribedInstances {
        reservations: vec![samples::reservation()],
        next_token: None,
    };
    let old = response::render(&answer, "2009-11-30", "r");
    let group = "<item><groupId>default</groupId><groupName>default</groupName></item>";
    // The reservation's, and each instance's: euca2ools 2.1 with boto 2.49 joins names of both.
    let instances = samples::reservation().instances.len();
    assert_eq!(old.matches(group).count(), 1 + instances, "{old}");
    let addresses = response::DescribedAddresses(samples::addresses());
    let old = response::render(&addresses, "2009-11-30", "r");
    assert!(old.contains("<instanceId/>"), "{old}");
    let groups = response::DescribedSecurityGroups {
        groups: vec![samples::group()],
        next_token: None,
    };
    let old = response::render(&groups, "2009-11-30", "r");
    assert!(!old.contains("groupId") && !old.contains("Egress"), "{old}");
}

#[test]
fn clients_of_2011_find_addresses_in_the_names_that_they_print() {
    let names = |version: &str, public: Option<&str>| {
        let mut reservation = samples::reservation();
        reservation.instances.truncate(1);
        reservation.instances[0].private_address = Some("10.0.0.3".parse().unwrap());
        reservation.instances[0].public_address = public.map(|text| text.parse().unwrap());
        let xml = response::render(&response::RunningInstances(reservation), version, "r");
        let inner = |name: &str| {
            let (_, rest) = xml.split_once(&format!("<{name}>"))?;
            rest.split_once("</").map(|(text, _)| text.to_owned())
        };
        [inner("privateDnsName"), inner("dnsName")].map(Option::unwrap)
    };
    let float = Some("68.99.26.170");
    for version in ["2009-11-30", "2010-08-31", "2011-01-01"] {
        assert_eq!(names(version, float), ["10.0.0.3", "68.99.26.170"]);
        assert_eq!(names(version, None), ["10.0.0.3", "10.0.0.3"]);
    }
    let hostname = samples::reservation().instances[0].hostname.clone();
    assert_eq!(names("2016-11-15", None), [hostname, String::new()]);
}

#[test]
fn an_error_is_written_as_this_and_read_back_by_our_client() {
    let error = Ec2Error::new(Code::InvalidInstanceIdNotFound, "no <i-1> & \u{0}co");
    let xml = error.to_xml("req-9");
    insta::assert_snapshot!(pretty(&xml), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <Response>
      <Errors>
        <Error>
          <Code>InvalidInstanceID.NotFound</Code>
          <Message>no &lt;i-1&gt; &amp; �co</Message>
        </Error>
      </Errors>
      <RequestID>req-9</RequestID>
    </Response>
    "#);
    assert_eq!(
        reader::read(xml.as_bytes()),
        Err(reader::ReadError::Refused {
            code: "InvalidInstanceID.NotFound".into(),
            message: "no <i-1> & \u{fffd}co".into(),
            request_id: "req-9".into(),
        })
    );
}

#[test]
fn error_codes_are_unique_and_have_an_error_status() {
    let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!((400..=503).contains(&code.status()), "{code:?}");
    }
    assert_eq!(Code::AuthFailure.status(), 401);
    assert_eq!(Code::InternalError.status(), 500);
}
