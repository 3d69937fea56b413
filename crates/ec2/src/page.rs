//! Long answers in pages. A token names the last entry that the client has, not a position, so
//! that entries which come and go between two pages neither repeat nor hide others.

use crate::error::{Code, Ec2Error};
use crate::fields::Fields;

/// Which part of a list a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// At most so many; `None` = all.
    pub max: Option<usize>,
    /// Only entries behind this one.
    pub after: Option<i64>,
}

impl Page {
    /// Reads `MaxResults` and `NextToken`.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let max = fields
            .number("MaxResults")?
            .map(|number| {
                usize::try_from(number)
                    .ok()
                    .filter(|max| (1..=1000).contains(max))
                    .ok_or_else(|| {
                        fields.invalid("MaxResults", &number.to_string(), "must be 1 to 1000")
                    })
            })
            .transpose()?;
        let after = fields
            .get("NextToken")
            .map(|token| {
                token
                    .strip_prefix("after-")
                    .and_then(|hex| i64::from_str_radix(hex, 16).ok())
                    .ok_or_else(|| {
                        Ec2Error::new(Code::InvalidNextToken, "NextToken is not one of ours.")
                    })
            })
            .transpose()?;
        Ok(Self { max, after })
    }

    /// Takes this page out of all entries: sorts them by `key` (unique, e.g. the row's id) and
    /// returns the token of the page that follows, if one does.
    pub fn take<T>(self, entries: &mut Vec<T>, key: impl Fn(&T) -> i64) -> Option<String> {
        entries.sort_by_key(|entry| key(entry));
        if let Some(after) = self.after {
            entries.retain(|entry| key(entry) > after);
        }
        let max = self.max?;
        if entries.len() <= max {
            return None;
        }
        entries.truncate(max);
        entries.last().map(|last| format!("after-{:x}", key(last)))
    }
}
