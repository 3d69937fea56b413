//! Passwords in addresses (`scheme://user:password@host/x?password=…`), and how they are kept from
//! people's eyes. What cannot be told apart is hidden too: better a host too little than a
//! password.

const HIDDEN: &str = "***";

/// The text with every password in it replaced.
pub(super) fn without_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = match rest.split_once('?') {
        Some((before, query)) => format!("{before}?{}", of_query(query)),
        None => rest.to_owned(),
    };
    format!("{scheme}://{}", of_login(&rest))
}

/// A password may have any sign in it, so it ends at the last `@`.
fn of_login(rest: &str) -> String {
    let login = rest
        .rsplit_once('@')
        .and_then(|(login, host)| Some((login.split_once(':')?.0, host)));
    match login {
        Some((user, host)) => format!("{user}:{HIDDEN}@{host}"),
        None => rest.to_owned(),
    }
}

fn of_query(query: &str) -> String {
    let shown = |word: &str| match word.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
        _ => word.to_owned(),
    };
    let words: Vec<String> = query.split('&').map(shown).collect();
    words.join("&")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::without_passwords;

    #[test]
    fn every_place_for_a_password_is_hidden_and_the_rest_is_shown() {
        for (given, shown) in [
            (
                "postgresql://u:pw@h/x?password=secret2",
                "postgresql://u:***@h/x?password=***",
            ),
            ("postgresql://u:p@w@h/x", "postgresql://u:***@h/x"),
            ("postgresql://u:p?w@h/x", "postgresql://u:***@h/x"),
            (
                "postgresql://u@h:5432/x?PASSWORD=a@b&sslmode=disable",
                "postgresql://u@h:5432/x?PASSWORD=***&sslmode=disable",
            ),
            (
                "postgresql:///x?sslpassword=s&user=nova",
                "postgresql:///x?sslpassword=***&user=nova",
            ),
            ("postgresql://u@h/x", "postgresql://u@h/x"),
            (
                "sqlite:///var/lib/nova.sqlite",
                "sqlite:///var/lib/nova.sqlite",
            ),
            ("eth0", "eth0"),
        ] {
            assert_eq!(without_passwords(given), shown);
        }
    }
}
