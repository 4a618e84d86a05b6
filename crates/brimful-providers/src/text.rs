//! Text that a server wrote, made safe to print on one line of a terminal.

use std::iter::Peekable;
use std::str::Chars;

/// `text` on one line, without escape sequences, control characters and invisible characters that
/// reorder or hide text, at most `max_chars` characters long.
///
/// White space of any kind and length becomes one space. A cut is marked by a final `…`, which is
/// counted.
#[must_use]
pub fn strip_control(text: &str, max_chars: usize) -> String {
    // What servers send as ids and codes is clean most often.
    if text.len() <= max_chars && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return text.to_owned();
    }
    let mut line = Line {
        text: String::with_capacity(text.len().min(max_chars)),
        chars: 0,
    };
    let mut pending_space = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            _ if c.is_whitespace() => pending_space = line.chars > 0,
            _ if c.is_control() || is_deceptive(c) => {}
            _ => {
                if std::mem::take(&mut pending_space) && !line.push(' ', max_chars) {
                    break;
                }
                if !line.push(c, max_chars) {
                    break;
                }
            }
        }
    }
    line.text
}

struct Line {
    text: String,
    chars: usize,
}

impl Line {
    /// False when the line was full: its last character has then become `…`.
    fn push(&mut self, c: char, max_chars: usize) -> bool {
        if self.chars < max_chars {
            self.text.push(c);
            self.chars += 1;
            return true;
        }
        if self.text.pop().is_some() {
            self.text.truncate(self.text.trim_end().len());
            self.text.push('…');
        }
        false
    }
}

/// Bidirectional controls, and characters that show nothing and so can hide text in text. The
/// joiners U+200C and U+200D stay: scripts and emoji need them, and they reorder nothing.
const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What follows ESC, by ECMA-48: a control sequence, a control string, or intermediates and one
/// final character.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
    }
}

fn skip_csi(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// A control string lasts to its terminator, BEL or ST. Any other control character ends it too,
/// as on real terminals, which also keeps this linear. One that nothing ends was no control
/// string: only its introducer goes, so that it cannot swallow the rest of the text.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    let mut ahead = chars.clone();
    while let Some(c) = ahead.next() {
        if c.is_control() {
            if c == '\u{1b}' && ahead.next_if_eq(&'\\').is_none() {
                // Another escape sequence begins: leave its ESC to the caller.
                while chars.next_if(|c| *c != '\u{1b}').is_some() {}
            } else {
                *chars = ahead;
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::strip_control;

    #[test]
    fn plain_text_is_left_alone() {
        assert_eq!(
            strip_control("Größe: 5 µs, 日本 👩‍🚀", 80),
            "Größe: 5 µs, 日本 👩‍🚀"
        );
    }

    #[test]
    fn escape_sequences_vanish_with_their_parameters() {
        for (text, expected) in [
            ("a\u{1b}[31;1mb\u{1b}[0mc", "abc"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            (
                "a\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\b",
                "alinkb",
            ),
            ("a\u{9b}2Jb", "ab"),
            ("a\u{9d}52;c;AAAA\u{9c}b", "ab"),
            ("a\u{1b}P+q544e\u{1b}\\b", "ab"),
            ("a\u{1b}(0b", "ab"),
            ("a\u{1b}cb", "ab"),
            ("a\u{1b}", "a"),
            ("a\u{1b}]unfinished", "aunfinished"),
            ("a\u{1b}]x\u{1b}[31mb", "ab"),
        ] {
            assert_eq!(strip_control(text, 80), expected, "{text:?}");
        }
    }

    #[test]
    fn line_breaks_become_one_space_and_other_controls_vanish() {
        assert_eq!(
            strip_control(" a\r\n\tb\u{2028}c\0d\u{8}\u{7f} ", 80),
            "a b cd"
        );
    }

    #[test]
    fn text_cannot_be_reordered_or_hidden() {
        assert_eq!(
            strip_control("a\u{202e}b\u{2066}c\u{200f}\u{feff}\u{e0041}d", 80),
            "abcd"
        );
    }

    #[test]
    fn a_cut_is_marked_and_counted() {
        assert_eq!(strip_control("abcdef", 6), "abcdef");
        assert_eq!(strip_control("abcdefg", 6), "abcde…");
        assert_eq!(strip_control("abcd efg", 6), "abcd…");
        assert_eq!(strip_control("a\n\n", 1), "a");
        assert_eq!(strip_control("abc", 0), "");
    }

    #[test]
    fn a_megabyte_of_unfinished_sequences_takes_linear_time() {
        let text = "\u{1b}]\u{9d}x".repeat(250_000);
        assert!(strip_control(&text, 10).chars().count() <= 10);
    }

    proptest! {
        #[test]
        fn nothing_that_controls_a_terminal_survives(
            text in "([\\x1b\\[\\]0-9;mPX\\\\a\u{7}\u{9b}\u{9d}\u{9c}\u{202e}\n]|\\PC|\\pC){0,60}",
            max_chars in 0_usize..40,
        ) {
            let line = strip_control(&text, max_chars);
            prop_assert!(line.chars().count() <= max_chars);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(line.find('\u{202e}'), None);
            prop_assert_eq!(line.trim(), line.as_str());
            prop_assert_eq!(strip_control(&line, max_chars), line);
        }
    }
}
