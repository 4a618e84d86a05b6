//! What the first request of an input says of the others.

use brimful_providers::dialect::{Json, model_of};

use super::{Input, Source, SourceOptions};
use crate::request::Item;

/// The model that the first request of a file asks for. `None` where there is none, or where the
/// input is no file and could be read only once.
#[must_use]
pub fn first_model(options: &SourceOptions) -> Option<String> {
    let Input::Path(path) = &options.input else {
        return options.model.clone();
    };
    if options.model.is_some() || !path.is_file() {
        return options.model.clone();
    }
    let peeked = SourceOptions {
        spool: None,
        keep_columns: false,
        ..options.clone()
    };
    let mut items = Source::open(peeked).ok()?.filter_map(Result::ok);
    let first = items.find_map(|item| match item {
        Item::Request(request) => Some(request),
        Item::Bad(_) => None,
    })?;
    let body = Json::parse(str::from_utf8(&first.body).ok()?).ok()?;
    model_of(&first.path, &body).map(|model| model.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_file_is_that_of_its_first_good_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        let line = |model: &str| {
            format!(
                "{{\"custom_id\":\"{model}\",\"method\":\"POST\",\"url\":\"/v1/x\",\
                 \"body\":{{\"model\":\"{model}\"}}}}\n"
            )
        };
        let bad = line("bad").replacen("POST", "GET", 1);
        std::fs::write(&path, [bad, line("first"), line("second")].concat()).unwrap();
        let mut options = SourceOptions::new(Input::Path(path.clone()));
        assert_eq!(first_model(&options).as_deref(), Some("first"));
        options.model = Some("said".to_owned());
        assert_eq!(first_model(&options).as_deref(), Some("said"));
        let stdin = SourceOptions::new(Input::Stdin);
        assert_eq!(first_model(&stdin), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(first_model(&SourceOptions::new(Input::Path(path))), None);
    }
}
