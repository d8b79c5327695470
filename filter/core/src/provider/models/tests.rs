use serde_json::Value as Json;

use super::*;

const ENDPOINTS: &[&str] = &["/chat/completions", "/responses"];

fn restricted(body: &str, models: &[&str]) -> String {
    let body = restrict(body.as_bytes(), &|id| models.contains(&id), ENDPOINTS).unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(serde_json::from_str::<Json>(&body).is_ok(), "{body}");
    body
}

#[test]
fn models_that_are_not_allowed_leave_the_list() {
    let list = r#"{ "data": [ {"id":"a","x":1.50} , {"id":"b"}, {"id":"c","\u0064":"\u00e4"} ],"object":"list"}"#;
    let cases: &[(&[&str], &str)] = &[
        (&["a", "b", "c"], list),
        (
            &["a"],
            r#"{ "data": [ {"id":"a","x":1.50} ],"object":"list"}"#,
        ),
        (&["b"], r#"{ "data": [ {"id":"b"} ],"object":"list"}"#),
        (
            &["c"],
            r#"{ "data": [ {"id":"c","\u0064":"\u00e4"} ],"object":"list"}"#,
        ),
        (
            &["a", "c"],
            r#"{ "data": [ {"id":"a","x":1.50} , {"id":"c","\u0064":"\u00e4"} ],"object":"list"}"#,
        ),
        (
            &["a", "b"],
            r#"{ "data": [ {"id":"a","x":1.50} , {"id":"b"} ],"object":"list"}"#,
        ),
        (
            &["b", "c"],
            r#"{ "data": [ {"id":"b"}, {"id":"c","\u0064":"\u00e4"} ],"object":"list"}"#,
        ),
        (&[], r#"{ "data": [  ],"object":"list"}"#),
    ];
    for (models, expected) in cases {
        assert_eq!(&restricted(list, models), expected, "{models:?}");
    }
    assert_eq!(restricted(r#"{"data":[]}"#, &["a"]), r#"{"data":[]}"#);
}

#[test]
fn endpoints_that_cannot_be_read_leave_their_models() {
    let cases = [
        (r#"["/responses","ws:/responses"]"#, r#"["/responses"]"#),
        (r#"["ws:/responses", "/responses"]"#, r#"["/responses"]"#),
        (
            r#"["/chat/completions" , "/v1/messages" , "/responses"]"#,
            r#"["/chat/completions" , "/responses"]"#,
        ),
        (r#"["\/responses"]"#, r#"["\/responses"]"#),
        (r#"[7,["/responses"],{},"/responses"]"#, r#"["/responses"]"#),
        ("[]", "[]"),
        ("null", "null"),
    ];
    for (endpoints, expected) in cases {
        let list = format!(r#"{{"data":[{{"id":"a","supported_endpoints":{endpoints}}}]}}"#);
        let expected = format!(r#"{{"data":[{{"id":"a","supported_endpoints":{expected}}}]}}"#);
        assert_eq!(restricted(&list, &["a"]), expected, "{endpoints}");
    }
}

#[test]
fn a_model_whose_endpoints_are_all_gone_leaves_too() {
    let list = r#"{"data":[{"supported_endpoints":["ws:/responses"],"id":"a"},{"id":"b"},{"id":"b2","supported_endpoints":["/v1/messages","x"]}]}"#;
    assert_eq!(
        restricted(list, &["a", "b", "b2"]),
        r#"{"data":[{"id":"b"}]}"#
    );
}

#[test]
fn entries_without_an_id_leave() {
    let list = r#"{"data":[{"name":"a"},{"id":7},null,"a",["a"],{"id":"a"}]}"#;
    assert_eq!(restricted(list, &["a"]), r#"{"data":[{"id":"a"}]}"#);
}

#[test]
fn what_is_not_a_list_of_models_is_unreadable() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":null}"#,
        r#"{"data":[]"#,
        "3",
        r#"{"data":[],"data":[]}"#,
    ] {
        assert!(
            restrict(body.as_bytes(), &|_| true, ENDPOINTS).is_err(),
            "{body}"
        );
    }
}
