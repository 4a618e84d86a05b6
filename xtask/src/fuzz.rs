//! `cargo xtask fuzz`: looks for inputs for which a property of `fuzz/properties` does not hold.
//!
//! It starts from the kept inputs, and what it finds on the way goes to `fuzz/found`, which Git
//! does not see: a fuzzer keeps thousands of inputs, and few of them are worth reading.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const SECONDS: u64 = 60;

/// As long as an input may be that is kept.
const LENGTH_BYTES_MAX: u64 = 4 * 1024;

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let known = targets(root)?;
    let (chosen, seconds) = chosen(&known, arguments)?;
    for target in chosen {
        let found = format!("fuzz/found/{target}");
        fs::create_dir_all(root.join(&found)).with_context(|| format!("create {found}"))?;
        println!("==> {target} for {seconds} s");
        let status = Command::new(env!("CARGO"))
            // The code has no unsafe part of its own, which an address sanitizer would watch.
            .args(["fuzz", "run", "--sanitizer", "none", target])
            .args([found, format!("fuzz/corpus/{target}")])
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={LENGTH_BYTES_MAX}"))
            // What counts coverage is unstable, but in every compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(root)
            .status()
            .context("cargo cannot be started")?;
        ensure!(
            status.success(),
            "`{target}` ended with {status}; without cargo-fuzz: `cargo install cargo-fuzz \
             --locked`; after a find: repair it, and keep the input of fuzz/artifacts/{target} \
             under a telling name in fuzz/corpus/{target}"
        );
    }
    Ok(())
}

/// Each target has a folder of kept inputs.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/corpus");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn chosen<'a>(known: &'a [String], arguments: &[&str]) -> Result<(Vec<&'a str>, u64)> {
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    for argument in arguments {
        if let Some(target) = known.iter().find(|target| target == argument) {
            chosen.push(target.as_str());
        } else if let Ok(number) = argument.parse() {
            seconds = number;
        } else {
            bail!(
                "there is no target {argument}; there are: {}",
                known.join(", ")
            );
        }
    }
    if chosen.is_empty() {
        chosen = known.iter().map(String::as_str).collect();
    }
    Ok((chosen, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["headers", "rows"].map(str::to_owned).to_vec()
    }

    #[test]
    fn without_a_name_every_target_is_run() {
        assert_eq!(
            chosen(&known(), &[]).unwrap(),
            (vec!["headers", "rows"], SECONDS)
        );
        assert_eq!(
            chosen(&known(), &["5"]).unwrap(),
            (vec!["headers", "rows"], 5)
        );
        assert_eq!(chosen(&known(), &["rows", "7"]).unwrap(), (vec!["rows"], 7));
    }

    #[test]
    fn an_unknown_target_is_refused_with_those_that_exist() {
        let refused = chosen(&known(), &["row"]).unwrap_err().to_string();
        assert!(refused.contains("there are: headers, rows"), "{refused}");
    }

    #[test]
    fn every_target_has_a_binary_and_a_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let mut binaries: Vec<_> = manifest["bin"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bin| bin["name"].as_str().unwrap().to_owned())
            .collect();
        binaries.sort();
        assert_eq!(binaries, targets(root).unwrap());
    }
}
