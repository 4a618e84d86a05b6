//! The pages say what the binary does.

use crate::mock_process::Mock;
use crate::workdir::{TestDir, repository};

/// The long flags that a help text lists.
pub(crate) fn long_flags(help: &str) -> Vec<String> {
    let flags: Vec<String> = help.lines().filter_map(long_flag).collect();
    assert!(flags.len() > 10, "{help}");
    flags
}

#[test]
fn every_flag_is_on_its_page() {
    let dir = TestDir::new();
    for command in ["run", "mock"] {
        let help = dir.brimful(command).args("--help").exits(0).stdout;
        let page = std::fs::read_to_string(repository(&format!("docs/{command}.md"))).unwrap();
        let missing: Vec<String> = long_flags(&help)
            .into_iter()
            .filter(|flag| !["help", "version"].contains(&flag.as_str()))
            .filter(|flag| {
                ![' ', '`', '\n', '=']
                    .iter()
                    .any(|end| page.contains(&format!("--{flag}{end}")))
            })
            .collect();
        assert_eq!(missing, [""; 0], "docs/{command}.md");
    }
}

#[test]
fn every_default_is_on_its_page() {
    let dir = TestDir::new();
    for command in ["run", "mock"] {
        let help = dir.brimful(command).args("--help").exits(0).stdout;
        let page = std::fs::read_to_string(repository(&format!("docs/{command}.md"))).unwrap();
        let mut flag = String::new();
        for line in help.lines() {
            flag = long_flag(line).unwrap_or(flag);
            let Some((_, default)) = line.split_once("[default: ") else {
                continue;
            };
            let default = default.split(']').next().unwrap_or_default();
            let told = page.lines().any(|row| {
                row.contains(&format!("`--{flag}")) && row.contains(&format!("`{default}`"))
            });
            assert!(told, "docs/{command}.md: --{flag} is {default} by default");
        }
    }
}

/// `output` in `  -o, --output <FILE>`. Descriptions, which may begin with a flag, stand further
/// in.
fn long_flag(line: &str) -> Option<String> {
    let indent = line.len() - line.trim_start().len();
    if !line.trim_start().starts_with('-') || indent > 6 {
        return None;
    }
    let long = line.split("--").nth(1)?;
    let end = long.find([' ', '=']).unwrap_or(long.len());
    Some(long[..end].to_owned())
}

#[test]
fn every_field_of_the_account_is_on_the_page() {
    let mock = Mock::start("--rpm 60 --tpm 60000");
    let stats = mock.stats();
    let page = std::fs::read_to_string(repository("docs/mock.md")).unwrap();
    let missing: Vec<&String> = stats
        .as_object()
        .unwrap()
        .keys()
        .filter(|field| !page.contains(&format!("`{field}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}
