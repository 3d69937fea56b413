//! Reading nova.conf: gflags lines (`--flag=value`, `--noflag`) and INI (`[DEFAULT]`,
//! `flag = value`), also mixed, as files grow over the years.

use super::{FlagError, Given, Origin};

/// What a file says, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Flags, and other files to read at that place (`--flagfile=…`, as a [`Given`] of that name).
    pub given: Vec<Given>,
    /// Lines that are neither.
    pub errors: Vec<FlagError>,
}

/// Reads the text of the file at `path` (for messages).
pub fn parse_file(path: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut section = None;
    for (index, raw) in text.lines().enumerate() {
        let origin = Origin::File {
            path: path.to_owned(),
            line: index + 1,
        };
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = Some(name.trim().to_owned());
        } else if !is_ours(section.as_deref()) {
            // Later releases have sections for other parts; what they say is not for us.
        } else if let Some(rest) = line.strip_prefix('-') {
            let rest = rest.strip_prefix('-').unwrap_or(rest);
            parsed.given.push(given(rest, origin, false));
        } else if raw.starts_with([' ', '\t']) && section.is_some() && !parsed.given.is_empty() {
            // INI: an indented line goes on with the value above.
            if let Some(Given {
                value: Some(value), ..
            }) = parsed.given.last_mut()
            {
                value.push(',');
                value.push_str(line);
            }
        } else if line.contains('=') {
            parsed.given.push(given(line, origin, true));
        } else {
            parsed.errors.push(FlagError {
                origin,
                message: format!("{line:?} is not a flag: write --flag=value or flag = value"),
            });
        }
    }
    parsed
}

/// `[DEFAULT]`, the lines before any section, and `[database]`, where later releases keep the
/// connection.
fn is_ours(section: Option<&str>) -> bool {
    section.is_none_or(|s| s.eq_ignore_ascii_case("default") || s == "database")
}

fn given(text: &str, origin: Origin, ini: bool) -> Given {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.trim())),
        None => (text, None),
    };
    let value = value.map(|v| if ini { unquote(v) } else { v }.to_owned());
    Given {
        name: name.trim().replace('-', "_"),
        value,
        origin,
    }
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|v| v.strip_suffix(quote))
            .filter(|_| value.len() > 1)
        {
            return inner;
        }
    }
    value
}
