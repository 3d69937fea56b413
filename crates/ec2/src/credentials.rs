//! Finds the signature of a request. The common parts of all forms (access key, project, verdict)
//! are here, their arithmetic is in `v2` and `v4`.

use crate::error::{Code, Ec2Error};
use crate::freshness::SKEW;
use crate::params::{Params, RawRequest};
use crate::{v2, v4};
use novanet_model::ProjectId;
use time::{Duration, OffsetDateTime};

/// What a request claims about its sender: true once [`Presented::verify`] has said so.
pub struct Presented {
    /// The access key.
    pub access_key: String,
    /// The project behind the colon in `ACCESS:project`; without it, the user's own. Version 4
    /// does not sign it, so it only chooses among the projects that the user may use anyway.
    pub project: Option<ProjectId>,
    scheme: Scheme,
}

enum Scheme {
    V2(v2::Signed),
    V4(v4::Signed),
}

/// Finds the credentials in a request.
pub fn parse(request: &RawRequest<'_>, params: &Params) -> Result<Presented, Ec2Error> {
    // Version 4 first: boto 1.9 adds a stale header of another kind to its version 2 requests,
    // which is not looked at.
    let v4_header = request
        .headers_named("authorization")
        .filter_map(|value| std::str::from_utf8(value).ok())
        .find(|value| value.starts_with(v4::ALGORITHM));
    let (key, scheme) = if let Some(header) = v4_header {
        let (key, signed) = v4::Signed::from_header(request, header)?;
        (key, Scheme::V4(signed))
    } else if params.get("X-Amz-Algorithm").is_some() {
        let (key, signed) = v4::Signed::from_query(request, params)?;
        (key, Scheme::V4(signed))
    } else {
        let (key, signed) = v2::Signed::from_params(request, params)?;
        (key, Scheme::V2(signed))
    };
    let (access_key, project) = split_key(&key)?;
    Ok(Presented {
        access_key,
        project,
        scheme,
    })
}

impl Presented {
    /// Whether the sender knew `secret`, and signed at `now`, give or take EC2's five minutes.
    pub fn verify(&self, secret: &str, now: OffsetDateTime) -> Result<(), Ec2Error> {
        self.verify_within(SKEW, secret, now)
    }

    /// [`Self::verify`] with another time that clocks may be off.
    pub fn verify_within(
        &self,
        skew: Duration,
        secret: &str,
        now: OffsetDateTime,
    ) -> Result<(), Ec2Error> {
        match &self.scheme {
            Scheme::V2(signed) => signed.verify(secret, skew, now),
            Scheme::V4(signed) => signed.verify(secret, skew, now),
        }
    }

    /// The answer for an unknown access key. Takes as long as the check of a wrong signature, so
    /// that the time tells no client which keys exist.
    pub fn refuse(&self, now: OffsetDateTime) -> Ec2Error {
        let _ = std::hint::black_box(self.verify("nobody", now));
        Ec2Error::auth_failure()
    }
}

impl std::fmt::Debug for Presented {
    /// Without the signature, which is as good as a password until it expires.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented")
            .field("access_key", &self.access_key)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

fn split_key(key: &str) -> Result<(String, Option<ProjectId>), Ec2Error> {
    let (access, project) = match key.split_once(':') {
        None => (key, None),
        Some((access, project)) => (access, Some(project)),
    };
    if access.is_empty() {
        return Err(Ec2Error::auth_failure());
    }
    let project = project
        .map(|text| {
            text.parse()
                .map_err(|error| Ec2Error::from_model(Code::AuthFailure, &error))
        })
        .transpose()?;
    Ok((access.to_owned(), project))
}
