//! No file imports a file that needs it, however many files are between them. What a crate may import, its `Cargo.toml`
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// The name of the root package's files in this test.
const PROGRAM: &str = "program";

/// Lists, which name descriptions that stand in a file each: of the kinds of records, of the streams, of the commands.
const LISTS: [&str; 3] = ["emulator::generate", "record::stream", "program::commands"];

fn source_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A path such as `console::client`, of the module in this file.
fn module(name: &str) -> String {
    name.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib").replace('/', "::")
}

/// The files of all crates: `engine::lane::run` is `crates/engine/src/lane/run.rs`, `program::main` is `src/main.rs`.
pub fn files() -> BTreeMap<String, syn::File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap());
    let crates = folders.map(|folder| (folder.file_name().into_string().unwrap(), folder.path().join("src")));
    let mut named = BTreeMap::new();
    for (name, folder) in crates.chain([(PROGRAM.to_owned(), root.join("src"))]) {
        let mut files = Vec::new();
        source_files(&folder, &mut files);
        for file in files {
            let path = file.strip_prefix(&folder).unwrap().display();
            let code = syn::parse_file(&fs::read_to_string(&file).unwrap());
            named.insert(module(&format!("{name}/{path}")), code.unwrap_or_else(|error| panic!("{path}: {error}")));
        }
    }
    named
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.meta.to_token_stream().to_string() == "cfg (test)")
}

/// What the code of a file names, but for its tests.
#[derive(Default)]
struct Named {
    /// The module, and those in braces that the visitor is in.
    module: String,
    /// Modules that are declared here: a path may begin with one.
    children: BTreeSet<String>,
    /// Paths of this crate, after its name.
    used: BTreeSet<String>,
    /// By the path that `pub use` gives an item, the path that the item has. That makes no module depend on it.
    exported: BTreeMap<String, String>,
}

impl Named {
    fn of(module: &str, file: &syn::File) -> Self {
        let mut named = Self { module: module.to_owned(), ..Self::default() };
        named.children = children(&file.items);
        named.visit_file(file);
        named
    }

    /// A path as seen from the module, after the name of its crate. `None` for one of another crate, and a local name.
    fn absolute(&self, path: &[String]) -> Option<String> {
        let mut parents: Vec<&str> = self.module.split("::").collect();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => parents.truncate(1),
                "self" => {}
                "super" => _ = parents.pop(),
                name if rest.len() == path.len() && !self.children.contains(name) => return None,
                _ => break,
            }
            rest = after;
        }
        Some(parents.into_iter().chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join("::"))
    }

    fn take(&mut self, path: &[String]) {
        self.used.extend(self.absolute(path));
    }
}

fn children(items: &[Item]) -> BTreeSet<String> {
    let modules = items.iter().filter_map(|item| if let Item::Mod(module) = item { Some(module) } else { None });
    modules.map(|module| module.ident.to_string()).collect()
}

/// The paths of a tree of imports, each with the name that it gives the item.
fn leaves(tree: &UseTree, path: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let with = |name: &syn::Ident| [path, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(inner) => leaves(&inner.tree, &with(&inner.ident), found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, path, found)),
        UseTree::Glob(_) => found.push((path.to_vec(), "*".to_owned())),
        UseTree::Rename(rename) => found.push((with(&rename.ident), rename.rename.to_string())),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((path.to_vec(), path.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => found.push((with(&name.ident), name.ident.to_string())),
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, inner: &'ast syn::ItemMod) {
        let Some((_, items)) = &inner.content else { return };
        let module = format!("{}::{}", self.module, inner.ident);
        let outer =
            (std::mem::replace(&mut self.module, module), std::mem::replace(&mut self.children, children(items)));
        visit::visit_item_mod(self, inner);
        (self.module, self.children) = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        for (path, name) in found {
            match self.absolute(&path) {
                Some(path) if !matches!(item.vis, Visibility::Inherited) => {
                    self.exported.insert(format!("{}::{name}", self.module), path);
                }
                path => self.used.extend(path),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.take(&parts);
        }
        visit::visit_path(self, path);
    }

    /// A place that may see an item is none that the file needs.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    /// The arguments of a macro are tokens.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string().replace(" :: ", "::");
        for path in text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':') {
            let parts: Vec<String> = path.split("::").map(str::to_owned).collect();
            if parts.len() > 1 {
                self.take(&parts);
            }
        }
        visit::visit_macro(self, call);
    }
}

