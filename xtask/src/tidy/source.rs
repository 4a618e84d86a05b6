//! A Rust file, read and parsed once for all rules.

use proc_macro2::TokenStream;
use syn::{Attribute, Item, ItemMod};

use super::Problem;

pub(super) struct Source {
    /// Relative to the workspace's root, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: TokenStream,
    pub(super) syntax: syn::File,
}

impl Source {
    /// A file that is not Rust is a problem.
    pub(super) fn parse(path: &str, text: String) -> Result<Self, Problem> {
        let not_rust = |line, error: &dyn std::fmt::Display| {
            Problem::new(path, line, format!("is not valid Rust: {error}"))
        };
        let tokens: TokenStream = text
            .parse()
            .map_err(|error: proc_macro2::LexError| not_rust(error.span().start().line, &error))?;
        let syntax = syn::parse2(tokens.clone())
            .map_err(|error| not_rust(error.span().start().line, &error))?;
        Ok(Self {
            path: path.to_owned(),
            text,
            tokens,
            syntax,
        })
    }

    /// The lines before the inline test module; all lines when there is none.
    pub(super) fn production_lines(&self) -> usize {
        let tests = self.syntax.items.iter().find_map(|item| match item {
            Item::Mod(module) if module.content.is_some() && is_test_only(&module.attrs) => {
                Some(first_line(module))
            }
            _ => None,
        });
        tests.map_or_else(|| self.text.lines().count(), |line| line - 1)
    }
}

fn first_line(module: &ItemMod) -> usize {
    let own = module.mod_token.span.start().line;
    module
        .attrs
        .iter()
        .map(|attribute| attribute.pound_token.span.start().line)
        .fold(own, usize::min)
}

/// Whether an item with these attributes exists in test builds only.
pub(super) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| {
            let condition = attribute
                .meta
                .require_list()
                .map(|list| list.tokens.to_string());
            condition.is_ok_and(|condition| {
                let condition: String = condition.split_whitespace().collect();
                condition == "test" || condition.starts_with("all(test,")
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::parse("src/lib.rs", text.to_owned()).unwrap()
    }

    #[test]
    fn production_ends_where_the_test_module_begins() {
        let text = "fn a() {}\n\n/// Doc.\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(source(text).production_lines(), 2);
        assert_eq!(
            source("fn a() {}\n#[cfg(test)]\nmod tests;\n").production_lines(),
            3
        );
    }

    #[test]
    fn only_a_condition_that_needs_test_is_test_only() {
        for (attribute, expected) in [
            ("#[cfg(test)]", true),
            ("#[cfg(all(test, unix))]", true),
            ("#[cfg(not(test))]", false),
            ("#[cfg(any(test, unix))]", false),
            ("#[cfg(feature = \"test\")]", false),
            ("#[test]", false),
        ] {
            let item: syn::ItemFn = syn::parse_str(&format!("{attribute} fn f() {{}}")).unwrap();
            assert_eq!(is_test_only(&item.attrs), expected, "{attribute}");
        }
    }

    #[test]
    fn a_file_that_is_not_rust_is_a_problem_with_its_line() {
        let problem = Source::parse("src/a.rs", "fn a() {}\nfn {".to_owned())
            .err()
            .unwrap();
        assert_eq!((problem.path.as_str(), problem.line), ("src/a.rs", 2));
    }
}
