//! HTTP/1.1 listeners that no client can exhaust: the EC2 API, the agent API and the metadata
//! service accept connections here and nowhere else.
//!
//! A [`Gate`] limits how many connections are open, in all and per source; [`Times`] limit how
//! long a client may take for each part of a request; [`shares`] divides the process's file
//! descriptors, so that the agent's half always has some. Depends on hyper only.

mod accept;
mod body;
mod descriptors;
mod gate;
mod refusal;
mod seldom;
mod serve;
mod stream;

pub use accept::Listener;
pub use body::{BodyError, RequestBody};
pub use descriptors::{Shares, shares};
pub use gate::{Counts, Gate, Limits, WhenFull};
pub use refusal::{Refusal, Refused};
pub use serve::{Config, serve};
pub use stream::Times;
