//! Writing JSON: texts, numbers, layout. Answers are written thousands of times a second, and
//! `format!` costs more than all the rest of them.

/// Appends `text` to an open JSON string.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    if !text
        .bytes()
        .any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, u64::from(byte), 2);
            }
            _ => out.push(byte),
        }
    }
}

/// Appends the last `digits` hexadecimal digits of `number`.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * place) & 0xF) as usize]);
    }
}

/// Appends `number`.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// `compact` with a line for each element, indented by two spaces.
pub(crate) fn spread(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (place, &byte) in compact.iter().enumerate() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(compact.get(place + 1), Some(b'}' | b']')) {
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    new_line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was() {
        for text in ["", "plain", "a\"b\\c\n\u{1f}\u{7f}\u{9b}é\u{1f600}"] {
            let mut json = b"\"".to_vec();
            push_text(&mut json, text);
            json.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn numbers_read_as_formatted_ones_do() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            out.push(b' ');
            push_hex(&mut out, number, 16);
            assert_eq!(out, format!("{number} {number:016x}").into_bytes());
        }
    }

    #[test]
    fn only_the_layout_changes() {
        let compact = r#"{"a":[1,{"b":"x,{}:\"\\"}],"e":{},"l":[],"n":null}"#;
        let pretty = String::from_utf8(spread(compact.as_bytes())).unwrap();
        let value: serde_json::Value = serde_json::from_str(compact).unwrap();
        assert_eq!(pretty, format!("{value:#}\n"));
    }
}
