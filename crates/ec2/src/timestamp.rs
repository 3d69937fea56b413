//! The forms of time that EC2 requests and answers carry. Depends on `time` only.

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// `2026-11-23T05:15:08`, with or without a fraction and `Z` or an offset: without, it is UTC
/// (boto 1.9 sends no `Z`).
pub(crate) fn parse_iso8601(text: &str) -> Option<OffsetDateTime> {
    // "2026-11-23T05:15:08" is 19 characters; what follows may be a fraction or a zone.
    let has_zone = text
        .get(19..)
        .is_some_and(|rest| rest.ends_with(['Z', 'z']) || rest.contains(['+', '-']));
    if has_zone {
        OffsetDateTime::parse(text, &Rfc3339).ok()
    } else {
        OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).ok()
    }
}

/// `20261123T051510Z`, the only form that signature version 4 has.
pub(crate) fn parse_basic(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    Some(PrimitiveDateTime::parse(text, &format).ok()?.assume_utc())
}

/// `20261123T051510Z`.
pub(crate) fn basic(at: OffsetDateTime) -> String {
    iso8601(at).replace(['-', ':'], "")
}

/// An HTTP `Date`.
pub(crate) fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    // RFC 2822 wants a number or "+0000"; HTTP always says GMT.
    let numeric = text.strip_suffix("GMT").map(|date| format!("{date}+0000"));
    OffsetDateTime::parse(numeric.as_deref().unwrap_or(text), &Rfc2822).ok()
}

/// `2026-11-23T05:15:08Z`.
pub(crate) fn iso8601(at: OffsetDateTime) -> String {
    format!("{}Z", seconds(at))
}

/// `2026-11-23T05:15:08.000Z`, as answers have it.
pub(crate) fn iso8601_millis(at: OffsetDateTime) -> String {
    format!("{}.{:03}Z", seconds(at), at.millisecond())
}

fn seconds(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, clock) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_send_is_read() {
        let at = parse_iso8601("2026-11-23T05:15:08Z").expect("a time");
        for same in [
            "2026-11-23T05:15:08",
            "2026-11-23T05:15:08.000Z",
            "2026-11-23T05:15:08.000",
            "2026-11-23T06:15:08+01:00",
        ] {
            assert_eq!(parse_iso8601(same), Some(at), "{same}");
        }
        assert_eq!(parse_basic("20261123T051508Z"), Some(at));
        assert_eq!(parse_http_date("Mon, 23 Nov 2026 05:15:08 GMT"), Some(at));
        assert_eq!(basic(at), "20261123T051508Z");
        assert_eq!(iso8601(at), "2026-11-23T05:15:08Z");
        for bad in [
            "",
            "now",
            "2026-11-23",
            "2026-13-23T05:15:08Z",
            "é".repeat(12).as_str(),
        ] {
            assert_eq!(parse_iso8601(bad), None, "{bad}");
            assert_eq!(parse_basic(bad), None, "{bad}");
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
