//! P9: every exchange leaves a row, and no secret is in it.

use std::time::Duration;

use e2e::{
    caller::Http,
    issuer::Forgery,
    upstream::{Answer, End},
    wait,
    world::World,
};
use serde_json::{Value, json};

/// Invented secrets, planted where a client, a model and an odd caller would put them.
const SENT: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");
const WRITTEN: &str = concat!("glpat-", "Qm4Zt7Wx1Ky9Rb3Ln6Vd");
const IN_PATH: &str = concat!("npm_", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6");

#[tokio::test]
async fn every_kind_of_exchange_leaves_one_row() {
    let world = World::with_audit().await;
    let ana = world
        .caller("ana")
        .with_header("x-request-id", "req-1")
        .with_header("x-interaction-id", "turn-1")
        .with_header("x-client-session-id", "session-1")
        .with_header("x-agent-task-id", "task-1");
    world.upstream().script(Answer::text("Here you are."));
    ana.chat(&format!("explain {SENT} ")).await.unwrap();
    ana.ghost("def add(a, b):\n").await.unwrap();
    ana.raw("POST", "/chat/completions", &[], "{\"model\":")
        .await
        .unwrap();
    ana.post("/auto", &json!({})).await.unwrap();
    world.stranger(Http::Two).chat("who am I?").await.unwrap();
    world.stranger(Http::Two).get("/telemetry").await.unwrap();

    let sql = "SELECT * FROM copilot_audit_views.exchanges ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() >= 6).await;
    assert_eq!(rows.len(), 6);
    let of = |row: usize, column: &str| rows[row].get(column).cloned().unwrap_or(Value::Null);
    let decisions: Vec<Value> = (0..6).map(|row| of(row, "decision")).collect();
    assert_eq!(
        json!(decisions),
        json!([
            "mask",
            "allow",
            "unreadable",
            "deny",
            "unidentified",
            "drop"
        ])
    );
    let endpoints: Vec<Value> = (0..6).map(|row| of(row, "endpoint")).collect();
    assert_eq!(
        json!(endpoints),
        json!([
            "chat",
            "completions",
            "chat",
            "unknown",
            "chat",
            "telemetry"
        ])
    );
    for (column, value) in [
        ("person", "ana"),
        ("role", "engineer"),
        ("deployment", "demo"),
        ("model", "gpt-4.1"),
        ("method", "POST"),
        ("path", "/chat/completions"),
        ("request_id", "req-1"),
        ("interaction_id", "turn-1"),
        ("session_id", "session-1"),
        ("agent_task_id", "task-1"),
        ("ended", "complete"),
        ("rule", "secrets"),
    ] {
        assert_eq!(of(0, column), value, "{column}");
    }
    let asked = of(0, "request_content").to_string();
    assert!(asked.contains("explain MASKED_GITHUB_PAT_"), "{asked}");
    assert!(
        of(0, "response_content")
            .to_string()
            .contains("Here you are.")
    );
}

#[tokio::test]
async fn what_was_said_before_is_recorded_once_and_can_be_read_again() {
    let world = World::with_audit().await;
    let ana = world.caller("ana");
    let first = format!(
        "explain \"{SENT}\"\n{}",
        "and what is around it; ".repeat(10)
    );
    world.upstream().script(Answer::text("Here you are."));
    ana.chat(&first).await.unwrap();
    let rows = "SELECT * FROM copilot_audit_views.exchanges ORDER BY seq";
    world.rows_when(rows, |rows| !rows.is_empty()).await;
    world.upstream().script(Answer::text("Here you are."));
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let turns = [
        turn("user", &first),
        turn("assistant", "Here you are."),
        turn("user", "and now in short"),
    ];
    let body = json!({ "model": "gpt-4.1", "messages": turns });
    ana.post("/chat/completions", &body).await.unwrap();

    let rows = world.rows_when(rows, |rows| rows.len() >= 2).await;
    let content = |row: usize| rows[row]["request_content"].as_str().unwrap_or_default();
    assert!(content(0).contains("and what is around it; and what"));
    assert!(content(1).contains("and now in short"));
    assert!(
        !content(1).contains("and what is around it"),
        "{}",
        content(1)
    );
    let sql = "SELECT * FROM copilot_audit_views.repeats";
    let repeats = world.rows_when(sql, |rows| !rows.is_empty()).await;
    assert_eq!(repeats.len(), 1);
    let of = |column: &str| repeats[0].get(column).cloned().unwrap_or(Value::Null);
    assert_eq!(of("decision_id"), rows[1]["decision_id"]);
    assert_eq!(of("told_decision_id"), rows[0]["decision_id"]);
    assert!(content(1).contains(&format!("\"{}\"", of("reference").as_str().unwrap())));
    let text = of("text").to_string();
    let told: Value = serde_json::from_str(content(0)).unwrap();
    let told = told["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert_eq!(
        Value::String(told.trim_matches('"').to_owned()).to_string(),
        text
    );
    assert!(
        text.contains("MASKED_GITHUB_PAT_") && !text.contains(SENT),
        "{text}"
    );
}

#[tokio::test]
async fn findings_are_rows_without_the_secret() {
    let world = World::with_audit().await;
    world.upstream().script(Answer::parts(
        WRITTEN.chars().map(String::from).chain([" ok".to_owned()]),
    ));
    world
        .caller("ana")
        .chat(&format!("explain {SENT} "))
        .await
        .unwrap();
    let sql = "SELECT * FROM copilot_audit_views.findings ORDER BY direction";
    let rows = world.rows_when(sql, |rows| rows.len() >= 2).await;
    let of = |row: usize, column: &str| rows[row].get(column).cloned().unwrap_or(Value::Null);
    assert_eq!(
        (of(0, "direction"), of(0, "detector")),
        (json!("request"), json!("github-pat"))
    );
    assert_eq!(
        (of(1, "direction"), of(1, "detector")),
        (json!("response"), json!("gitlab-pat"))
    );
    assert!(of(0, "fingerprint").as_str().unwrap().starts_with("f1:"));
}

#[tokio::test]
async fn planted_secrets_are_in_no_artefact() {
    let world = World::with_audit().await;
    world
        .upstream()
        .script(Answer::parts([format!("take {WRITTEN} and go")]));
    let ana = world
        .caller("ana")
        .with_header("x-interaction-id", SENT)
        .with_header("user-agent", SENT);
    ana.chat(&format!("explain {SENT} ")).await.unwrap();
    ana.ghost(&format!("token = \"{SENT}\"\n")).await.unwrap();
    ana.post(
        &format!("/odd/{IN_PATH}?q={IN_PATH}"),
        &json!({ "a": SENT }),
    )
    .await
    .unwrap();
    ana.raw(
        "POST",
        "/chat/completions",
        &[],
        format!("{{\"a\":\"{SENT}"),
    )
    .await
    .unwrap();
    let sql = "SELECT * FROM copilot_audit_views.exchanges";
    world.rows_when(sql, |rows| rows.len() >= 4).await;
    for secret in [
        SENT,
        WRITTEN,
        IN_PATH,
        ana.token.as_str(),
        e2e::world::CREDENTIAL,
    ] {
        let leaks = world.leaks(secret).await;
        assert!(leaks.is_empty(), "{} bytes in {leaks:?}", secret.len());
    }
    let answer = ana.chat("again").await.unwrap();
    assert!(!answer.body_text().contains(WRITTEN));
}

#[tokio::test]
async fn where_nobody_says_what_is_durable_a_sink_that_is_down_leaves_a_gap_that_shows() {
    let mut world = World::builder()
        .audit()
        .configure(json!({ "audit": { "cluster": "" } }))
        .start()
        .await
        .unwrap();
    let ana = world.caller("ana");
    ana.chat("before").await.unwrap();
    let seen = "SELECT seq FROM copilot_audit_views.exchanges";
    world.rows_when(seen, |rows| !rows.is_empty()).await;
    world.sink().process().kill();
    assert_eq!(ana.chat("during").await.unwrap().status, 200);
    world.restart_sink().await.unwrap();
    // Envoy delivers or loses what was asked while it connects again: either way, the first record
    // that arrives shows what is missing before it.
    let mut sent = 2;
    wait::until("a record after the restart", async || {
        ana.chat("after").await.unwrap();
        sent += 1;
        let rows = world.query(seen).await.map_or(0, |table| table.rows.len());
        (rows > 1).then_some(())
    })
    .await
    .unwrap();
    let count = "SELECT (SELECT COUNT(*) FROM copilot_audit_views.exchanges) AS seen, \
                 (SELECT COALESCE(SUM(missing), 0) FROM copilot_audit_views.gaps) AS missing";
    world
        .rows_when(count, |rows| {
            let number = |column: &str| rows[0].get(column).and_then(Value::as_i64).unwrap_or(0);
            number("seen") + number("missing") == sent
        })
        .await;
}

#[tokio::test]
async fn what_envoy_refuses_before_the_filter_leaves_a_bare_row() {
    let world = World::with_audit().await;
    let caller = world.caller("ana");
    // Escaped slashes are refused by Envoy itself.
    let answer = caller
        .raw("POST", "/chat%2Fcompletions", &[], "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    let sql = "SELECT kind, status FROM copilot_audit.records WHERE kind = 'bare'";
    let rows = world.rows_when(sql, |rows| !rows.is_empty()).await;
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_is_recorded_as_such() {
    let world = World::with_audit().await;
    let token = world.caller("ana").token;
    let endless = Answer::text("on and on ").end(End::Never);
    world
        .upstream()
        .script(endless.pause(Duration::from_millis(5)));
    for http in [Http::One, Http::Two] {
        let caller = world.stranger(http).with_token(token.clone());
        let left = tokio::time::timeout(Duration::from_millis(500), caller.chat("go")).await;
        assert!(left.is_err(), "the answer has no end");
    }
    let sql = "SELECT ended, decision FROM copilot_audit_views.exchanges WHERE ended = 'aborted'";
    let rows = world.rows_when(sql, |rows| rows.len() == 2).await;
    assert_eq!(rows[0].get("decision"), Some(&json!("allow")));
}

#[tokio::test]
async fn every_refusal_has_its_row_with_its_reason() {
    let limits = json!({ "limits": { "max_request": "64KiB" } });
    let world = World::builder()
        .configure(limits)
        .audit()
        .start()
        .await
        .unwrap();
    let ana = world.caller("ana");
    let expired = world.issuer().token("ana").expires_in(-120).sign();
    let foreign = world
        .issuer()
        .token("ana")
        .forged(Forgery::ForeignKey)
        .sign();
    let chat = "/chat/completions";
    let gzip = [("content-encoding", "gzip")];
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    ana.raw("POST", chat, &gzip, vec![0x1f, 0x8b, 8])
        .await
        .unwrap();
    ana.chat(&"x".repeat(70_000)).await.unwrap();
    ana.raw("POST", chat, &[], vec![b'{', 0xff, b'}'])
        .await
        .unwrap();
    ana.with_token(expired).chat("x").await.unwrap();
    ana.with_token(foreign).chat("x").await.unwrap();
    let one = world.stranger(Http::One).with_token(ana.token.clone());
    one.raw("GET", "/responses", &upgrade, "").await.unwrap();
    world
        .upstream()
        .script(Answer::redirect("https://evil.example/"));
    ana.chat("x").await.unwrap();
    world.upstream().down().await;
    ana.chat("x").await.unwrap();

    let sql = "SELECT decision, reason, status FROM copilot_audit_views.exchanges ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() >= 8).await;
    let row = |row: &e2e::bigquery::Row| {
        let value = |column: &str| row.get(column).cloned().unwrap_or_default();
        (value("decision"), value("reason"), value("status"))
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let expected = [
        ("unreadable", "encoding", 400),
        ("unreadable", "too_large", 400),
        ("unreadable", "malformed", 400),
        ("unidentified", "expired", 401),
        ("unidentified", "token", 401),
        ("deny", "upgrade", 403),
        ("unavailable", "redirect", 400),
        ("unavailable", "upstream", 503),
    ];
    let expected = expected.map(|(a, b, c)| (json!(a), json!(b), json!(c)));
    assert_eq!(rows, expected);
}
