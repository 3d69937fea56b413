//! A real boto3, unmodified, through the whole job on real instances; what instances do with it.

use super::{Cloud, LONG, venv};
use novanet_lab::eventually;

const JOB: &str = include_str!("job.py");

#[test]
fn boto3_walks_the_whole_job_on_real_instances() {
    let cloud = Cloud::up("").unwrap();
    let python = venv().unwrap().join("bin/python");
    cloud
        .sh(&format!(
            "cat > job.py <<'END'\n{JOB}\nEND\n{} job.py",
            python.display()
        ))
        .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
    // What the job left: one instance with user data that a client outside sees.
    eventually(LONG, || {
        cloud.internet("curl -sf -m 2 http://203.0.113.129/ran.txt | grep -q 'ran as i-'")
    })
    .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
}
