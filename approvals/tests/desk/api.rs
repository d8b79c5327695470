//! The API: asked, joined, granted, refused, used up.

use contract::approval::{ApprovalState, Covers, is_approval_id};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{ANA_TOKEN, BO_TOKEN, CY_TOKEN, DESK_TOKEN, Desk, ISSUER, ask, good, read};

fn code<T>(result: Result<T, (StatusCode, String)>) -> (u16, String) {
    let (status, code) = result.err().expect("a failure");
    (status.as_u16(), code)
}

#[tokio::test]
async fn p7_a_request_waits_until_an_approver_grants_it() {
    let desk = Desk::start().await;
    let mut asked = ask(&[3, 4]);
    asked.wait_ms = 60_000;
    let first = desk.ask(&ask(&[3, 4])).await;
    assert!(is_approval_id(&first.id));
    assert_eq!((first.state, &first.grant), (ApprovalState::Pending, &None));
    let waiting = desk.ask(&asked);
    let granting = async {
        desk.waiting(1).await;
        desk.grant(&first).await
    };
    let (answer, decided) = tokio::join!(waiting, granting);
    assert_eq!(
        (&answer.id, answer.state),
        (&first.id, ApprovalState::Granted)
    );
    assert_eq!(decided.grant, None, "a grant is for the filter alone");
    let claims = desk.verify(&answer.grant.unwrap()).await;
    assert_eq!(claims.subject.unwrap(), format!("{ISSUER}#ana"));
    assert_eq!(claims.jwt_id.unwrap(), first.id);
    let granted = claims.custom;
    assert!(granted.cover(
        asked.rule_digest,
        "chat",
        "gpt-4.1",
        &asked.cause_items.iter().copied().collect()
    ));
    let valid = claims.expires_at.unwrap().as_secs() - claims.issued_at.unwrap().as_secs();
    assert!(
        (80_000..=86_400).contains(&valid),
        "taken and from now on remembered: {valid}"
    );
}

#[tokio::test]
async fn asks_for_the_same_are_one_approval() {
    let desk = Desk::start().await;
    let mut asked = ask(&[3, 4]);
    let first = desk.ask(&asked).await;
    asked.exchange = "gd_2".into();
    asked.cause_items.reverse();
    asked.cause_items.push(asked.cause_items[0]);
    assert_eq!(
        desk.ask(&asked).await.id,
        first.id,
        "order and repeats do not matter"
    );
    let mut others = Vec::new();
    let mut other = |change: &dyn Fn(&mut contract::approval::Ask)| {
        let mut asked = ask(&[3, 4]);
        change(&mut asked);
        others.push(asked);
    };
    other(&|ask| ask.person = format!("{ISSUER}#dan"));
    other(&|ask| ask.endpoint = "responses".into());
    other(&|ask| ask.model = "gpt-4.1-mini".into());
    other(&|ask| ask.rule_digest = ask.policy_digest);
    other(&|ask| ask.covers = Covers::Exchange);
    other(&|ask| ask.cause_items.truncate(1));
    for ask in others {
        assert_ne!(desk.ask(&ask).await.id, first.id);
    }
    let page = desk.get("/v1/approvals", BO_TOKEN).send().await.unwrap();
    let list: Value = good(page).await;
    assert_eq!(list["pending"], 7);
    assert_eq!(list["approvals"][0]["id"], json!(first.id), "oldest first");
}

