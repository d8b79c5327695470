use std::sync::{Arc as Shared, Mutex};

use axum::{Json, Router, extract::State, http::Uri};

use super::*;
use crate::{Auth, Endpoint};

type Calls = Shared<Mutex<Vec<(String, Value)>>>;

/// Answers calls one after the other with what it was given.
async fn api(answers: Vec<Value>) -> (Client, Calls) {
    // Another test may have been faster.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let calls = Calls::default();
    let state = (Shared::clone(&calls), Shared::new(Mutex::new(answers)));
    let answer = async |State((calls, answers)): State<(Calls, Shared<Mutex<Vec<Value>>>)>,
                        uri: Uri,
                        body: String| {
        let body = serde_json::from_str(&body).unwrap_or_default();
        calls.lock().unwrap().push((uri.to_string(), body));
        Json(answers.lock().unwrap().remove(0))
    };
    let router = Router::new().fallback(answer).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let endpoint = Endpoint::new(url.parse().unwrap(), false).unwrap();
    let client = Client::new(endpoint, Auth::anonymous(), "p".into(), Some("EU".into())).unwrap();
    (client, calls)
}

fn page(rows: &[&str], token: Option<&str>) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|text| json!({ "f": [{ "v": text }, { "v": null }] }))
        .collect();
    json!({
        "jobReference": { "jobId": "j" }, "jobComplete": true, "pageToken": token,
        "schema": { "fields": [{ "name": "a" }, { "name": "b" }] }, "rows": rows,
    })
}

#[tokio::test]
async fn rows_come_page_by_page() {
    let waiting = json!({ "jobReference": { "jobId": "j" }, "jobComplete": false });
    let answers = vec![
        waiting,
        page(&["1", "2"], Some("t1")),
        page(&[], Some("t2")),
        page(&["3"], None),
    ];
    let (client, calls) = api(answers).await;
    let parameters = [Parameter::Int64("n", 7), Parameter::String("s", "x'y")];
    let mut rows = client
        .query("count", "SELECT …", &parameters, 2)
        .await
        .unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        assert_eq!((row.text("b"), row.text("c")), (None, None));
        found.push(row.int64("a").unwrap());
    }
    assert_eq!(found, [1, 2, 3]);
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].0, "/bigquery/v2/projects/p/queries");
    assert_eq!(calls[0].1["location"], "EU");
    assert_eq!(
        calls[0].1["queryParameters"][1]["parameterValue"]["value"],
        "x'y"
    );
    assert_eq!(
        calls[1].0,
        "/bigquery/v2/projects/p/queries/j?location=EU&maxResults=2"
    );
    assert!(calls[2].0.contains("pageToken=t1") && calls[3].0.contains("pageToken=t2"));
}

#[tokio::test]
async fn an_answer_without_columns_is_none() {
    let answer = json!({ "jobComplete": true, "errors": [{ "message": "no such column" }] });
    let (client, _) = api(vec![answer]).await;
    let asked = client.query("count", "SELECT …", &[], 2).await;
    assert!(matches!(asked, Err(Error::Strange("count"))));
}
