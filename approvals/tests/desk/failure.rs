//! Kills, locks, full disks, tampering, and ends.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use contract::approval::{Answer, ApprovalState};
use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    api::futures,
    world::{BO_TOKEN, CY_TOKEN, DESK_TOKEN, Desk, ISSUER, ask, program, read},
};

/// A program's exit code and what it said.
fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn check(desk: &Desk) -> (Option<i32>, String) {
    end(program(desk.folder(), desk.address).arg("--check"))
}

async fn try_ask(desk: &Desk, item: u8, content: &str) -> Result<Answer, (StatusCode, String)> {
    let mut asked = ask(&[item]);
    asked.person = format!("{ISSUER}#{item}");
    content.clone_into(&mut asked.masked_content);
    let body = serde_json::to_value(asked).unwrap();
    read(
        desk.post("/v1/approvals", DESK_TOKEN, &body)
            .send()
            .await
            .unwrap(),
    )
    .await
}

/// Asks with content until the database takes no more; what it has taken.
async fn fill(desk: &Desk) -> Vec<Answer> {
    let content = "x".repeat(60_000);
    let mut taken = Vec::new();
    for item in 0..=255 {
        match try_ask(desk, item, &content).await {
            Ok(answer) => taken.push(answer),
            Err((status, code)) => {
                assert_eq!((status.as_u16(), code.as_str()), (503, "unavailable"));
                return taken;
            }
        }
    }
    panic!("the database is larger than it may be");
}

#[tokio::test]
async fn p7_a_kill_loses_no_grant_and_makes_none() {
    let mut desk = Desk::start().await;
    // the kill comes when so many decisions have been answered
    for (round, answers) in [(0, 1), (1, 9), (2, 20)] {
        let mut known: Vec<(String, ApprovalState)> = Vec::new();
        let items: Vec<u8> = (0..30).map(|item| round * 30 + item).collect();
        let asks: Vec<_> = items.iter().map(|item| ask(&[*item])).collect();
        let pending = futures(asks.iter().map(|ask| desk.ask(ask))).await;
        let answered = AtomicUsize::new(0);
        let pid = desk.id();
        // three at a time decide one after the other
        let deciding = futures((0..3).map(async |start| {
            let mut decided = Vec::new();
            for (place, answer) in pending.iter().enumerate().skip(start).step_by(3) {
                let path = format!("/v1/approvals/{}/decision", answer.id);
                let verdict = if place % 2 == 0 { "grant" } else { "refuse" };
                let body = json!({"verdict": verdict, "reason": "because", "version": 1});
                let sent = desk.post(&path, BO_TOKEN, &body).send().await;
                let good = sent.is_ok_and(|sent| sent.status() == 200);
                if good && answered.fetch_add(1, Ordering::SeqCst) + 1 == answers {
                    Desk::kill_process(pid);
                }
                decided.push((place, answer.id.clone(), good.then_some(verdict)));
            }
            decided
        }));
        let decided: Vec<_> = deciding.await.into_iter().flatten().collect();
        let answered = answered.into_inner();
        assert!((answers..30).contains(&answered), "{answered}");
        desk.kill();
        desk.again().await;
        for (place, id, verdict) in decided {
            let state = desk.look(&id, 0).await.state;
            match verdict {
                Some("grant") => assert_eq!(state, ApprovalState::Granted),
                Some(_) => assert_eq!(state, ApprovalState::Refused),
                None if place % 2 == 0 => {
                    assert!(matches!(
                        state,
                        ApprovalState::Granted | ApprovalState::Pending
                    ));
                }
                None => assert!(matches!(
                    state,
                    ApprovalState::Refused | ApprovalState::Pending
                )),
            }
            known.push((id, state));
        }
        desk.kill();
        desk.again().await;
        for (id, state) in known {
            assert_eq!(desk.look(&id, 0).await.state, state);
        }
    }
    assert_eq!(check(&desk).0, Some(0));
}

