//! The answer of STS: whose credentials a request is signed with.

use super::{Answer, Envelope};
use crate::xml::Xml;

/// The answer to GetCallerIdentity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The user.
    pub user: String,
    /// The project that requests with these credentials are about; AWS has an account here.
    pub project: String,
}

impl Answer for CallerIdentity {
    fn action(&self) -> &'static str {
        "GetCallerIdentity"
    }

    fn envelope(&self) -> Envelope {
        Envelope::Sts
    }

    fn write(&self, xml: &mut Xml) {
        xml.element("GetCallerIdentityResult", |xml| {
            let (user, project) = (&self.user, &self.project);
            xml.text("Arn", &format!("arn:aws:iam::{project}:user/{user}"));
            xml.text("UserId", user);
            xml.text("Account", project);
        });
    }
}
