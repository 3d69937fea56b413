//! No circular imports between the files of one crate: a reader can begin with a file that imports
//! nothing and read upwards. Depends on [`super::modules`].
//!
//! An import by a child of an item of a module above it does not count. In Rust a module and its
//! children are one unit: children see the private items of their ancestors, and `impl` blocks of a
//! type in the parent stand in the children. Two siblings, or two modules of different branches,
//! that import each other do count; the types that both need then move into a file of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::modules::{Crate, Import, is_above};
use super::{crates, none};

type Graph<'a> = BTreeMap<&'a Path, BTreeSet<&'a Path>>;

/// The groups of files that import each other, in circles.
fn circles(imports: &BTreeSet<Import>) -> BTreeSet<BTreeSet<&Path>> {
    let mut next = Graph::new();
    for import in imports {
        if !is_above(&import.to, &import.from) {
            next.entry(&import.from).or_default().insert(&import.to);
        }
    }
    let reached: Graph<'_> = next
        .keys()
        .map(|file| (*file, reach(&next, file)))
        .collect();
    let mut found = BTreeSet::new();
    for (file, to) in &reached {
        let mut circle = BTreeSet::new();
        for other in to {
            if reached.get(other).is_some_and(|back| back.contains(file)) {
                circle.insert(*other);
            }
        }
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found
}

/// All files that a file imports, and that those import.
fn reach<'a>(next: &Graph<'a>, from: &Path) -> BTreeSet<&'a Path> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<&Path> = vec![from];
    while let Some(file) = todo.pop() {
        for to in next.get(file).into_iter().flatten() {
            if seen.insert(*to) {
                todo.push(to);
            }
        }
    }
    seen
}

/// The imports of one circle, for people.
fn described(imports: &BTreeSet<Import>, circle: &BTreeSet<&Path>) -> Vec<String> {
    let mut names: BTreeMap<(&Path, &Path), Vec<&str>> = BTreeMap::new();
    for import in imports {
        let (from, to) = (import.from.as_path(), import.to.as_path());
        if circle.contains(from) && circle.contains(to) && !is_above(to, from) {
            names.entry((from, to)).or_default().push(&import.name);
        }
    }
    let line = |((from, to), names): ((&Path, &Path), Vec<&str>)| {
        let (from, to) = (from.display(), to.display());
        format!("  {from} imports {} of {to}", names.join(", "))
    };
    names.into_iter().map(line).collect()
}

#[test]
fn the_files_of_a_crate_do_not_import_each_other_in_circles() {
    let mut broken = Vec::new();
    for (name, package) in crates() {
        let imports = Crate::read(&package.folder.join("src")).imports();
        let circles = circles(&imports);
        for circle in &circles {
            broken.push(format!("{name}: {} files", circle.len()));
            broken.extend(described(&imports, circle));
        }
    }
    none(
        "circular imports: move what both sides need into a file of its own",
        &broken,
    );
}

/// The circles of a crate with these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let imports = Crate::read(folder.path()).imports();
    let circles = circles(&imports);
    circles
        .iter()
        .flat_map(|circle| described(&imports, circle))
        .collect()
}

const ROOT: (&str, &str) = ("lib.rs", "mod a; mod b; pub use a::A;");

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let a = ("a.rs", "use crate::b::B; pub struct A(B);");
    let found = circles_of(&[ROOT, a, ("b.rs", "use super::a::A; pub struct B(A);")]);
    assert_eq!(
        found,
        ["  a.rs imports B of b.rs", "  b.rs imports A of a.rs"]
    );
    for other in [
        "pub struct B(crate::a::A);",
        "use crate::A; pub struct B(A);",
        "use crate::a; pub struct B(a::A);",
        "pub struct B; fn f() { println!(\"{}\", crate::a::A::new()); }",
        "mod inner { use crate::a::A; } pub struct B;",
    ] {
        assert_eq!(circles_of(&[ROOT, a, ("b.rs", other)]).len(), 2, "{other}");
    }
}

#[test]
fn a_shared_leaf_a_re_export_and_a_test_are_no_circle() {
    let a = ("a.rs", "use crate::b::B; pub struct A(B);");
    for other in [
        "pub struct B;",
        "pub use crate::a::A; pub struct B;",
        "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
    ] {
        assert!(
            circles_of(&[ROOT, a, ("b.rs", other)]).is_empty(),
            "{other}"
        );
    }
}

#[test]
fn a_module_and_its_children_are_one_unit_but_siblings_are_not() {
    let parent = ("a.rs", "mod c; mod d; pub struct A; fn f() { c::C; d::D }");
    let d = ("a/d.rs", "use super::A; pub struct D;");
    let c = |text| ("a/c.rs", text);
    let root = ("lib.rs", "mod a;");
    assert!(
        circles_of(&[
            root,
            parent,
            d,
            c("use super::A; use super::d::D; pub struct C;")
        ])
        .is_empty()
    );
    let d = ("a/d.rs", "use super::c::C; pub struct D;");
    let found = circles_of(&[root, parent, d, c("use super::d::D; pub struct C;")]);
    assert_eq!(
        found,
        [
            "  a/c.rs imports D of a/d.rs",
            "  a/d.rs imports C of a/c.rs"
        ]
    );
}
