//! The names and fields that other crates can see.

use proc_macro2::{Ident, Span};
use syn::{
    Fields, FnArg, ImplItem, Item, ItemImpl, ItemStruct, ItemTrait, Pat, Signature, TraitItem,
    Visibility,
};

use super::source::{Source, is_test_only};

/// An identifier in an interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Every public item, variant and field of a file, and the parameters of its public functions.
///
/// `pub` is taken at its word: rustc's `unreachable_pub` sees to it that nobody writes it on what
/// nobody can reach. What a foreign trait names is left out.
pub(super) fn names(source: &Source) -> Vec<Name> {
    let mut found = Found::default();
    found.items(&source.syntax.items);
    found.0
}

/// The public structs of a file, inline modules included.
pub(super) fn structs(source: &Source) -> Vec<&ItemStruct> {
    fn collect<'a>(items: &'a [Item], found: &mut Vec<&'a ItemStruct>) {
        for item in items {
            match item {
                Item::Struct(item) if is_public(&item.vis) => found.push(item),
                Item::Mod(module) if !is_test_only(&module.attrs) => {
                    if let Some((_, items)) = &module.content {
                        collect(items, found);
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(&source.syntax.items, &mut found);
    found
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[derive(Default)]
struct Found(Vec<Name>);

impl Found {
    fn add(&mut self, name: &Ident) {
        let span: Span = name.span();
        self.0.push(Name {
            text: name.to_string(),
            line: span.start().line,
        });
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) if !is_test_only(&module.attrs) => {
                    if is_public(&module.vis) {
                        self.add(&module.ident);
                    }
                    if let Some((_, items)) = &module.content {
                        self.items(items);
                    }
                }
                Item::Fn(item) if is_public(&item.vis) => self.function(&item.sig),
                Item::Struct(item) if is_public(&item.vis) => {
                    self.add(&item.ident);
                    self.fields(&item.fields, false);
                }
                Item::Enum(item) if is_public(&item.vis) => {
                    self.add(&item.ident);
                    for variant in &item.variants {
                        self.add(&variant.ident);
                        self.fields(&variant.fields, true);
                    }
                }
                Item::Trait(item) if is_public(&item.vis) => self.of_trait(item),
                Item::Type(item) if is_public(&item.vis) => self.add(&item.ident),
                Item::Const(item) if is_public(&item.vis) => self.add(&item.ident),
                Item::Static(item) if is_public(&item.vis) => self.add(&item.ident),
                Item::Impl(item) => self.of_impl(item),
                _ => {}
            }
        }
    }

    fn fields(&mut self, fields: &Fields, all_public: bool) {
        for field in fields {
            if let Some(name) = &field.ident
                && (all_public || is_public(&field.vis))
            {
                self.add(name);
            }
        }
    }

    fn function(&mut self, signature: &Signature) {
        self.add(&signature.ident);
        for input in &signature.inputs {
            if let FnArg::Typed(typed) = input
                && let Pat::Ident(parameter) = &*typed.pat
            {
                self.add(&parameter.ident);
            }
        }
    }

    fn of_trait(&mut self, item: &ItemTrait) {
        self.add(&item.ident);
        for item in &item.items {
            match item {
                TraitItem::Fn(function) => self.function(&function.sig),
                TraitItem::Type(item) => self.add(&item.ident),
                TraitItem::Const(item) => self.add(&item.ident),
                _ => {}
            }
        }
    }

    /// The trait of an implementation has named its items already, here or elsewhere.
    fn of_impl(&mut self, item: &ItemImpl) {
        if item.trait_.is_some() {
            return;
        }
        for item in &item.items {
            match item {
                ImplItem::Fn(function) if is_public(&function.vis) => self.function(&function.sig),
                ImplItem::Const(item) if is_public(&item.vis) => self.add(&item.ident),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_crates_see_is_found_and_nothing_else() {
        let text = "
            pub mod shown { pub fn free(first: u8, (a, b): (u8, u8)) { let local = 1; } fn hid() {} }
            pub(crate) mod inner { pub(crate) fn no(not: u8) {} }
            pub struct Pair { pub left: u8, right: u8, pub(crate) middle: u8 }
            pub enum Choice { One { of: u8 }, Two(u8) }
            enum Hidden { Three }
            pub trait Act { type Out; const N: u8; fn act(&self, with: u8); }
            pub type Alias = u8; pub const C: u8 = 0; pub static S: u8 = 0;
            impl Pair { pub fn new(left: u8) -> Self { todo() } fn private(x: u8) {} pub const K: u8 = 1; }
            impl Foreign for Pair { fn foreign(&self, y: u8) {} }
            #[cfg(test)] mod tests { pub fn test_only(z: u8) {} }
        ";
        let source = Source::parse("src/a.rs", text.to_owned()).unwrap();
        let found: Vec<_> = names(&source).into_iter().map(|name| name.text).collect();
        assert_eq!(
            found.join(" "),
            "shown free first Pair left Choice One of Two Act Out N act with Alias C S new left K"
        );
        assert_eq!(names(&source)[0].line, 2);
        let structs: Vec<_> = structs(&source)
            .iter()
            .map(|item| item.ident.to_string())
            .collect();
        assert_eq!(structs, ["Pair"]);
    }
}
