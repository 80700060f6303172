//! Filters as options have them.

use procession_filter::{parse_field_filters, parse_filters, parse_redaction_filters};

#[test]
fn objects_follow_each_other() {
    for (text, count) in [("", 0), (" \n", 0), ("{}", 1), ("{}{}", 2), ("{}\n\n{\"pid\":[1]}\t{} ", 3)] {
        assert_eq!(parse_filters(text).unwrap().len(), count, "{text}");
    }
    let filters =
        parse_filters(r#"{"health_check":true,"event_set":["PROCESS_EXEC",5],"binaryRegex":["x"]}"#).unwrap();
    assert_eq!(filters[0].health_check, Some(true));
    assert_eq!(filters[0].event_set, [1, 5]);
    assert_eq!(filters[0].binary_regex, ["x"]);
}

#[test]
fn fields_are_paths_as_in_proto_files() {
    let expected = ["process.exec_id", "process.environment_variables.Key"];
    for fields in [
        r#""process.exec_id, process.environment_variables.Key""#,
        r#"["process.exec_id","process.environment_variables.Key"]"#,
        r#"{"paths":["process.exec_id","process.environment_variables.Key"]}"#,
    ] {
        let filters = parse_field_filters(&format!(r#"{{"fields":{fields},"action":"EXCLUDE"}}"#)).unwrap();
        assert_eq!(filters[0].fields.as_ref().unwrap().paths, expected);
        assert_eq!(filters[0].action, 1);
    }
    assert_eq!(
        parse_field_filters(r#"{"invert_event_set":false}"#).unwrap()[0].invert_event_set,
        Some(false)
    );
}

#[test]
fn errors_tell_the_line_and_what_was_meant() {
    for (text, expected) in [
        ("{}\n\n {\"pod_regx\":[]}", "line 3: `Filter` has no field `pod_regx`; did you mean `pod_regex`?"),
        ("{}\n{\"pid\":", "line 2"),
        ("{\"pid\":[\"x\"]}", "line 1"),
        ("\n[1]", "line 2: `[1]` is no JSON object"),
        (
            "{\"capabilities\":{\"effectiv\":{}}}",
            "`CapFilter` has no field `effectiv`; did you mean `effective`?",
        ),
        ("{\"event_set\":[\"EXEC\"]}", "line 1"),
        ("{} x", "line 1"),
    ] {
        let error = parse_filters(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = parse_redaction_filters(r#"{"match":[{"pidd":[1]}]}"#).unwrap_err().to_string();
    assert!(error.contains("`Filter` has no field `pidd`; did you mean `pid`?"), "{error}");
    for bad in [r#"{"fields":1}"#, r#"{"fields":[1]}"#, r#"{"fields":{"path":[]}}"#] {
        assert!(parse_field_filters(bad).unwrap_err().to_string().contains("fields"), "{bad}");
    }
}