#[tokio::test]
async fn a_lock_of_somebody_else_is_an_error_of_that_moment() {
    let desk = Desk::start().await;
    let pending = desk.ask(&ask(&[3])).await;
    let other = Connection::open(desk.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let path = format!("/v1/approvals/{}/decision", pending.id);
    let body = json!({"verdict": "grant", "version": 1});
    let refused = desk.post(&path, BO_TOKEN, &body).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, code) = read::<Value>(refused).await.unwrap_err();
    assert_eq!((status.as_u16(), code.as_str()), (503, "unavailable"));
    let ready = desk.get("/readyz", "").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        desk.look(&pending.id, 0).await.state,
        ApprovalState::Pending
    );
    desk.grant(&pending).await;
    assert_eq!(desk.get("/readyz", "").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn p7_what_does_not_fit_is_refused_and_nothing_is_granted_by_half() {
    let mut desk = Desk::with(&["--max-bytes", "1048576"]).await;
    let taken = fill(&desk).await;
    assert!(taken.len() > 5, "{}", taken.len());
    let mut granted = Vec::new();
    for answer in &taken {
        match desk.decide(answer, BO_TOKEN, "grant").await {
            Ok(_) => granted.push(&answer.id),
            Err((status, _)) => assert_eq!(status.as_u16(), 503),
        }
    }
    desk.kill();
    desk.again().await;
    for answer in &taken {
        let path = format!("/v1/approvals/{}", answer.id);
        let seen: Value = crate::world::good(desk.get(&path, CY_TOKEN).send().await.unwrap()).await;
        let expected = if granted.contains(&&answer.id) {
            "granted"
        } else {
            "pending"
        };
        assert_eq!(seen["state"], expected);
    }
    assert_eq!(desk.stop(), Some(0));
    assert_eq!(check(&desk).0, Some(0));
}

#[tokio::test]
async fn rows_of_the_history_are_neither_changed_nor_taken_away() {
    let mut desk = Desk::start().await;
    desk.grant(&desk.ask(&ask(&[3])).await).await;
    desk.stop();
    let database = Connection::open(desk.database()).unwrap();
    let attempts = [
        "UPDATE history SET who = 'x'",
        "UPDATE history SET event = 'refused' WHERE event = 'granted'",
        "DELETE FROM history WHERE event = 'granted'",
        "DELETE FROM approvals",
        "UPDATE approvals SET person = 'x'",
        "UPDATE approvals SET content = 'x'",
        "DELETE FROM items",
        "INSERT INTO history SELECT number + 2, at, approval, event, who, exchange, note, state, ends_at, hash
         FROM history ORDER BY number DESC LIMIT 1",
        "INSERT OR REPLACE INTO history SELECT 1, at, approval, event, who, exchange, note, state, ends_at, hash
         FROM history ORDER BY number DESC LIMIT 1",
    ];
    for sql in attempts {
        assert!(database.execute_batch(sql).is_err(), "{sql}");
    }
    let erase = "UPDATE approvals SET content = NULL";
    database.execute_batch(erase).unwrap();
    assert_eq!(check(&desk).0, Some(0), "erased content leaves its digest");
}

#[tokio::test]
async fn p7_who_edits_the_file_is_found_and_the_desk_does_not_start() {
    let mut desk = Desk::start().await;
    desk.grant(&desk.ask(&ask(&[3])).await).await;
    desk.ask(&ask(&[4])).await;
    assert_eq!(desk.stop(), Some(0));
    assert_eq!(check(&desk).0, Some(0));
    let whole = std::fs::read(desk.database()).unwrap();
    let edits = [
        (
            "a grant that nobody gave",
            "UPDATE approvals SET state = 'granted' WHERE state = 'pending'",
        ),
        (
            "a grant that lasts",
            "UPDATE approvals SET ends_at = ends_at + 1 WHERE state = 'granted'",
        ),
        (
            "another decider",
            "UPDATE approvals SET decided_by = 'x' WHERE state = 'granted'",
        ),
        ("another person", "UPDATE approvals SET person = 'x'"),
        (
            "another rule",
            "UPDATE approvals SET rule_digest = zeroblob(32)",
        ),
        ("other content", "UPDATE approvals SET content = 'harmless'"),
        (
            "one more item",
            "INSERT INTO items SELECT zeroblob(32), id FROM approvals LIMIT 1",
        ),
        (
            "one item less",
            "DELETE FROM items WHERE digest = (SELECT MIN(digest) FROM items)",
        ),
        (
            "another event",
            "UPDATE history SET event = 'granted' WHERE number = 3",
        ),
        (
            "another time",
            "UPDATE history SET at = at - 1 WHERE number = 2",
        ),
        (
            "a row less at its start",
            "DELETE FROM history WHERE number = 1",
        ),
        ("a row less inside", "DELETE FROM history WHERE number = 2"),
        (
            "a row less at its end",
            "DELETE FROM history WHERE number = 3",
        ),
        (
            "an approval less",
            "DELETE FROM items WHERE approval = (SELECT MAX(id) FROM approvals);
          DELETE FROM approvals WHERE id = (SELECT MAX(id) FROM approvals)",
        ),
    ];
    for (name, sql) in edits {
        std::fs::write(desk.database(), &whole).unwrap();
        let database = Connection::open(desk.database()).unwrap();
        let triggers: Vec<String> = database
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        database.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        for trigger in triggers {
            database
                .execute_batch(&format!("DROP TRIGGER {trigger}"))
                .unwrap();
        }
        database.execute_batch(sql).unwrap();
        drop(database);
        assert_eq!(check(&desk).0, Some(1), "{name}");
        let (code, said) = end(&mut program(desk.folder(), desk.address));
        assert_eq!(code, Some(1), "{name}: {said}");
    }
}

#[tokio::test]
async fn those_who_wait_are_answered_when_the_desk_stops() {
    let mut desk = Desk::start().await;
    let mut asked = ask(&[3]);
    asked.wait_ms = 300_000;
    let (http, url) = (desk.http.clone(), desk.url("/v1/approvals"));
    let waiting = tokio::spawn(async move {
        let request = http.post(url).bearer_auth(DESK_TOKEN).json(&asked);
        read::<Answer>(request.send().await.unwrap()).await
    });
    desk.waiting(1).await;
    let code = desk.stop();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.state, ApprovalState::Pending);
    assert_eq!(code, Some(0));
    desk.again().await;
    assert_eq!(desk.look(&answer.id, 0).await.state, ApprovalState::Pending);
}

