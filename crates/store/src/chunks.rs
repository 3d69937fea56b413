//! Many values in one statement. Only a few numbers of values occur, so that there are few
//! statement texts and a connection keeps all of them prepared. Knows nothing of tables.

/// Numbers of rows that a statement may insert: most owners have few host objects.
const ROWS: [usize; 10] = [64, 16, 8, 7, 6, 5, 4, 3, 2, 1];

/// Numbers of values that a statement may look for.
const VALUES: [usize; 5] = [1, 2, 4, 16, 64];

/// All of `items`, in pieces of the usual sizes: for rows, which must not be said twice.
pub(crate) fn exact<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|&size| size <= rest.len())?;
        let (piece, more) = rest.split_at(size);
        rest = more;
        Some(piece)
    })
}

/// All of `items`, in pieces filled up to the usual sizes by saying the last one again: for what is
/// looked for, where that makes no difference.
pub(crate) fn padded<T>(items: &[T]) -> impl Iterator<Item = Vec<&T>> {
    items.chunks(64).map(|piece| {
        let size = VALUES.into_iter().find(|&size| size >= piece.len());
        let again = piece.last().into_iter().cycle();
        piece
            .iter()
            .chain(again)
            .take(size.unwrap_or(piece.len()))
            .collect()
    })
}

/// `$3, $4, $5`: so many placeholders.
pub(crate) fn list(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    names.join(", ")
}

/// `($3, $4), ($5, $6)`: placeholders of so many rows of so many values.
pub(crate) fn rows(first: usize, width: usize, count: usize) -> String {
    let rows: Vec<String> = (0..count)
        .map(|row| format!("({})", list(first + row * width, width)))
        .collect();
    rows.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_few_sizes_and_hold_everything() {
        for count in 0..200 {
            let items: Vec<usize> = (0..count).collect();
            let whole: Vec<usize> = exact(&items).flatten().copied().collect();
            assert_eq!(whole, items);
            assert!(exact(&items).all(|piece| ROWS.contains(&piece.len())));
            assert!(padded(&items).all(|piece| VALUES.contains(&piece.len())));
            let mut said: Vec<usize> = padded(&items).flatten().copied().collect();
            said.dedup();
            assert_eq!(said, items);
        }
        assert_eq!(list(3, 3), "$3, $4, $5");
        assert_eq!(rows(3, 2, 2), "($3, $4), ($5, $6)");
    }
}