/// What each file imports of others, re-exports followed to where they lead.
fn imported() -> BTreeMap<String, BTreeSet<String>> {
    let named: BTreeMap<String, Named> =
        files().iter().map(|(module, file)| (module.clone(), Named::of(module, file))).collect();
    let exported: BTreeMap<&String, &String> = named.values().flat_map(|named| &named.exported).collect();
    let resolve = |path: &str| {
        let mut path = path.to_owned();
        for _ in 0..5 {
            // A module may have the name of a function.
            let is_led =
                |name: &str| path == name || (path.starts_with(&format!("{name}::")) && !named.contains_key(name));
            let Some((name, target)) = exported.iter().find(|(name, _)| is_led(name)) else { break };
            path = format!("{target}{}", &path[name.len()..]);
        }
        // The file is the longest part of the path that is a module.
        let mut parts: Vec<&str> = path.split("::").collect();
        while !parts.is_empty() && !named.contains_key(&parts.join("::")) {
            parts.pop();
        }
        parts.join("::")
    };
    let imports = named.iter().map(|(module, named)| {
        let of = named.used.iter().map(|path| resolve(path));
        let of = of.filter(|target| !target.is_empty() && target != module && !LISTS.contains(&target.as_str()));
        (module.clone(), of.collect())
    });
    imports.collect()
}

/// All that `file` needs, directly or not.
fn needed<'i>(imports: &'i BTreeMap<String, BTreeSet<String>>, file: &'i str) -> BTreeSet<&'i str> {
    let mut needed = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        let of = imports.get(file).into_iter().flatten().map(String::as_str);
        open.extend(of.filter(|file| needed.insert(*file)));
    }
    needed
}

#[test]
fn no_file_imports_a_file_that_needs_it() {
    let imports = imported();
    let mut circles = BTreeMap::new();
    for (file, of) in &imports {
        let back: Vec<&String> = of.iter().filter(|other| needed(&imports, other).contains(file.as_str())).collect();
        if !back.is_empty() {
            circles.insert(file, back);
        }
    }
    assert!(circles.is_empty(), "these need themselves, through what they import:\n{circles:#?}");
}

#[test]
fn paths_of_a_file_are_found() {
    let code = "use super::{a, b::{C, D as E}}; mod own { use super::x; }
        fn f() { self::g::h(); own::i(); log!(crate::j::k(), \"text\"); Local::new(); std::l(); }
        #[cfg(test)] mod tests { use super::super::m; }";
    let named = Named::of("engine::client", &syn::parse_file(code).unwrap());
    let wanted = [
        "engine::a",
        "engine::b::C",
        "engine::b::D",
        "engine::client::g::h",
        "engine::client::own::i",
        "engine::client::x",
        "engine::j::k",
    ];
    assert_eq!(named.used, wanted.map(str::to_owned).into());
}

/// A module is the `mod.rs` of the folder of its modules. Next to a folder that has only `tests.rs` it is `NAME.rs`.
#[test]
fn a_module_with_modules_is_a_mod_rs() {
    let mut files = Vec::new();
    for folder in ["crates", "src", "tests", "benches"] {
        source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let files: BTreeSet<PathBuf> = files.into_iter().collect();
    let with_modules = files.iter().filter(|file| !file.ends_with("tests.rs")).filter_map(|file| file.parent());
    let other_style: BTreeSet<_> =
        with_modules.map(|folder| folder.with_extension("rs")).filter(|file| files.contains(file)).collect();
    assert!(files.len() > 500 && other_style.is_empty(), "{} files; {other_style:#?}", files.len());
}
