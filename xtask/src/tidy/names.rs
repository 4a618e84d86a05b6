//! Names that say nothing.

use proc_macro2::Ident;
use syn::visit::{self, Visit};
use syn::{Item, ItemFn, ItemImpl, Signature, TraitItemFn};

use super::Problem;
use super::source::Source;

/// Ends of type names that stand where a noun of the field should.
const TYPE_ENDS: [&str; 8] = [
    "Manager", "Handler", "Helper", "Helpers", "Util", "Utils", "Common", "Misc",
];

const MODULES: [&str; 7] = [
    "common", "handler", "helper", "helpers", "misc", "util", "utils",
];

pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut names = Names {
        path: &source.path,
        problems: Vec::new(),
    };
    names.visit_file(&source.syntax);
    names.problems
}

struct Names<'a> {
    path: &'a str,
    problems: Vec<Problem>,
}

impl Names<'_> {
    fn complain(&mut self, name: &Ident, what: &str) {
        let line = name.span().start().line;
        self.problems
            .push(Problem::new(self.path, line, format!("`{name}` {what}")));
    }

    fn type_name(&mut self, name: &Ident) {
        let text = name.to_string();
        if let Some(end) = TYPE_ENDS.iter().find(|end| text.ends_with(*end)) {
            self.complain(name, &format!("ends in {end}: name what it is"));
        }
    }

    fn function(&mut self, signature: &Signature) {
        if signature.ident.to_string().starts_with("get_") {
            self.complain(&signature.ident, "begins with get_: name what it returns");
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Struct(item) => self.type_name(&item.ident),
            Item::Enum(item) => self.type_name(&item.ident),
            Item::Trait(item) => self.type_name(&item.ident),
            Item::Type(item) => self.type_name(&item.ident),
            Item::Mod(item) if MODULES.iter().any(|name| item.ident == name) => {
                self.complain(&item.ident, "is a drawer for anything: name what is in it");
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        // The methods of a trait are named by the trait, which may be foreign.
        if item.trait_.is_none() {
            for item in &item.items {
                if let syn::ImplItem::Fn(method) = item {
                    self.function(&method.sig);
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.function(&item.sig);
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::parse("src/a.rs", text.to_owned()).unwrap();
        check(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn empty_words_are_found_in_types_modules_and_functions() {
        let text = "struct RetryManager;\nenum LimitUtils {}\nmod common {}\nfn get_limit() {}\n\
                    impl A {\n    fn get_b(&self) {}\n}\ntrait T {\n    fn get_c(&self);\n}\n";
        assert_eq!(
            found(text),
            [
                "src/a.rs:1: `RetryManager` ends in Manager: name what it is",
                "src/a.rs:2: `LimitUtils` ends in Utils: name what it is",
                "src/a.rs:3: `common` is a drawer for anything: name what is in it",
                "src/a.rs:4: `get_limit` begins with get_: name what it returns",
                "src/a.rs:6: `get_b` begins with get_: name what it returns",
                "src/a.rs:9: `get_c` begins with get_: name what it returns",
            ]
        );
    }

    #[test]
    fn foreign_traits_and_names_that_only_contain_the_words_are_fine() {
        let text = "impl Foreign for A { fn get_it(&self) {} }\nstruct Managers;\nfn getter() {}\n";
        assert_eq!(found(text), [] as [&str; 0]);
    }
}
