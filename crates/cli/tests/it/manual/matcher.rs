//! Compares what a command printed with what a page says. `[..]` stands for any text within a line,
//! a line `...` for any number of lines; everything else counts, but blanks at the end of a line.

/// What stands for any number of lines.
pub(super) const LINES: &str = "...";
/// What stands for any text in a line.
pub(super) const TEXT: &str = "[..]";

/// Whether `got` is as `wanted` says. If not: the index of the first wanted line that nothing
/// matches (the number of wanted lines: there is more than wanted).
pub(super) fn compare(wanted: &[String], got: &str) -> Result<(), usize> {
    let got: Vec<&str> = got.lines().map(str::trim_end).collect();
    let mut furthest = 0;
    if lines(wanted, &got, 0, &mut furthest) {
        Ok(())
    } else {
        Err(furthest)
    }
}

/// Whether the lines from `at` on match; `furthest` is the last wanted line that was reached.
fn lines(wanted: &[String], got: &[&str], at: usize, furthest: &mut usize) -> bool {
    *furthest = at.max(*furthest);
    let Some(first) = wanted.get(at) else {
        return got.is_empty();
    };
    if first == LINES {
        return (0..=got.len()).any(|skipped| lines(wanted, &got[skipped..], at + 1, furthest));
    }
    let matches = |line: &&str| text(first.trim_end(), line);
    got.first().is_some_and(matches) && lines(wanted, &got[1..], at + 1, furthest)
}

/// Whether a line matches a pattern.
fn text(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once(TEXT) else {
        return pattern == line;
    };
    let Some(mut line) = line.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split(TEXT).collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match line.split_once(part) {
            Some((_, after)) => line = after,
            None => return false,
        }
    }
    line.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn wildcards_stand_for_text_and_lines_and_nothing_else_does() {
        for (pattern, got) in [
            ("", ""),
            ("one", "one\n"),
            ("one", "one  \n"),
            ("[..]", ""),
            ("a[..]b[..]c", "a1b2c"),
            ("a[..]c", "abc"),
            ("...\nlast", "1\n2\nlast"),
            ("first\n...", "first"),
            ("first\n...\nlast", "first\nlast\nx\nlast"),
        ] {
            if pattern == "[..]" {
                assert_eq!(compare(&wanted(pattern), got), Err(0));
            } else {
                assert_eq!(compare(&wanted(pattern), got), Ok(()), "{pattern}");
            }
        }
        for (pattern, got, at) in [
            ("", "more", 0),
            ("one", "", 0),
            ("one", " one", 0),
            ("one\ntwo", "one\nthree", 1),
            ("one", "one\ntwo", 1),
            ("ab[..]bc", "abc", 0),
            ("...\nlast", "1\nlast\n2", 2),
            ("....", "x", 0),
        ] {
            assert_eq!(compare(&wanted(pattern), got), Err(at), "{pattern}");
        }
    }

    #[test]
    fn one_changed_character_is_a_difference() {
        let text = "3: vlan100@eth1: mtu [..] state UP\n...\n    link/ether [..] brd ff:ff";
        let got = "3: vlan100@eth1: mtu 1500 state UP\nmore\nlines\n    link/ether 02:00 brd ff:ff";
        let pattern = wanted(text);
        assert_eq!(compare(&pattern, got), Ok(()));
        for changed in super::super::changed_once(&pattern) {
            assert!(compare(&changed, got).is_err(), "{changed:?}");
        }
    }
}
