//! P7 in numbers: hundreds of exchanges wait for people while a neighbour goes away. Each ends rightly,
//! and who waits for nobody notices nothing.

#![allow(
    clippy::print_stderr,
    reason = "what was measured is for people, no test depends on it"
)]

use std::time::Instant;

use e2e::{
    caller::{Answer, Caller},
    desk::Approver,
    ports::free,
    wait,
    world::{Builder, Ports, World},
};
use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::approvals::{TOKEN, code, held, rules, stat};

/// Exchanges that are held at once, by so many persons: the desk keeps a hundred open questions of one.
const MANY: u64 = 500;
const PERSONS: u64 = 6;

/// Exchanges that a person decides about while a neighbour is away.
const SOME: usize = 20;

/// Chats of others, for each look at how long they take.
const CHATS: usize = 50;

type Waiting = Vec<JoinHandle<anyhow::Result<Answer>>>;

async fn world(hold: &str, change: impl FnOnce(Builder) -> Builder) -> World {
    let approvals = free().unwrap();
    let ports = Ports {
        approvals,
        ..Ports::default()
    };
    let world = World::builder().desk().ports(ports);
    let world = world.configure(rules("content", hold, approvals));
    change(world).start().await.unwrap()
}

/// Asks so much that waits for people, and waits until it does.
async fn hold(world: &mut World) -> Waiting {
    let callers: Vec<Caller> = (0..PERSONS)
        .map(|number| world.caller(&format!("p{number}")))
        .collect();
    let begun = Instant::now();
    let ask = |number: u64| {
        let caller = callers[usize::try_from(number % PERSONS).unwrap()].clone();
        tokio::spawn(async move { caller.chat(&format!("question {number} {TOKEN}")).await })
    };
    let mut waiting = Waiting::new();
    for first in (0..MANY).step_by(100) {
        waiting.extend((first..first + 100).map(ask));
        held(world, first + 100).await;
    }
    let at_desk = format!("desk_waiting_calls {MANY}");
    wait::until("questions at the desk", async || {
        let metrics = world.desk().metrics().await.unwrap();
        metrics.lines().any(|line| line == at_desk).then_some(())
    })
    .await
    .unwrap();
    eprintln!("{MANY} are held after {:?}", begun.elapsed());
    waiting
}

