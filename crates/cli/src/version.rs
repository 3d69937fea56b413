//! The version of this program, for the applets and for `nova-manage version`. Depends on nothing.

/// The version number alone.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// `novanet 1.2.3` and a newline.
pub(crate) fn line() -> String {
    format!("novanet {NUMBER}\n")
}
