//! Reads the modules of a crate and the imports between their files, for the rules in
//! [`super::cycles`] and [`super::agent`]. Depends on `syn` and on the sources; compiles and runs
//! nothing.
//!
//! An *import* is a path in one file that names an item defined in another file of the crate: in
//! `use`, in code, or inside a macro call. The reader follows re-exports to the file that defines
//! the item, so neither `mod x;` nor `pub use x::Item` is an import by itself. It leaves out
//! `#[cfg(test)]`, and it cannot see method calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One import: the importing file, the defining file (both below `src`), and the item's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) name: String,
}

/// A module: a file, or a `mod x { … }` inside one.
#[derive(Default)]
struct Module {
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    /// Names that a `use` brings in, and the paths that they stand for.
    aliases: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// All paths in the module's code, and those of its `use` items that are no re-exports.
    paths: BTreeSet<Vec<String>>,
}

/// The modules of one crate; the first one is its root.
pub(super) struct Crate {
    modules: Vec<Module>,
}

enum Target {
    Module(usize),
    /// The file that defines it, and its name.
    Item(PathBuf, String),
    /// An item of another crate.
    Outside,
}

impl Crate {
    /// Reads the crate whose root is `src/lib.rs`, or `src/main.rs` if it has no library.
    pub(super) fn read(src: &Path) -> Self {
        let root = ["lib.rs", "main.rs"]
            .map(|name| src.join(name))
            .into_iter()
            .find(|path| path.exists())
            .unwrap();
        let mut read = Self {
            modules: Vec::new(),
        };
        read.file(src, &root, src, 0);
        read
    }

    /// All imports between two files.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (at, module) in self.modules.iter().enumerate() {
            for path in &module.paths {
                if let Some(Target::Item(to, name)) = self.resolve(at, path, 0)
                    && to != module.file
                {
                    let from = module.file.clone();
                    imports.insert(Import { from, to, name });
                }
            }
        }
        imports
    }

    /// Reads a file as a module. `folder` holds the files of its children.
    fn file(&mut self, src: &Path, path: &Path, folder: &Path, parent: usize) -> usize {
        let text = std::fs::read_to_string(path).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = path.strip_prefix(src).unwrap();
        self.module(src, &parsed.items, file, folder, parent)
    }

    fn module(
        &mut self,
        src: &Path,
        items: &[syn::Item],
        file: &Path,
        folder: &Path,
        parent: usize,
    ) -> usize {
        let at = self.modules.len();
        let mut reader = Reader::default();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            ..Module::default()
        });
        for item in items {
            if is_test(item) {
                continue;
            }
            reader.items.extend(name_of(item));
            let syn::Item::Mod(child) = item else {
                reader.visit_item(item);
                continue;
            };
            let name = child.ident.to_string();
            let below = folder.join(&name);
            let number = if let Some((_, items)) = &child.content {
                self.module(src, items, file, &below, at)
            } else {
                let beside = folder.join(format!("{name}.rs"));
                let is_file = beside.exists();
                let path = if is_file {
                    beside
                } else {
                    below.join("mod.rs")
                };
                self.file(src, &path, &below, at)
            };
            self.modules[at].children.insert(name, number);
        }
        let module = &mut self.modules[at];
        module.items = reader.items;
        module.aliases = reader.aliases;
        module.globs = reader.globs;
        module.paths = reader.paths;
        at
    }

    /// The module or the file that a path leads to. `None`: another crate, or a local name.
    fn resolve(&self, at: usize, path: &[String], depth: usize) -> Option<Target> {
        // Two modules may glob-import each other.
        if depth > 8 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(0, rest, depth),
            "self" => self.walk(at, rest, depth),
            "super" => self.walk(self.modules[at].parent, rest, depth),
            _ => match self.step(at, first, depth)? {
                Target::Module(next) => self.walk(next, rest, depth),
                other => Some(other),
            },
        }
    }

    fn walk(&self, at: usize, path: &[String], depth: usize) -> Option<Target> {
        let Some((first, rest)) = path.split_first() else {
            return Some(Target::Module(at));
        };
        if first == "super" {
            return self.walk(self.modules[at].parent, rest, depth);
        }
        match self.step(at, first, depth) {
            Some(Target::Module(next)) => self.walk(next, rest, depth),
            Some(item) => Some(item),
            // A macro of the module defines it.
            None => Some(Target::Item(self.modules[at].file.clone(), first.clone())),
        }
    }

    /// One name in a module.
    fn step(&self, at: usize, name: &str, depth: usize) -> Option<Target> {
        let module = &self.modules[at];
        if let Some(child) = module.children.get(name) {
            return Some(Target::Module(*child));
        }
        if module.items.contains(name) {
            return Some(Target::Item(module.file.clone(), name.to_owned()));
        }
        if let Some(path) = module.aliases.get(name) {
            // `use self::x` and `use x as x` would lead here again.
            let is_itself = path.len() == 1 && path[0] == name;
            let target = if is_itself {
                None
            } else {
                self.resolve(at, path, depth + 1)
            };
            return Some(target.unwrap_or(Target::Outside));
        }
        module.globs.iter().find_map(|glob| {
            let Some(Target::Module(of)) = self.resolve(at, glob, depth + 1) else {
                return None;
            };
            self.step(of, name, depth + 1)
        })
    }
}

/// What the items of one module name.
#[derive(Default)]
struct Reader {
    items: BTreeSet<String>,
    aliases: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    paths: BTreeSet<Vec<String>>,
}

impl Reader {
    fn uses(&mut self, tree: &syn::UseTree, before: &[String], re_exports: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.uses(&path.tree, &with(&path.ident), re_exports),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.uses(tree, before, re_exports);
                }
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                let alias = before.last().unwrap().clone();
                self.alias(alias, before.to_vec(), re_exports);
            }
            syn::UseTree::Name(name) => {
                self.alias(name.ident.to_string(), with(&name.ident), re_exports);
            }
            syn::UseTree::Rename(rename) if rename.ident == "self" => {
                self.alias(rename.rename.to_string(), before.to_vec(), re_exports);
            }
            syn::UseTree::Rename(rename) => {
                self.alias(rename.rename.to_string(), with(&rename.ident), re_exports);
            }
            syn::UseTree::Glob(_) => self.globs.push(before.to_vec()),
        }
    }

    fn alias(&mut self, alias: String, path: Vec<String>, re_exports: bool) {
        if !re_exports {
            self.paths.insert(path.clone());
        }
        self.aliases.insert(alias, path);
    }

    /// Paths in a macro call, which `syn` does not parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.end(&mut path);
                    colons = 0;
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        // A single name in a macro is more often a field than an item.
        if path.len() > 1 {
            self.paths.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let re_exports = !matches!(item.vis, syn::Visibility::Inherited);
        self.uses(&item.tree, &[], re_exports);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|part| part.ident.to_string());
            self.paths.insert(names.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    // `pub(in crate::x)` names no item.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// Whether an item is for tests only.
fn is_test(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

fn name_of(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Macro(item) => item.ident.as_ref()?.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        syn::Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Whether the module of one file is an ancestor of the other's.
pub(super) fn is_above(above: &Path, below: &Path) -> bool {
    let module = |file: &Path| {
        let path = file.with_extension("");
        let is_folders = ["lib", "main", "mod"]
            .iter()
            .any(|name| path.ends_with(name));
        if is_folders {
            path.parent().unwrap().to_owned()
        } else {
            path
        }
    };
    module(below).starts_with(module(above))
}