#[tokio::test]
async fn p7_what_live_grants_cover_between_them_is_granted_at_once() {
    let desk = Desk::start().await;
    for items in [&[3, 4][..], &[5]] {
        let pending = desk.ask(&ask(items)).await;
        desk.grant(&pending).await;
    }
    let part = desk.ask(&ask(&[4])).await;
    assert_eq!(part.state, ApprovalState::Granted);
    let both = desk.ask(&ask(&[5, 3])).await;
    assert_eq!(both.state, ApprovalState::Granted);
    let claims = desk.verify(&both.grant.clone().unwrap()).await;
    assert_eq!(claims.jwt_id.unwrap(), both.id);
    assert_eq!(claims.custom.items, ask(&[3, 5]).cause_items);
    assert_eq!(desk.ask(&ask(&[3, 5])).await.id, both.id);
    assert_eq!(
        desk.ask(&ask(&[3, 6])).await.state,
        ApprovalState::Pending,
        "one more item"
    );
    let mut other = ask(&[3]);
    other.model = "claude".into();
    assert_eq!(
        desk.ask(&other).await.state,
        ApprovalState::Pending,
        "another model"
    );
    let mut other = ask(&[3]);
    other.person = format!("{ISSUER}#dan");
    assert_eq!(
        desk.ask(&other).await.state,
        ApprovalState::Pending,
        "another person"
    );

    let taken_back = desk.look(&part.id, 0).await;
    desk.decide(&taken_back, CY_TOKEN, "revoke").await.unwrap();
    assert_eq!(
        desk.look(&both.id, 0).await.state,
        ApprovalState::Revoked,
        "it leant on that"
    );
    assert_eq!(desk.ask(&ask(&[3, 5])).await.state, ApprovalState::Pending);
    let revoked = desk
        .get("/v1/revocations?after=0", DESK_TOKEN)
        .send()
        .await
        .unwrap();
    let revoked: Value = good(revoked).await;
    assert_eq!(revoked["revoked"], json!([part.id, both.id]));
    let next = revoked["next"].as_u64().unwrap();
    let path = format!("/v1/revocations?after={next}");
    let none: Value = good(desk.get(&path, DESK_TOKEN).send().await.unwrap()).await;
    assert_eq!(none, json!({"revoked": [], "next": next}));
}

#[tokio::test]
async fn p7_a_refusal_is_the_answer_and_says_why() {
    let desk = Desk::start().await;
    let pending = desk.ask(&ask(&[3])).await;
    desk.decide(&pending, BO_TOKEN, "refuse").await.unwrap();
    let again = desk.ask(&ask(&[3])).await;
    assert_eq!(
        (again.id, again.state),
        (pending.id.clone(), ApprovalState::Refused)
    );
    assert_eq!(again.reason.as_deref(), Some("because"));
    assert_eq!(again.grant, None);
    let changed = desk
        .decide(&desk.look(&pending.id, 0).await, CY_TOKEN, "grant")
        .await;
    assert_eq!(code(changed), (409, "not_in_this_state".into()));
}

#[tokio::test]
async fn p7_the_requester_never_decides() {
    let desk = Desk::start().await;
    let pending = desk.ask(&ask(&[3])).await;
    for verdict in ["grant", "refuse", "revoke"] {
        let own = desk.decide(&pending, ANA_TOKEN, verdict).await;
        assert_eq!(code(own), (403, "own_request".into()), "{verdict}");
    }
    let mut alias = ask(&[4]);
    alias.person = format!("{}/#ANA", ISSUER.to_uppercase());
    let pending = desk.ask(&alias).await;
    assert_eq!(
        code(desk.decide(&pending, ANA_TOKEN, "grant").await),
        (403, "own_request".into())
    );
}

#[tokio::test]
async fn p7_silence_is_a_refusal() {
    let desk = Desk::start().await;
    let mut asked = ask(&[3]);
    asked.pending_s = 1;
    asked.wait_ms = 60_000;
    let answer = desk.ask(&asked).await;
    assert_eq!(
        (answer.state, answer.grant.as_ref()),
        (ApprovalState::Expired, None)
    );
    assert_eq!(
        code(desk.decide(&answer, BO_TOKEN, "grant").await),
        (409, "not_in_this_state".into())
    );
    let again = desk.ask(&ask(&[3])).await;
    assert_ne!(again.id, answer.id, "it can be asked anew");
    assert_eq!(again.state, ApprovalState::Pending);
}

#[tokio::test]
async fn p7_a_grant_that_is_not_used_in_time_is_none() {
    let desk = Desk::start().await;
    let mut asked = ask(&[3]);
    asked.grant_s = 1;
    let pending = desk.ask(&asked).await;
    let granted = desk.grant(&pending).await;
    let mut state = granted.state;
    while state == ApprovalState::Granted {
        // looking as an approver takes nothing
        let seen = desk
            .get(&format!("/v1/approvals/{}", pending.id), BO_TOKEN)
            .send()
            .await;
        let seen: Value = good(seen.unwrap()).await;
        assert_eq!(seen.get("grant"), None);
        state = serde_json::from_value(seen["state"].clone()).unwrap();
    }
    assert_eq!(state, ApprovalState::Expired);
    assert_eq!(desk.ask(&asked).await.state, ApprovalState::Pending);
}

