//! The EC2 query protocol, both ways: what a client's request means and whether its signature is
//! right, what an answer or an error looks like as XML, and the same from the client's side.
//!
//! Everything here is a pure function over bytes. Must not know: HTTP servers, SQL, files, clocks
//! (`now` is a parameter). The server's way through this crate:
//!
//! 1. [`Params::decode`] reads a [`RawRequest`];
//! 2. [`credentials::parse`] finds the access key, [`Presented::verify`] checks the signature;
//! 3. [`Action::parse`] makes a typed request of it;
//! 4. [`response::render`] writes the answer, [`Ec2Error::to_xml`] the refusal.

pub mod action;
pub mod client;
pub mod credentials;
pub mod encoding;
pub mod error;
pub mod fields;
pub mod filter;
mod freshness;
pub mod page;
pub mod params;
pub mod reader;
pub mod response;
mod timestamp;
mod v2;
mod v4;
pub mod xml;

pub use action::Action;
pub use credentials::Presented;
pub use error::{Code, Ec2Error};
pub use filter::Filter;
pub use novanet_model::{AllocationId, AssociationId};
pub use params::{Params, RawRequest};
