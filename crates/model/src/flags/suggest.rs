//! "Did you mean": the nearest name by edit distance, where swapping two neighbours is one edit.
//! Depends on strsim.

/// The nearest of `names` that is near enough to be a slip of the pen; ties go to the first.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(given, name), name))
        .filter(|(far, _)| *far <= limit)
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = || ["use_project_ca", "public_interface", "host"].into_iter();
        assert_eq!(nearest("usr_project_ca", names()), Some("use_project_ca"));
        assert_eq!(
            nearest("pubilc_interface", names()),
            Some("public_interface")
        );
        assert_eq!(nearest("hosts", names()), Some("host"));
        assert_eq!(nearest("quantum_url", names()), None);
    }
}
