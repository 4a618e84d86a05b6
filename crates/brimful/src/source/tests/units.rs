use super::*;

fn counted(options: SourceOptions, expressions: &[&str]) -> SourceOptions {
    let units = expressions.iter().zip(["images", "pages"]);
    let units = units.map(|(expression, name)| UnitExpression {
        name: name.to_owned(),
        expression: (*expression).to_owned(),
    });
    SourceOptions {
        units: units.collect(),
        ..options
    }
}

fn custom(options: SourceOptions, content: impl AsRef<[u8]>) -> Vec<[u64; 2]> {
    let items = read(options, content);
    let costs = items.iter().map(|item| request(item).custom);
    costs.map(|[first, second, ..]| [first, second]).collect()
}

#[test]
fn custom_units_are_counted_by_expressions_over_the_row() {
    let expressions = ["n", "text | length // 4 + index"];
    let options = counted(prompted("x.csv", "{{ text }}"), &expressions);
    let costs = custom(options, "text,n,unused\nabcdefgh,77,x\nabcd,0,y\n");
    assert_eq!(costs, [[77, 3], [0, 3]]);
    let lines = [
        batch_line("a", "x").replacen("\"n\":1", "\"n\":3", 1),
        batch_line("b", "x").replacen(",\"n\":1", "", 1),
    ];
    let expressions = ["body.n | default(1)", "body.messages | length"];
    let costs = custom(counted(batch_options(), &expressions), lines.join("\n"));
    assert_eq!(costs, [[3, 1], [1, 1]]);
    let options = SourceOptions {
        model: Some("m".into()),
        first: Some(2),
        ..counted(prompted("", "x"), &["index * 10"])
    };
    let options = SourceOptions {
        input: Input::Repeat(2),
        ..options
    };
    let costs: Vec<_> = Source::open(options).unwrap().map(Result::unwrap).collect();
    assert_eq!(request(&costs[1]).custom[0], 20);
}

#[test]
fn a_cost_that_is_no_whole_number_makes_a_bad_row_that_names_limit_and_value() {
    let content = "text,n\na,-1\nb,1.5\nc,\nd,many\ne,99999999999999999999\nf,2\n";
    let items = read(counted(prompted("x.csv", "{{ text }}"), &["n"]), content);
    for (item, value) in items.iter().zip(["`-1`", "`1.5`", "``", "`many`", "`9999"]) {
        let reason = &bad(item).reason;
        assert!(
            reason.contains("limit `images` counts `n`") && reason.contains(value),
            "{reason}"
        );
    }
    assert_eq!(request(&items[5]).custom[0], 2);
    let items = read(counted(batch_options(), &["body.nn"]), batch_line("a", "x"));
    assert!(
        bad(&items[0]).reason.contains("undefined"),
        "{:?}",
        items[0]
    );
}

#[test]
fn an_expression_that_fails_every_row_is_refused_before_the_start() {
    let refused = |expression: &str| {
        let options = counted(prompted("x.csv", "{{ text }}"), &[expression]);
        refusal(options, "text,n\na,1\n")
    };
    for (expression, told) in [
        ("n +", "--limit images"),
        ("m", "`m`"),
        ("n }} 1 {{ n", "no braces"),
        ("{{ n }}", "no braces"),
        ("n | nofilter", "nofilter"),
    ] {
        let reason = refused(expression);
        assert!(reason.contains(told), "{expression}: {reason}");
    }
}

#[test]
fn requests_go_in_the_lane_of_their_model() {
    let groups = ["big*", "small"].map(|group| group.parse().unwrap());
    let lanes = Arc::new(ModelLanes::new(groups).unwrap());
    let line = |id: &str, model: &str| {
        let line = batch_line(id, "x");
        let model = format!("\"model\":\"{model}\"");
        let changed = line.replacen("\"model\":\"m\"", &model, 1);
        assert!(changed.contains(&model), "{line}");
        changed
    };
    let options = SourceOptions {
        lanes: Arc::clone(&lanes),
        ..batch_options()
    };
    let models = ["big-1", "small", "other", "big-2"];
    let content = models.map(|model| line(model, model)).join("\n");
    let items = read(options, content);
    for (item, model) in items.iter().zip(models) {
        assert_eq!(request(item).lane.0, lanes.lane_of(Some(model)), "{model}");
    }
    assert_eq!(request(&items[0]).lane, request(&items[3]).lane);
    assert_ne!(request(&items[0]).lane, request(&items[1]).lane);
}
