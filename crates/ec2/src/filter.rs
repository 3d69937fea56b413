//! `Filter.N.Name` and `Filter.N.Value.M`: an entry passes if for every filter one of its values
//! fits one of the entry's fields of that name. `*` is any text, `?` any one character, a
//! backslash takes their meaning away.

use crate::error::{Code, Ec2Error};
use crate::fields::Fields;

/// EC2's limits.
const MAX_FILTERS: usize = 50;
const MAX_FILTER_VALUES: usize = 200;

fn too_many() -> Ec2Error {
    Ec2Error::new(
        Code::FilterLimitExceeded,
        format!("A request can have {MAX_FILTERS} filters with {MAX_FILTER_VALUES} values in all."),
    )
}

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Name of a field.
    pub name: String,
    /// What one of its values has to look like.
    pub values: Vec<String>,
}

/// An entry of an answer that filters can look at.
pub trait Filterable {
    /// The names that filters may have.
    const NAMES: &'static [&'static str];

    /// The values of a field: none, one or several.
    fn values(&self, name: &str) -> Vec<String>;
}

impl Filter {
    /// Reads the filters of a request.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Vec<Self>, Ec2Error> {
        let mut filters = Vec::new();
        let mut room = MAX_FILTER_VALUES;
        for item in fields.items("Filter")? {
            let values: Vec<_> = item.list("Value")?.into_iter().map(str::to_owned).collect();
            room = room.checked_sub(values.len()).ok_or_else(too_many)?;
            filters.push(Self {
                name: item.require("Name")?.to_owned(),
                values,
            });
        }
        if filters.len() > MAX_FILTERS {
            return Err(too_many());
        }
        Ok(filters)
    }

    /// Whether one of `values`, those of an entry's field, fits.
    pub fn fits<S: AsRef<str>>(&self, values: &[S]) -> bool {
        self.values
            .iter()
            .any(|pattern| values.iter().any(|value| wildcard(pattern, value.as_ref())))
    }
}

/// Refuses filters whose name is none of `known`. Before looking at entries: whether a filter is
/// wrong must not depend on the existing objects.
pub fn check(filters: &[Filter], known: &[&str]) -> Result<(), Ec2Error> {
    match filters
        .iter()
        .find(|filter| !known.contains(&filter.name.as_str()))
    {
        None => Ok(()),
        Some(filter) => Err(Ec2Error::invalid_value(
            "Filter.Name",
            &filter.name,
            &format!("must be one of {}", known.join(", ")),
        )),
    }
}

/// Whether an entry passes all filters; `values` are those of its field of a name.
pub fn passes(filters: &[Filter], mut values: impl FnMut(&str) -> Vec<String>) -> bool {
    filters
        .iter()
        .all(|filter| filter.fits(&values(&filter.name)))
}

/// Keeps the entries that pass all filters.
pub fn retain<T: Filterable>(filters: &[Filter], entries: &mut Vec<T>) -> Result<(), Ec2Error> {
    check(filters, T::NAMES)?;
    entries.retain(|entry| passes(filters, |name| entry.values(name)));
    Ok(())
}

/// A pattern with `*` and `?`. Goes back only to the last star, so a hostile pattern costs at most
/// the product of both lengths.
fn wildcard(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Many) => {
                star = Some((p, t));
                p += 1;
            }
            Some(token) if token.fits(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                None => return false,
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
            },
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Many)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    One,
    Many,
    Is(char),
}

impl Token {
    fn fits(self, c: char) -> bool {
        match self {
            Self::One => true,
            Self::Many => false,
            Self::Is(own) => own == c,
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Is(chars.next().unwrap_or('\\')),
            other => Token::Is(other),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn stars_and_question_marks_stand_for_text_and_a_backslash_for_themselves() {
        for (pattern, text, fits) in [
            ("running", "running", true),
            ("running", "Running", false),
            ("run*", "running", true),
            ("*ing", "running", true),
            ("*n*n*", "running", true),
            ("r?nning", "running", true),
            ("r?nning", "rnning", false),
            ("*", "", true),
            ("?", "", false),
            ("", "", true),
            ("", "x", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"a\\", r"a\", true),
            ("*.é?", "x.éa", true),
        ] {
            assert_eq!(wildcard(pattern, text), fits, "{pattern} on {text}");
        }
    }
}
