//! Owns what a Rust file names, as the compiler would see it: imports taken apart, aliases followed,
//! unit tests left out. Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Item, Macro, Signature, Token, UseTree};

/// A file that was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Paths that are imported or used, from their crate on where an import says so. An import of
    /// everything ends with `*`.
    pub(crate) paths: BTreeSet<String>,
    /// Macros that are called, by their last name.
    pub(crate) macros: BTreeSet<String>,
    /// Functions with the number of their lines.
    pub(crate) functions: Vec<(String, usize)>,
    /// Whether the word is there outside comments and texts.
    pub(crate) has_unsafe: bool,
    aliases: BTreeMap<String, String>,
}

impl Reading {
    /// Reads the whole of a file.
    ///
    /// # Errors
    /// What the parser says.
    pub(crate) fn of(text: &str) -> syn::Result<Self> {
        Self::read(text, |_| false)
    }

    /// Reads a file without its unit tests.
    ///
    /// # Errors
    /// What the parser says.
    pub(crate) fn without_tests(text: &str) -> syn::Result<Self> {
        Self::read(text, is_test)
    }

    fn read(text: &str, left_out: fn(&Item) -> bool) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let mut reading = Self { has_unsafe: names_unsafe(text.parse()?), ..Self::default() };
        let mut imports = Imports { reading: &mut reading, left_out };
        imports.visit_file(&file);
        let mut uses = Uses { reading: &mut reading, left_out };
        uses.visit_file(&file);
        Ok(reading)
    }

    fn import(&mut self, before: &str, tree: &UseTree) {
        let joined = |name: &str| {
            if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") }
        };
        match tree {
            UseTree::Path(path) => self.import(&joined(&path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(before, item)),
            UseTree::Glob(_) => drop(self.paths.insert(joined("*"))),
            UseTree::Name(name) if name.ident == "self" => {
                self.bind(before.to_owned(), last(before))
            }
            UseTree::Name(name) => {
                self.bind(joined(&name.ident.to_string()), name.ident.to_string())
            }
            UseTree::Rename(name) if name.ident == "self" => {
                self.bind(before.to_owned(), name.rename.to_string());
            }
            UseTree::Rename(name) => {
                self.bind(joined(&name.ident.to_string()), name.rename.to_string());
            }
        }
    }

    fn bind(&mut self, path: String, name: String) {
        self.paths.insert(path.clone());
        self.aliases.insert(name, path);
    }
}

/// The first pass: imports, wherever they stand.
struct Imports<'r> {
    reading: &'r mut Reading,
    left_out: fn(&Item) -> bool,
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !(self.left_out)(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.reading.import("", &item.tree);
    }
}

/// The second: everything else.
struct Uses<'r> {
    reading: &'r mut Reading,
    left_out: fn(&Item) -> bool,
}

impl Uses<'_> {
    fn function(&mut self, signature: &Signature, body: &Block) {
        let (first, last) = (signature.fn_token.span.start(), body.brace_token.span.close().end());
        self.reading.functions.push((signature.ident.to_string(), last.line - first.line + 1));
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !(self.left_out)(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        let first = self.reading.aliases.get(&names[0]).cloned();
        let rest = names[1..].iter().map(|name| format!("::{name}")).collect::<String>();
        self.reading.paths.insert(first.unwrap_or_else(|| names[0].clone()) + &rest);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.reading.macros.insert(call.path.segments.last().unwrap().ident.to_string());
        // Most take expressions; what others take is none of this crate's imports by itself.
        let parse = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(arguments) = call.parse_body_with(parse) {
            arguments.iter().for_each(|argument| self.visit_expr(argument));
        } else {
            let text = call.tokens.to_string().replace(' ', "");
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let paths = words.filter(|word| word.contains("::")).map(|word| {
                let (first, rest) = word.split_once("::").unwrap_or((word, ""));
                let first = self.reading.aliases.get(first).map_or(first, String::as_str);
                format!("{first}::{rest}")
            });
            let paths: Vec<String> = paths.collect();
            self.reading.paths.extend(paths);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn is_test(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        _ => return false,
    };
    attributes.iter().any(|it| {
        it.path().is_ident("cfg")
            && it.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn names_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "unsafe",
        TokenTree::Group(group) => names_unsafe(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

fn last(path: &str) -> String {
    path.rsplit("::").next().unwrap_or_default().to_owned()
}
