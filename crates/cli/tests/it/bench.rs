//! `novanet bench`: that it measures what it says, not how quick this machine is while tests run.

use crate::check::show;
use std::path::Path;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_novanet"))
        .arg("bench")
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_quick_run_measures_every_figure_of_the_store_on_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let run = bench(&[
        "--quick",
        "--only",
        "store",
        "--json",
        file.to_str().unwrap(),
    ]);
    assert!(run.status.success(), "{}", show(&run, Path::new("DIR")));
    let text = std::fs::read_to_string(&file).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["quick"], true);
    let figures = report["figures"].as_array().unwrap();
    let listed = bench(&["--list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let store = listed.lines().filter(|line| line.starts_with("store/"));
    assert_eq!(figures.len(), store.count(), "{listed}");
    for figure in figures {
        for row in figure["rows"].as_array().unwrap() {
            assert_ne!(row["verdict"], "failed", "{row}");
            assert!(row["measured"]["n"].as_u64() > Some(0), "{row}");
        }
    }
    let lost: Vec<_> = figures
        .iter()
        .flat_map(|figure| figure["rows"].as_array().unwrap())
        .filter(|row| {
            row["what"]
                .as_str()
                .unwrap()
                .starts_with("objects that a follower")
        })
        .map(|row| row["measured"]["max"].as_f64().unwrap())
        .collect();
    assert_eq!(lost, [0.0, 0.0]);
}

#[test]
fn a_figure_that_is_none_is_named_with_one_that_is() {
    let run = bench(&["--only", "store/allocation"]);
    insta::assert_snapshot!(show(&run, Path::new("DIR")), @r"
    exit 2
    --- stderr
    error: novanet bench --only store/allocation: did you mean store/allocate?
    ");
}

#[test]
fn a_clouds_flag_is_refused() {
    let run = bench(&["--state_path=/nowhere"]);
    insta::assert_snapshot!(show(&run, Path::new("DIR")), @r"
    exit 2
    --- stderr
    error: novanet bench --state_path: a cloud's flags mean nothing here (--help)
    ");
}