#[tokio::test]
async fn p7_of_a_hundred_retries_of_one_grant_one_passes() {
    let desk = Desk::start().await;
    let mut asked = ask(&[3]);
    asked.covers = Covers::Exchange;
    let pending = desk.ask(&asked).await;
    desk.grant(&pending).await;
    let granted = desk.ask(&asked).await;
    let claims = desk.verify(&granted.grant.unwrap()).await;
    assert_eq!(claims.custom.covers, Covers::Exchange);
    let valid = claims.expires_at.unwrap().as_secs() - claims.issued_at.unwrap().as_secs();
    assert!(valid <= 900, "{valid}");
    let exchanges: Vec<String> = (0..100).map(|number| format!("gd_{number}")).collect();
    let calls = exchanges
        .iter()
        .map(|exchange| desk.consume(&pending.id, exchange));
    let mut passed = 0;
    for result in futures(calls).await {
        match result {
            Ok(answer) => {
                assert_eq!(answer.state, ApprovalState::Consumed);
                passed += 1;
            }
            Err(refused) => assert_eq!(code::<()>(Err(refused)), (409, "not_in_this_state".into())),
        }
    }
    assert_eq!(passed, 1);
    let next = desk.ask(&asked).await;
    assert_ne!(next.id, pending.id);
    assert_eq!(
        next.state,
        ApprovalState::Pending,
        "the next one asks again"
    );
}

#[tokio::test]
async fn a_grant_of_content_cannot_be_consumed_nor_one_that_is_not_there() {
    let desk = Desk::start().await;
    let pending = desk.ask(&ask(&[3])).await;
    let early = desk.consume(&pending.id, "gd_1").await;
    assert_eq!(code(early), (409, "not_in_this_state".into()));
    desk.grant(&pending).await;
    let content = desk.consume(&pending.id, "gd_1").await;
    assert_eq!(code(content), (409, "not_for_one_exchange".into()));
    for id in [
        "AP-AAAAAAAAAA",
        "AP-AAAAAAAAA9",
        "nonsense",
        "AP-AAAAAAAAAA%27",
    ] {
        let unknown = desk.consume(id, "gd_1").await;
        assert_eq!(code(unknown), (404, "unknown_approval".into()), "{id}");
    }
}

#[tokio::test]
async fn of_two_decisions_at_once_one_wins() {
    let desk = Desk::start().await;
    for round in 0..20 {
        let pending = desk.ask(&ask(&[round])).await;
        let (one, other) = tokio::join!(
            desk.decide(&pending, BO_TOKEN, "grant"),
            desk.decide(&pending, CY_TOKEN, "refuse")
        );
        assert_ne!(one.is_ok(), other.is_ok());
        let lost = if one.is_ok() { code(other) } else { code(one) };
        assert_eq!(lost.0, 409);
    }
}

#[tokio::test]
async fn a_decision_about_what_has_changed_is_stale() {
    let desk = Desk::start().await;
    let mut pending = desk.ask(&ask(&[3])).await;
    pending.version += 1;
    let stale = desk.decide(&pending, BO_TOKEN, "grant").await;
    assert_eq!(code(stale), (409, "stale_version".into()));
    assert_eq!(
        desk.look(&pending.id, 0).await.state,
        ApprovalState::Pending
    );
}

#[tokio::test]
async fn p5_nobody_gets_anything_without_the_right_token() {
    let desk = Desk::start().await;
    let pending = desk.ask(&ask(&[3])).await;
    let id = &pending.id;
    let body = serde_json::to_value(ask(&[4])).unwrap();
    let decision = json!({"verdict": "grant", "reason": "", "version": 1});
    let consume = json!({"exchange": "gd_1"});
    let wrong = concat!("wrong-", "0123456789abcdef");
    // (path, body, who may)
    let calls = [
        ("/v1/approvals".to_owned(), Some(&body), DESK_TOKEN),
        (
            format!("/v1/approvals/{id}/consume"),
            Some(&consume),
            DESK_TOKEN,
        ),
        (
            format!("/v1/approvals/{id}/decision"),
            Some(&decision),
            BO_TOKEN,
        ),
        ("/v1/keys".to_owned(), None, DESK_TOKEN),
        ("/v1/revocations".to_owned(), None, DESK_TOKEN),
        ("/v1/approvals".to_owned(), None, BO_TOKEN),
    ];
    for (path, body, allowed) in calls {
        for token in [DESK_TOKEN, BO_TOKEN, wrong, ""] {
            if token == allowed {
                continue;
            }
            let request = match body {
                Some(body) => desk.post(&path, token, body),
                None => desk.get(&path, token),
            };
            let refused = read::<Value>(request.send().await.unwrap()).await;
            assert_eq!(code(refused), (401, "unauthenticated".into()), "{path}");
        }
    }
    let look = desk
        .get(&format!("/v1/approvals/{id}"), wrong)
        .send()
        .await
        .unwrap();
    assert_eq!(look.headers()["www-authenticate"], "Bearer");
    assert_eq!(
        code(read::<Value>(look).await),
        (401, "unauthenticated".into())
    );
    let twice = desk
        .get("/v1/keys", DESK_TOKEN)
        .bearer_auth(DESK_TOKEN)
        .send()
        .await;
    assert_eq!(twice.unwrap().status(), 401, "two tokens are none");
    assert_eq!(desk.look(id, 0).await.state, ApprovalState::Pending);
}

