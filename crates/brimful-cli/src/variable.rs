//! Environment variables that hold keys.

/// What to say when `flag` names a variable that is not there. A name is shown only in capitals, as
/// such variables are usually written: whoever passes the key itself must not find it in a log.
pub(crate) fn unset(flag: &str, name: &str) -> String {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(is_name) {
        return format!("{flag} {name}: the variable is not set");
    }
    format!("{flag} takes the name of an environment variable, and none of that name is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_passed_by_mistake_is_not_shown() {
        for key in ["sk-secret", "gsk_abcDEF", "AKIAabc", ""] {
            let said = unset("--api-key-env", key);
            assert!(key.is_empty() || !said.contains(key), "{said}");
        }
        assert!(unset("--api-key-env", "MY_KEY_2").contains("MY_KEY_2"));
    }
}
