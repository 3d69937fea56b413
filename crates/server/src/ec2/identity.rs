//! Whose credentials a request is signed with.

use novanet_control::Caller;
use novanet_ec2::response::{Answer, CallerIdentity};

pub(super) fn of_caller(caller: &Caller) -> Box<dyn Answer + Send> {
    Box::new(CallerIdentity {
        user: caller.actor.who.clone(),
        project: caller.project.to_string(),
    })
}
