//! `novanet-bench`: that it measures what it says, not how quick this machine is while tests run.
//! Runs the `novanet` of the same target folder, which a build of the workspace puts there.

#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_novanet-bench"))
        .args(args)
        .output()
        .unwrap()
}

fn show(run: &Output) -> String {
    let code = run.status.code();
    let errors = String::from_utf8_lossy(&run.stderr);
    format!("exit {code:?}\n{errors}")
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
    assert!(run.status.success(), "{}", show(&run));
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
    insta::assert_snapshot!(show(&run), @r"
    exit Some(2)
    error: --only store/allocation: did you mean store/allocate?
    ");
}

#[test]
fn a_flag_of_a_cloud_is_refused() {
    let run = bench(&["--state_path=/nowhere"]);
    insta::assert_snapshot!(show(&run), @r"
    exit Some(2)
    error: unknown argument --state_path=/nowhere: --help shows what there is
    ");
}

#[test]
fn a_program_that_is_not_there_is_named_before_anything_is_measured() {
    let run = bench(&["--only", "store", "--binary", "/nowhere/novanet"]);
    insta::assert_snapshot!(show(&run), @r"
    exit Some(1)
    error: no program /nowhere/novanet: build it (cargo build -p novanet-cli) or name it with --binary
    ");
}