/// Others chat, one after the other; says how long that takes. Nothing of it waits.
async fn others(caller: &Caller, when: &str) {
    let mut times = Vec::new();
    for _ in 0..CHATS {
        let begun = Instant::now();
        let answer = caller.chat("hello").await.unwrap();
        times.push(begun.elapsed());
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    times.sort();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("others, {when}: half within {median:?}, all within {last:?}");
}

/// Decides about some that wait, waits until as many have ended, and takes them out.
async fn decided(
    waiting: &mut Waiting,
    approver: &Approver,
    verdict: &str,
    reason: &str,
) -> Vec<Answer> {
    for one in &approver.waiting().await.unwrap()[..SOME] {
        approver.decide(one, verdict, reason).await.unwrap();
    }
    wait::until("answers to what was decided", async || {
        let ended = waiting.iter().filter(|one| one.is_finished());
        (ended.count() >= SOME).then_some(())
    })
    .await
    .unwrap();
    let (over, still) = waiting.drain(..).partition(JoinHandle::is_finished);
    *waiting = still;
    answers(over).await
}

async fn answers(waiting: Waiting) -> Vec<Answer> {
    let ends = join_all(waiting).await.into_iter();
    ends.map(|end| end.unwrap().unwrap()).collect()
}

/// Some were granted: each passed as it was asked, without its secret.
fn assert_granted(answers: &[Answer]) {
    assert_eq!(answers.len(), SOME);
    for answer in answers {
        let text = answer.text();
        assert_eq!(answer.status, 200, "{}", answer.body_text());
        assert!(text.starts_with("question "), "{text}");
        assert!(text.contains("MASKED_GITHUB_PAT_"), "{text}");
    }
}

/// Each was refused in words.
fn assert_refused(answers: &[Answer], why: &str, words: &str) {
    for answer in answers {
        let text = answer.body_text();
        assert_eq!((answer.status, &*code(answer)), (400, why), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

/// Nobody could be asked any more.
fn assert_unavailable(answers: &[Answer]) {
    let words = "approval desk cannot be reached";
    assert_refused(answers, "gateway_unavailable", words);
}

async fn assert_well(world: &mut World, caller: &Caller) {
    held(world, 0).await;
    others(caller, "afterwards").await;
    assert!(!world.upstream().saw(TOKEN));
    assert_eq!(stat(world, "gate_host_errors").await, 0);
    let log = world.envoy().log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn p7_many_are_held_while_their_callers_leave() {
    let mut world = world("50s", |world| world).await;
    let bob = world.caller("bob");
    others(&bob, "before").await;
    let waiting = hold(&mut world).await;
    others(&bob, "while many are held").await;
    let passed = world.upstream().arrivals();
    waiting.iter().for_each(JoinHandle::abort);
    others(&bob, "while their callers leave").await;
    held(&mut world, 0).await;
    assert_eq!(world.upstream().arrivals(), passed + CHATS);
    assert_well(&mut world, &bob).await;
}

#[tokio::test]
async fn p7_many_are_held_while_the_upstream_leaves() {
    let mut world = world("50s", |world| world).await;
    let (bo, bob) = (world.approver("bo"), world.caller("bob"));
    others(&bob, "before").await;
    let mut waiting = hold(&mut world).await;
    others(&bob, "while many are held").await;
    let passed = world.upstream().arrivals();
    world.upstream().down().await;
    for answer in decided(&mut waiting, &bo, "grant", "").await {
        let text = answer.body_text();
        assert_eq!(answer.status, 503, "{text}");
        assert!(text.contains("GitHub could not be reached"), "{text}");
    }
    let refused = decided(&mut waiting, &bo, "refuse", "not these").await;
    assert_refused(&refused, "gateway_policy", "not these");
    world.upstream().up().await.unwrap();
    assert_eq!(world.upstream().arrivals(), passed);
    // Nobody else noticed: it is there again, and they still wait.
    held(&mut world, MANY - 2 * SOME as u64).await;
    others(&bob, "with the upstream back").await;
    assert_granted(&decided(&mut waiting, &bo, "grant", "").await);
    world.desk().process().kill();
    assert_unavailable(&answers(waiting).await);
    assert_well(&mut world, &bob).await;
}

#[tokio::test]
async fn p7_many_are_held_while_the_desk_dies() {
    let mut world = world("50s", |world| world).await;
    let bob = world.caller("bob");
    others(&bob, "before").await;
    let waiting = hold(&mut world).await;
    others(&bob, "while many are held").await;
    world.desk().process().kill();
    others(&bob, "while the desk is gone").await;
    assert_unavailable(&answers(waiting).await);
    assert!(stat(&mut world, "gate_desk_failures_total").await >= MANY);
    assert_well(&mut world, &bob).await;
}

#[tokio::test]
async fn p7_many_are_held_while_the_desk_hangs() {
    // All of them are asked within this time, and end five seconds after it.
    let mut world = world("30s", |world| world).await;
    let bob = world.caller("bob");
    others(&bob, "before").await;
    let waiting = hold(&mut world).await;
    world.desk().process().freeze();
    others(&bob, "while the desk hangs").await;
    assert_unavailable(&answers(waiting).await);
    world.desk().process().thaw();
    assert_well(&mut world, &bob).await;
}

#[tokio::test]
async fn p7_many_are_held_while_the_sink_leaves_and_what_is_missing_shows() {
    let mut world = world("50s", Builder::audit).await;
    let (bo, bob) = (world.approver("bo"), world.caller("bob"));
    others(&bob, "before").await;
    let mut waiting = hold(&mut world).await;
    others(&bob, "while many are held").await;
    // A sink that hangs loses nothing.
    world.sink().process().freeze();
    assert_granted(&decided(&mut waiting, &bo, "grant", "").await);
    others(&bob, "while the sink hangs").await;
    world.sink().process().thaw();
    let granted = "SELECT approval_state FROM copilot_audit_views.exchanges \
                   WHERE approval_state = 'granted'";
    world.rows_when(granted, |rows| rows.len() == SOME).await;
    // With one that is gone, what Envoy cannot deliver shows as a gap.
    world.sink().process().kill();
    assert_granted(&decided(&mut waiting, &bo, "grant", "").await);
    others(&bob, "while the sink is gone").await;
    world.restart_sink().await.unwrap();
    let cleo = world.caller("cleo");
    let mut sent = (4 * CHATS + 2 * SOME) as u64;
    wait::until("a record after the restart", async || {
        cleo.chat("hello").await.unwrap();
        sent += 1;
        let sql = "SELECT seq FROM copilot_audit_views.exchanges WHERE person = 'cleo'";
        let rows = world.query(sql).await.map_or(0, |table| table.rows.len());
        (rows > 0).then_some(())
    })
    .await
    .unwrap();
    // What ends from now on is there.
    world.desk().process().kill();
    let rest = waiting.len() as u64;
    assert_unavailable(&answers(waiting).await);
    sent += rest;
    let unavailable = "SELECT COUNT(*) AS there, COUNT(DISTINCT seq) AS numbers \
                       FROM copilot_audit_views.exchanges \
                       WHERE rule = 'secrets' AND decision = 'unavailable'";
    let number =
        |row: &e2e::bigquery::Row, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    world
        .rows_when(unavailable, |rows| {
            number(&rows[0], "there") == rest && number(&rows[0], "numbers") == rest
        })
        .await;
    let count = "SELECT (SELECT COUNT(*) FROM copilot_audit_views.exchanges) AS seen, \
                 (SELECT COALESCE(SUM(missing), 0) FROM copilot_audit_views.gaps) AS missing";
    let rows = world
        .rows_when(count, |rows| {
            number(&rows[0], "seen") + number(&rows[0], "missing") == sent
        })
        .await;
    eprintln!(
        "of {sent} records {} were lost with the sink",
        rows[0]["missing"]
    );
    assert_well(&mut world, &bob).await;
}
