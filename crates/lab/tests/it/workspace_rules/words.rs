//! The words that docs/writing.md forbids occur nowhere: each has a standard term. The list is read
//! from the page itself, so a word is added there and nowhere else.

use std::path::Path;

use super::files::files;
use super::{none, root};

/// The page with the list, which is not searched itself.
const PAGE: &str = "docs/writing.md";

/// A forbidden word and the term to use.
#[derive(Debug, PartialEq, Eq)]
struct Word<'a> {
    word: &'a str,
    instead: &'a str,
}

impl Word<'_> {
    /// Words in lower case match each part of an identifier, others only the whole identifier.
    fn is_in(&self, identifier: &str) -> bool {
        if self.word.chars().all(|letter| letter.is_ascii_lowercase()) {
            // Few identifiers contain the word at all, so few are taken apart.
            self.is_inside(identifier)
                && parts(identifier).any(|part| part.eq_ignore_ascii_case(self.word))
        } else {
            identifier == self.word
        }
    }

    fn is_inside(&self, identifier: &str) -> bool {
        let mut places = identifier.as_bytes().windows(self.word.len());
        places.any(|place| place.eq_ignore_ascii_case(self.word.as_bytes()))
    }
}

/// The lines between "```forbidden" and "```".
fn forbidden(page: &str) -> Vec<Word<'_>> {
    let lines = page.lines().skip_while(|line| *line != "```forbidden");
    let lines = lines.skip(1).take_while(|line| *line != "```");
    lines
        .map(|line| {
            let (word, instead) = line.split_once(' ').expect(line);
            let instead = instead.trim();
            Word { word, instead }
        })
        .collect()
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|identifier| !identifier.is_empty())
}

/// `NotFoundError` and `not_found_error` have three parts, `HTTPServer` has two.
fn parts(identifier: &str) -> impl Iterator<Item = &str> {
    identifier
        .split(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        .flat_map(|word| {
            let letters = word.as_bytes();
            let begins = |at: usize| {
                letters[at].is_ascii_uppercase()
                    && (letters[at - 1].is_ascii_lowercase()
                        || letters.get(at + 1).is_some_and(u8::is_ascii_lowercase))
            };
            let mut edges = vec![0];
            edges.extend((1..letters.len()).filter(|at| begins(*at)));
            edges.push(letters.len());
            let cut: Vec<_> = edges
                .windows(2)
                .map(|edge| &word[edge[0]..edge[1]])
                .collect();
            cut
        })
}

fn search(words: &[Word<'_>], name: &Path, text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line));
    // Line 0 is the file's name.
    let name_line = (0, name.to_str().unwrap_or_default());
    let mut found = Vec::new();
    for (number, line) in std::iter::once(name_line).chain(lines) {
        for identifier in identifiers(line) {
            found.extend(
                words
                    .iter()
                    .filter(|word| word.is_in(identifier))
                    .map(|word| {
                        let (name, Word { word, instead }) = (name.display(), word);
                        format!("{name}:{number}: {identifier}: not \"{word}\", write {instead}")
                    }),
            );
        }
    }
    found
}

#[test]
fn the_words_that_docs_writing_forbids_occur_nowhere() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let words = forbidden(&page);
    assert!(words.len() > 10, "the list in {PAGE} was not found");
    let mut found = Vec::new();
    for path in files() {
        let name = path.strip_prefix(root()).unwrap();
        // Files that are not text have no words.
        if let Ok(text) = std::fs::read_to_string(&path)
            && name != Path::new(PAGE)
        {
            found.extend(search(&words, name, &text));
        }
    }
    none("words that docs/writing.md forbids", &found);
}

#[test]
fn a_forbidden_word_is_found_in_prose_identifiers_and_file_names() {
    let page = "text\n```forbidden\nwobble   sway\nWobbler  Swayer\nON_WOBBLES ON_SWAY\n```\nmore";
    let words = forbidden(page);
    assert_eq!(words.len(), 3);
    assert_eq!((words[0].word, words[0].instead), ("wobble", "sway"));
    let lines = |name: &str, text: &str| search(&words, Path::new(name), text);
    for text in [
        "Wobble.",
        "a wobble",
        "WobbleError",
        "no_wobble2",
        "MAX_WOBBLE",
        "aWobble",
        "ABWobble",
    ] {
        assert_eq!(lines("a.rs", text).len(), 1, "{text}");
    }
    for text in [
        "wobbles",
        "swobble",
        "wobbly",
        "Wobblers",
        "WobblerX",
        "on_wobbles",
    ] {
        assert_eq!(lines("a.rs", text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(
        lines("a/wobble.rs", ""),
        ["a/wobble.rs:0: wobble: not \"wobble\", write sway"]
    );
    assert_eq!(
        lines("a.rs", "\nuse Wobbler;"),
        ["a.rs:2: Wobbler: not \"Wobbler\", write Swayer"]
    );
}