#[tokio::test]
async fn p11_what_is_not_an_ask_is_refused_in_words() {
    let desk = Desk::start().await;
    let good = serde_json::to_value(ask(&[3])).unwrap();
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let digest = &good["rule_digest"];
    let many: Vec<Value> = (0..1025).map(|_| digest.clone()).collect();
    let cases = [
        ("nothing", String::new(), 400, "invalid"),
        ("no JSON", "{".to_owned(), 400, "invalid"),
        ("a list", "[]".to_owned(), 400, "invalid"),
        ("too much", "x".repeat((1 << 20) + 1), 413, "too_large"),
        ("deep", "[".repeat(100_000), 400, "invalid"),
        (
            "another deployment",
            with("deployment", json!("acme-us")),
            403,
            "wrong_deployment",
        ),
        ("no issuer", with("person", json!("ana")), 400, "invalid"),
        (
            "no subject",
            with("person", json!("https://login.example#")),
            400,
            "invalid",
        ),
        (
            "control letters",
            with("person", json!("https://a#b\nc")),
            400,
            "invalid",
        ),
        ("no exchange", with("exchange", json!("")), 400, "invalid"),
        (
            "a long model",
            with("model", json!("m".repeat(301))),
            400,
            "invalid",
        ),
        ("no items", with("cause_items", json!([])), 400, "invalid"),
        (
            "too many items",
            with("cause_items", json!(many)),
            400,
            "invalid",
        ),
        (
            "a short digest",
            with("cause_items", json!(["00"])),
            400,
            "invalid",
        ),
        (
            "an upper-case digest",
            with("rule_digest", json!("AB".repeat(32))),
            400,
            "invalid",
        ),
        (
            "another cover",
            with("covers", json!("everything")),
            400,
            "invalid",
        ),
        (
            "no time to decide",
            with("pending_s", json!(0)),
            400,
            "invalid",
        ),
        (
            "for ever",
            with("remember_s", json!(u64::MAX)),
            400,
            "invalid",
        ),
        (
            "a negative wait",
            with("wait_ms", json!(-1)),
            400,
            "invalid",
        ),
    ];
    for (name, body, status, wanted) in cases {
        let request = desk
            .http
            .post(desk.url("/v1/approvals"))
            .bearer_auth(DESK_TOKEN);
        let refused = read::<Value>(request.body(body).send().await.unwrap()).await;
        assert_eq!(code(refused), (status, wanted.into()), "{name}");
    }
    let wait = desk
        .get("/v1/approvals/AP-AAAAAAAAAA?wait_ms=x", DESK_TOKEN)
        .send()
        .await;
    assert_eq!(
        code(read::<Value>(wait.unwrap()).await),
        (400, "invalid".into())
    );
    let list: Value =
        crate::world::good(desk.get("/v1/approvals", BO_TOKEN).send().await.unwrap()).await;
    assert_eq!(list["pending"], 0);
}

#[tokio::test]
async fn p11_one_person_cannot_fill_the_desk() {
    let desk = Desk::start().await;
    for item in 0..100 {
        desk.ask(&ask(&[item])).await;
    }
    let body = serde_json::to_value(ask(&[100])).unwrap();
    let refused = desk
        .post("/v1/approvals", DESK_TOKEN, &body)
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(read::<Value>(refused).await),
        (429, "too_many_pending".into())
    );
    assert_eq!(
        desk.ask(&ask(&[7])).await.state,
        ApprovalState::Pending,
        "what waits is joined"
    );
    let mut other = ask(&[100]);
    other.person = format!("{ISSUER}#dan");
    assert_eq!(desk.ask(&other).await.state, ApprovalState::Pending);
}

/// All of them at once.
pub(crate) async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
