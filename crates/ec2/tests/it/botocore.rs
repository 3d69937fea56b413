//! botocore's own code on the other side: it reads every answer that we write, and we read every
//! call that it makes. Needs a Python with botocore: `NOVANET_PYTHON`, or the one in the folder
//! `NOVANET_VENV` (scripts/venv makes it, `make test` sets it), or `python3`.

use crate::recorded::Recorded;
use crate::samples;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use novanet_ec2::{Action, Code, Ec2Error, response};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use time::OffsetDateTime;

/// Runs one of the scripts beside this file, with `input` on its standard input.
fn python(script: &str, input: &Value) -> Value {
    let program = std::env::var("NOVANET_PYTHON")
        .or_else(|_| std::env::var("NOVANET_VENV").map(|folder| format!("{folder}/bin/python")))
        .unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(&program)
        .arg(format!("{}/tests/it/{script}", env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error} (set NOVANET_PYTHON)"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {script} failed; is botocore installed there?"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What clients of old want and botocore has no name for.
const BEYOND_BOTOCORE: [&str; 3] = ["requestId", "return", "tagSet"];

#[test]
fn botocore_reads_every_answer_and_knows_every_element() {
    let mut input = Map::new();
    for (name, answer) in samples::all() {
        let xml = response::render(answer.as_ref(), "2016-11-15", "req-1");
        input.insert(name.into(), json!([answer.action(), 200, xml]));
    }
    let error = Ec2Error::new(Code::InvalidInstanceIdNotFound, "no <such> instance");
    input.insert(
        "error".into(),
        json!(["DescribeInstances", error.status(), error.to_xml("req-2")]),
    );
    let mut output = python("check_answers.py", &Value::Object(input));
    for (name, result) in output.as_object().unwrap() {
        for element in result[1].as_array().unwrap() {
            let element = element.as_str().unwrap();
            let leaf = element.rsplit('/').next().unwrap();
            let at_the_top = element.matches('/').count() == 1;
            assert!(
                at_the_top && BEYOND_BOTOCORE.contains(&leaf),
                "botocore does not know {element} in {name}"
            );
        }
    }
    let parsed: Map<String, Value> = output
        .as_object_mut()
        .unwrap()
        .iter_mut()
        .map(|(name, result)| (name.clone(), result[0].take()))
        .collect();
    insta::assert_json_snapshot!("as_botocore_sees_them", parsed);
}

fn requests(list: &Value) -> Vec<Recorded> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array()
        .unwrap()
        .iter()
        .map(|request| Recorded {
            method: text(&request["method"]),
            path: text(&request["path"]),
            query: text(&request["query"]),
            headers: request["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1]).into_bytes()))
                .collect(),
            body: STANDARD.decode(text(&request["body"])).unwrap(),
        })
        .collect()
}

#[test]
fn every_call_that_botocore_makes_is_verified_and_understood() {
    let made = python("make_calls.py", &Value::Null);
    let now = OffsetDateTime::now_utc();
    let mut understood = String::new();
    for request in requests(&made["calls"]) {
        let params = request.verify("SK", now).unwrap();
        let presented = request.read().unwrap().1;
        assert_eq!(presented.project.unwrap().as_str(), "web");
        let action = Action::parse(&params).unwrap();
        let dry = if params.dry_run().unwrap() {
            " (dry run)"
        } else {
            ""
        };
        writeln!(understood, "{action:#?}{dry}").unwrap();
    }
    insta::assert_snapshot!("calls_of_botocore", understood);

    let signatures = requests(&made["signatures"]);
    assert_eq!(signatures.len(), 7);
    for request in signatures {
        let params = request.verify("SK", now).unwrap();
        assert_eq!(
            params.get("Owner.1"),
            Some("a b+c/~d*ä"),
            "{}",
            request.query
        );
        assert_eq!(
            request.verify("SL", now).unwrap_err(),
            Ec2Error::auth_failure()
        );
    }
}