#[tokio::test]
async fn five_hundred_wait_at_once_and_all_are_answered() {
    let desk = Desk::start().await;
    let asks = (0..500_u32).map(|number| {
        let mut asked = ask(&[u8::try_from(number % 50).unwrap()]);
        asked.exchange = format!("gd_{number}");
        asked.wait_ms = 60_000;
        asked
    });
    let asks: Vec<_> = asks.collect();
    let waiting = futures(asks.iter().map(|ask| desk.ask(ask)));
    let granting = async {
        desk.waiting(500).await;
        for _ in 0..50 {
            let list: Value =
                crate::world::good(desk.get("/v1/approvals", BO_TOKEN).send().await.unwrap()).await;
            let next: Answer = serde_json::from_value(list["approvals"][0].clone()).unwrap();
            desk.grant(&next).await;
        }
    };
    let (answers, ()) = tokio::join!(waiting, granting);
    assert_eq!(answers.len(), 500);
    for answer in answers {
        assert_eq!(answer.state, ApprovalState::Granted);
    }
    desk.waiting(0).await;
}

#[tokio::test]
async fn a_wrong_start_says_what_is_wrong() {
    let mut desk = Desk::start().await;
    let start = |change: &dyn Fn(&mut Command)| {
        let mut command = program(desk.folder(), "127.0.0.1:0".parse().unwrap());
        change(&mut command);
        end(&mut command)
    };
    let (code, said) = start(&|_| {});
    assert_eq!(code, Some(1));
    assert!(said.contains("locked by another process"), "{said}");
    let wrong = [
        ("GATE_DESK_TOKEN", "", "http://127.0.0.1:1"),
        ("GATE_APPROVERS", "nobody", "http://127.0.0.1:1"),
        ("--public-url", "", "https://desk.example/path"),
    ];
    for (what, value, url) in wrong {
        let (code, said) = start(&|command| {
            command.args(["--public-url", url]);
            if what.starts_with("GATE_") {
                command.env(what, value);
            }
        });
        assert_eq!(code, Some(2), "{what}");
        assert!(said.starts_with(what), "{said}");
    }
    assert_eq!(desk.stop(), Some(0));
    let mut other = Command::new(env!("CARGO_BIN_EXE_approvals"));
    other
        .args(["--deployment", "acme-us", "--domain", "gw.example"])
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(desk.folder().join("data"))
        .env("GATE_DESK_TOKEN", DESK_TOKEN)
        .env("GATE_APPROVERS", format!("{ISSUER}#bo={BO_TOKEN}"));
    let (code, said) = end(&mut other);
    assert_eq!(code, Some(2));
    assert!(said.contains("another deployment"), "{said}");
}

#[tokio::test]
async fn p6_no_token_key_or_content_is_in_the_log() {
    let mut desk = Desk::start().await;
    let mut asked = ask(&[3]);
    asked.masked_content = "canary of the content".into();
    let body = serde_json::to_value(&asked).unwrap();
    let granted = desk.grant(&desk.ask(&asked).await).await;
    let grant = desk.look(&granted.id, 0).await.grant.unwrap();
    desk.post("/v1/approvals", "canary-of-a-token", &body)
        .send()
        .await
        .unwrap();
    let broken = body.to_string().replace("acme-eu", "acme-canary");
    let request = desk
        .http
        .post(desk.url("/v1/approvals"))
        .bearer_auth(DESK_TOKEN);
    request.body(broken).send().await.unwrap();
    desk.stop();
    let keys = std::fs::read_to_string(desk.folder().join("data/keys.json")).unwrap();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let secret = keys["keys"][0]["d"].as_str().unwrap();
    let log = desk.log();
    for hidden in ["canary", DESK_TOKEN, BO_TOKEN, &grant, secret, ISSUER] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    assert!(log.contains(&granted.id), "decisions are logged by id");
}
