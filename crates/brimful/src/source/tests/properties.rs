//! What holds for any input.

use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"{\"a\":".to_vec()),
        Just(b"\"}".to_vec()),
        Just(b",\"".to_vec()),
        Just(b"{\"custom_id\":\"i\",\"method\":\"POST\",\"url\":\"/\",\"body\":{}}".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_lose_no_line(content in bytes(), max in 1..60_usize) {
        let lines = content.split(|&byte| byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        for format in [Format::Text, Format::Jsonl, Format::Batch] {
            let mut options = match format {
                Format::Batch => batch_options(),
                _ => prompted("x", "{{ row }}"),
            };
            options.format = Some(format);
            options.line_max_bytes = max;
            // A byte order mark or another magic number may be at the start.
            if let Ok(source) = open(options, &content) {
                let rows = source.map(Result::unwrap).count();
                let mark = usize::from(content.starts_with(b"\xEF\xBB\xBF"));
                prop_assert!(rows >= lines - mark, "{rows} rows of {lines} lines");
            }
        }
        for name in ["x.csv", "x.tsv", "x"] {
            let mut options = prompted(name, "{{ row }}");
            options.line_max_bytes = max;
            if let Ok(source) = open(options, &content) {
                prop_assert!(source.map(Result::unwrap).count() <= content.len());
            }
        }
    }

    #[test]
    fn a_csv_of_any_cells_comes_back(
        cells in prop::collection::vec(("[a\",\r\n é]{1,8}", "[a\"',\n{}%]{0,8}"), 1..8),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["a", "b"]).unwrap();
        for (a, b) in &cells {
            writer.write_record([a, b]).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let items = read(prompted("x.csv", "{{ a }}|{{ b }}"), content);
        prop_assert_eq!(items.len(), cells.len());
        for (item, (a, b)) in items.iter().zip(&cells) {
            prop_assert_eq!(prompt_of(item), format!("{a}|{b}"));
        }
    }

    #[test]
    fn a_cell_can_neither_break_nor_extend_a_body(cell in "[\"\\\\{}%#a:,\n\u{0}é]{0,20}") {
        let template = r#"{"a":{"{{ x }}":"<{{ x }}>"},"b":["{{ x }}"],"c":"{{ x | tojson }}"}"#;
        let options = SourceOptions { body_template: Some(template.into()), ..named("x.jsonl") };
        let items = read(options, json!({"x": cell}).to_string());
        let expected = json!({
            "a": {"{{ x }}": format!("<{cell}>")}, "b": [cell], "c": cell, "model": "m"
        });
        prop_assert_eq!(body(&items[0]), expected);
    }
}
