//! How long a file and a function may be, tests not counted.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemTrait, Signature, TraitItemFn, Type};

use super::Problem;
use super::exceptions::{LongFile, LongFunction};
use super::modules::Reach;
use super::source::{Source, is_test_only};

/// Most lines of a file before its test module.
const FILE_LINES_MAX: usize = 600;

/// Most lines of a function from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

pub(super) fn check(
    sources: &[Source],
    reach: &Reach,
    long_files: &[LongFile],
    long_functions: &[LongFunction],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    // The longest that each exception has been needed for.
    let mut files_found = vec![0; long_files.len()];
    let mut functions_found = vec![0; long_functions.len()];
    for source in sources
        .iter()
        .filter(|source| reach.get(&source.path) == Some(&false))
    {
        let lines = source.production_lines();
        let known = long_files.iter().position(|file| file.path == source.path);
        let allowed = known.map_or(FILE_LINES_MAX, |at| long_files[at].lines);
        if lines > allowed {
            let what =
                format!("has {lines} lines before its tests, of at most {allowed}: split it");
            problems.push(Problem::new(&source.path, 0, what));
        }
        if let Some(at) = known {
            files_found[at] = lines;
        }
        for function in functions(source) {
            let known = long_functions
                .iter()
                .position(|long| long.path == source.path && long.name == function.name);
            let allowed = known.map_or(FUNCTION_LINES_MAX, |at| long_functions[at].lines);
            if function.lines > allowed {
                let Function { name, lines, .. } = &function;
                let what = format!("`{name}` has {lines} lines, of at most {allowed}: split it");
                problems.push(Problem::new(&source.path, function.line, what));
            }
            if let Some(at) = known {
                functions_found[at] = functions_found[at].max(function.lines);
            }
        }
    }
    for (file, found) in long_files.iter().zip(files_found) {
        let exception = Exception {
            path: file.path,
            name: "the file",
            lines: file.lines,
            reason: file.reason,
        };
        exception.check(found, FILE_LINES_MAX, &mut problems);
    }
    for (long, found) in long_functions.iter().zip(functions_found) {
        let exception = Exception {
            path: long.path,
            name: long.name,
            lines: long.lines,
            reason: long.reason,
        };
        exception.check(found, FUNCTION_LINES_MAX, &mut problems);
    }
    problems
}

/// A row of either table.
struct Exception {
    path: &'static str,
    name: &'static str,
    lines: usize,
    reason: &'static str,
}

impl Exception {
    /// It needs a reason, shrinks with what it is for, and goes when it is not needed any more.
    fn check(&self, found: usize, limit: usize, problems: &mut Vec<Problem>) {
        let mut complain = |what| problems.push(Problem::new(self.path, 0, what));
        let Self { name, lines, .. } = self;
        if self.reason.is_empty() {
            complain(format!("the exception for {name} has no reason"));
        }
        if found <= limit {
            complain(format!(
                "{name} needs no exception: remove it from the table"
            ));
        } else if found < *lines {
            complain(format!(
                "{name} has shrunk to {found} lines: lower its exception from {lines}"
            ));
        }
    }
}

struct Function {
    /// `function` or `Type::function`.
    name: String,
    line: usize,
    lines: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let mut found = Functions::default();
    found.visit_file(&source.syntax);
    found.functions
}

#[derive(Default)]
struct Functions {
    functions: Vec<Function>,
    /// The type or trait whose items are visited.
    owner: Option<String>,
}

impl Functions {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let line = signature.fn_token.span.start().line;
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        let lines = body.brace_token.span.close().end().line - line + 1;
        self.functions.push(Function { name, line, lines });
    }

    fn inside(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = self.owner.replace(owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.inside(type_name(&item.self_ty), |found| {
            visit::visit_item_impl(found, item)
        });
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.inside(item.ident.to_string(), |found| {
            visit::visit_item_trait(found, item)
        });
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// The last word of a type's path; its source text when it has none.
fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        other => other.span().source_text().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "src/lib.rs";

    fn found(text: &str, files: &[LongFile], functions: &[LongFunction]) -> Vec<String> {
        let source = Source::parse(PATH, text.to_owned()).unwrap();
        let reach = Reach::from([(PATH.to_owned(), false)]);
        check(&[source], &reach, files, functions)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    call();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_of_the_limit_passes_and_one_line_more_does_not() {
        let lines = "const A: u8 = 0;\n".repeat(FILE_LINES_MAX);
        let tests = "#[cfg(test)]\nmod tests {\n    const A: u8 = 0;\n}\n";
        assert_eq!(found(&format!("{lines}{tests}"), &[], &[]), [] as [&str; 0]);
        assert_eq!(
            found(&format!("{lines}const B: u8 = 0;\n{tests}"), &[], &[]),
            ["src/lib.rs: has 601 lines before its tests, of at most 600: split it"]
        );
    }

    #[test]
    fn a_function_of_the_limit_passes_and_one_line_more_does_not() {
        assert_eq!(found(&function("fits", 70), &[], &[]), [] as [&str; 0]);
        assert_eq!(
            found(&format!("\n{}", function("long", 71)), &[], &[]),
            ["src/lib.rs:2: `long` has 71 lines, of at most 70: split it"]
        );
    }

    #[test]
    fn methods_are_named_with_their_type_and_tests_are_not_counted() {
        let method = format!("impl<T> a::Pool<T> {{\n{}}}\n", function("fill", 71));
        let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("long", 100));
        let found = found(&format!("{method}{test}"), &[], &[]);
        assert_eq!(
            found,
            ["src/lib.rs:2: `Pool::fill` has 71 lines, of at most 70: split it"]
        );
    }

    #[test]
    fn an_exception_is_a_ratchet() {
        let table = LongFunction {
            path: PATH,
            name: "table",
            lines: 80,
            reason: "a table",
        };
        let exceptions = [table];
        assert_eq!(
            found(&function("table", 80), &[], &exceptions),
            [] as [&str; 0]
        );
        let grown = found(&function("table", 81), &[], &exceptions);
        assert!(
            grown[0].contains("has 81 lines, of at most 80"),
            "{grown:?}"
        );
        assert_eq!(
            found(&function("table", 79), &[], &exceptions),
            ["src/lib.rs: table has shrunk to 79 lines: lower its exception from 80"]
        );
        let short = found(&function("table", 70), &[], &exceptions);
        assert_eq!(
            short,
            ["src/lib.rs: table needs no exception: remove it from the table"]
        );
    }

    #[test]
    fn a_long_file_is_held_to_its_size_too() {
        let file = |lines| LongFile {
            path: PATH,
            lines,
            reason: "a table",
        };
        let text = "const A: u8 = 0;\n".repeat(610);
        assert_eq!(found(&text, &[file(610)], &[]), [] as [&str; 0]);
        let grown = found(&text, &[file(609)], &[]);
        assert!(grown[0].contains("has 610 lines"), "{grown:?}");
        let shrunk = found(&text, &[file(620)], &[]);
        assert!(
            shrunk[0].contains("lower its exception from 620"),
            "{shrunk:?}"
        );
    }

    #[test]
    fn an_exception_without_reason_or_use_is_found() {
        let file = LongFile {
            path: "src/gone.rs",
            lines: 900,
            reason: "",
        };
        let found = found("", &[file], &[]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("has no reason"), "{found:?}");
    }
}
