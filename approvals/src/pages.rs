//! The pages for approvers: plain HTML from the server, no script.
//!
//! Whoever wants to see more than the sign-in page pastes their token there once; from then on a
//! cookie says who they are, and each form carries a token of the session besides.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use contract::{
    Token,
    approval::{ApprovalState, AskFinding, Covers, Verdict, is_approval_id},
};
use serde::Deserialize;

use crate::{
    api::{App, Failure},
    desk::{Fault, OwnedDecision},
    history::DESK,
    ledger::{Approval, Detail, Happened},
    session::{LIFETIME_S, Session},
    state::{Seconds, same_person},
};

/// The pages without the guard around them.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(waiting))
        .route("/decided", get(decided))
        .route("/approvals/{id}", get(approval))
        .route("/approvals/{id}/decision", post(decide))
        .route("/sign-in", get(sign_in).post(signed_in))
        .route("/sign-out", post(sign_out))
        .route("/style.css", get(style))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

async fn waiting(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Response> {
    list(&app, &headers, true, query).await
}

async fn decided(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Response> {
    list(&app, &headers, false, query).await
}

async fn list(
    app: &App,
    headers: &HeaderMap,
    waiting: bool,
    query: ListQuery,
) -> Result<Response, Response> {
    let path = if waiting { "/" } else { "/decided" };
    let session = entered(app, headers, path, query.again.is_some())?;
    let now = (app.desk.clock)();
    let listed = app.desk.list(waiting).await;
    let (approvals, count) = listed.map_err(|fault| broken(app, Some(&session), fault))?;
    let here = if waiting { "waiting" } else { "decided" };
    let page = ListPage {
        frame: Frame::of(app, Some(&session), here),
        waiting,
        refresh: query.refresh.as_deref() == Some("on"),
        count: usize::try_from(count).unwrap_or(usize::MAX),
        rows: approvals
            .iter()
            .map(|(approval, findings)| ApprovalRow::of(approval, findings, &session, now))
            .collect(),
    };
    Ok(render(StatusCode::OK, &page))
}

async fn approval(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Response> {
    let path = format!("/approvals/{id}");
    let session = entered(&app, &headers, &path, query.again.is_some())?;
    show(&app, &session, &id, None, String::new()).await
}

async fn decide(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
    form: Result<Form<DecisionForm>, FormRejection>,
) -> Result<Response, Response> {
    let session = entered(&app, &headers, &format!("/approvals/{id}"), true)?;
    let Ok(Form(form)) = form else {
        return Err(message(
            &app,
            Some(&session),
            StatusCode::BAD_REQUEST,
            "This form cannot be read",
            TRY_AGAIN,
        ));
    };
    checked(&app, &session, &form.csrf)?;
    let decision = OwnedDecision {
        approver: session.approver.clone(),
        verdict: form.verdict,
        reason: form.reason.clone(),
        version: form.version,
    };
    match app.desk.decide(&id, decision).await {
        Ok(_) => Ok(Redirect::to(&format!("/approvals/{id}")).into_response()),
        Err(fault) => {
            let failure = Failure::from(fault).counted(&app);
            show(&app, &session, &id, Some(failure), form.reason).await
        }
    }
}

/// The page of one approval, with what went wrong and the reason as it was written.
async fn show(
    app: &App,
    session: &Session,
    id: &str,
    failure: Option<Failure>,
    reason: String,
) -> Result<Response, Response> {
    let seen = app.desk.view(id, session.approver.clone()).await;
    let (approval, detail) = seen.map_err(|fault| broken(app, Some(session), fault))?;
    let now = (app.desk.clock)();
    let row = ApprovalRow::of(&approval, &detail.findings, session, now);
    let Detail {
        content,
        content_bytes,
        findings,
        items,
        history,
    } = detail;
    let shown = content.as_deref().map_or(0, str::len);
    let cut = usize::try_from(content_bytes)
        .unwrap_or_default()
        .saturating_sub(shown);
    let state = approval.standing.state;
    let status = failure
        .as_ref()
        .map_or(StatusCode::OK, |failure| failure.status);
    let page = ApprovalPage {
        frame: Frame::of(app, Some(session), ""),
        error: failure.map(|failure| sentence(&failure.message)),
        can_decide: state == ApprovalState::Pending && !row.own,
        can_revoke: state == ApprovalState::Granted && !row.own,
        version: approval.standing.version,
        rule_digest: approval.rule_digest.to_string().chars().take(12).collect(),
        lasts: lasts(&approval),
        history: history.into_iter().map(HistoryRow::of).collect(),
        row,
        content: content.as_deref().map(visible),
        cut,
        findings,
        items,
        reason,
    };
    Ok(render(status, &page))
}

async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<Next>,
) -> Response {
    let next = local(query.next.as_deref());
    if session(&app, &headers).is_some() {
        return Redirect::to(&next).into_response();
    }
    let page = SignInPage {
        frame: Frame::of(&app, None, ""),
        error: None,
        next,
    };
    render(StatusCode::OK, &page)
}

async fn signed_in(
    State(app): State<App>,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else {
        return message(
            &app,
            None,
            StatusCode::BAD_REQUEST,
            "This form cannot be read",
            TRY_AGAIN,
        );
    };
    let next = local(Some(&form.next));
    let approver = app.guard.approver_of(&Token::new(form.token.trim()));
    app.desk.metrics.signed_in(approver.is_some());
    let now = (app.desk.clock)();
    let Some(approver) = approver else {
        let page = SignInPage {
            frame: Frame::of(&app, None, ""),
            error: Some("This is not the token of an approver."),
            next,
        };
        return render(StatusCode::FORBIDDEN, &page);
    };
    let Some(cookie) = app.sessions.start(approver, now) else {
        return broken(&app, None, Fault::NoRandom);
    };
    let mut response = Redirect::to(&next).into_response();
    put_cookie(&app, &mut response, &cookie, LIFETIME_S);
    response
}

async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    form: Result<Form<SignOutForm>, FormRejection>,
) -> Result<Response, Response> {
    let session = entered(&app, &headers, "/", true)?;
    let token = form.map(|Form(form)| form.csrf).unwrap_or_default();
    checked(&app, &session, &token)?;
    if let Some(cookie) = cookie(&app, &headers) {
        app.sessions.end(cookie);
    }
    let mut response = Redirect::to("/sign-in").into_response();
    put_cookie(&app, &mut response, "", 0);
    Ok(response)
}

async fn style() -> Response {
    let style = include_str!("../templates/style.css");
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], style).into_response()
}

async fn nowhere(State(app): State<App>, headers: HeaderMap) -> Response {
    let session = session(&app, &headers);
    let text = "There is no such page at this desk.";
    message(
        &app,
        session.as_ref(),
        StatusCode::NOT_FOUND,
        "Nothing is here",
        text,
    )
}

/// The session, or the way to one.
#[expect(clippy::result_large_err, reason = "it is the answer")]
fn entered(app: &App, headers: &HeaderMap, path: &str, again: bool) -> Result<Session, Response> {
    if let Some(session) = session(app, headers) {
        return Ok(session);
    }
    let path = local(Some(path));
    let from_elsewhere = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site");
    if from_elsewhere && !again {
        // A strict cookie is not sent when a link on another site is followed; it is when our own
        // page leads on.
        let page = MessagePage {
            frame: Frame::of(app, None, ""),
            title: "One moment",
            text: "The desk is looking whether you have signed in.",
            go: Some(format!("{path}?again=1")),
        };
        return Err(render(StatusCode::OK, &page));
    }
    let to = match path.as_str() {
        "/" => "/sign-in".to_owned(),
        path => format!("/sign-in?next={path}"),
    };
    Err(Redirect::to(&to).into_response())
}

/// Refuses a form that the session's own page has not made.
#[expect(clippy::result_large_err, reason = "it is the answer")]
fn checked(app: &App, session: &Session, csrf: &str) -> Result<(), Response> {
    if session.has_csrf(csrf) {
        return Ok(());
    }
    app.desk.metrics.failed("forged_form");
    let title = "This form is not from this desk";
    Err(message(
        app,
        Some(session),
        StatusCode::FORBIDDEN,
        title,
        TRY_AGAIN,
    ))
}

fn session(app: &App, headers: &HeaderMap) -> Option<Session> {
    app.sessions.find(cookie(app, headers)?, (app.desk.clock)())
}

fn cookie<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(app);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn put_cookie(app: &App, response: &mut Response, value: &str, seconds: Seconds) {
    let secure = if app.tls { "; Secure" } else { "" };
    let name = cookie_name(app);
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

fn cookie_name(app: &App) -> &'static str {
    if app.tls {
        "__Host-gate_session"
    } else {
        "gate_session"
    }
}

/// A page of ours to go on to; the first one if it is none.
fn local(path: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    let known = path == "/decided" || path.strip_prefix("/approvals/").is_some_and(is_approval_id);
    if known { path } else { "/" }.to_owned()
}

fn broken(app: &App, session: Option<&Session>, fault: Fault) -> Response {
    let failure = Failure::from(fault).counted(app);
    let text = sentence(&failure.message);
    message(app, session, failure.status, "This did not work", &text)
}

fn message(
    app: &App,
    session: Option<&Session>,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response {
    let page = MessagePage {
        frame: Frame::of(app, session, ""),
        title,
        text,
        go: None,
    };
    render(status, &page)
}

fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "cannot write the page\n").into_response(),
    }
}

#[derive(Deserialize)]
struct ListQuery {
    refresh: Option<String>,
    again: Option<String>,
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

#[derive(Deserialize)]
struct SignInForm {
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SignOutForm {
    csrf: String,
}

#[derive(Deserialize)]
struct DecisionForm {
    csrf: String,
    verdict: Verdict,
    #[serde(default)]
    reason: String,
    version: u64,
}

/// What is around every page.
struct Frame {
    deployment: String,
    me: Option<Person>,
    csrf: String,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    frame: Frame,
    waiting: bool,
    refresh: bool,
    count: usize,
    rows: Vec<ApprovalRow>,
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    row: ApprovalRow,
    error: Option<String>,
    content: Option<String>,
    cut: usize,
    findings: Vec<AskFinding>,
    items: usize,
    rule_digest: String,
    lasts: String,
    can_decide: bool,
    can_revoke: bool,
    version: u64,
    reason: String,
    history: Vec<HistoryRow>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    error: Option<&'static str>,
    next: String,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    frame: Frame,
    title: &'a str,
    text: &'a str,
    go: Option<String>,
}

/// A person as a reader knows them, and whole.
struct Person {
    subject: String,
    whole: String,
}

struct ApprovalRow {
    id: String,
    state: &'static str,
    person: Person,
    own: bool,
    live: bool,
    role: String,
    rule: String,
    approvers: String,
    endpoint: String,
    model: String,
    model_or_endpoint: String,
    found: String,
    asked: String,
    asked_at: String,
    ends: String,
    decided: String,
}

struct HistoryRow {
    at: String,
    when: String,
    what: String,
    who: Person,
    note: String,
}

impl Frame {
    fn of(app: &App, session: Option<&Session>, here: &'static str) -> Self {
        Self {
            deployment: app.desk.deployment.clone(),
            me: session.map(|session| Person::of(&session.approver)),
            csrf: session
                .map(|session| session.csrf.clone())
                .unwrap_or_default(),
            here,
        }
    }
}

impl Person {
    fn of(whole: &str) -> Self {
        let subject = whole.split_once('#').map_or(whole, |(_, subject)| subject);
        Self {
            subject: subject.to_owned(),
            whole: whole.to_owned(),
        }
    }
}

impl ApprovalRow {
    fn of(approval: &Approval, findings: &[AskFinding], session: &Session, now: Seconds) -> Self {
        let standing = &approval.standing;
        let ended = standing.decided_at.unwrap_or(standing.ends_at);
        let by = standing.decided_by.as_deref().map(Person::of);
        let ended = ago(now.saturating_sub(ended));
        Self {
            id: approval.id.clone(),
            state: standing.state.name(),
            person: Person::of(&approval.terms.person),
            own: same_person(&approval.terms.person, &session.approver),
            live: standing.is_live(),
            role: approval.role.clone(),
            rule: approval.rule.clone(),
            approvers: approval.approvers.clone(),
            endpoint: approval.endpoint.clone(),
            model: approval.model.clone(),
            model_or_endpoint: if approval.model.is_empty() {
                approval.endpoint.clone()
            } else {
                approval.model.clone()
            },
            found: found(findings),
            asked: ago(now.saturating_sub(approval.asked_at)),
            asked_at: rfc3339(approval.asked_at),
            ends: format!("{} left", span(standing.ends_at.saturating_sub(now))),
            decided: by.map_or(ended.clone(), |by| format!("{ended} by {}", by.subject)),
        }
    }
}

impl HistoryRow {
    fn of(happened: Happened) -> Self {
        let at = rfc3339(happened.at);
        let who = if happened.who == DESK {
            Person::of("the desk")
        } else {
            Person::of(&happened.who)
        };
        // the note of `asked` is a digest for the check, not for people
        let note = if happened.exchange.is_empty() {
            happened.note
        } else {
            format!("exchange {}", happened.exchange)
        };
        Self {
            when: at.replace('T', " ").trim_end_matches('Z').to_owned(),
            at,
            what: happened.event,
            who,
            note,
        }
    }
}

/// How often each detector fired.
fn found(findings: &[AskFinding]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for finding in findings {
        match counts
            .iter_mut()
            .find(|(name, _)| *name == finding.detector)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((&finding.detector, 1)),
        }
    }
    let texts: Vec<String> = counts
        .iter()
        .map(|(name, count)| match count {
            1 => (*name).to_owned(),
            count => format!("{count} × {name}"),
        })
        .collect();
    if texts.is_empty() {
        "no secret".to_owned()
    } else {
        texts.join(", ")
    }
}

/// The content with what an approver could not see, or would see in another order, written out:
/// nothing else must be granted than what was read.
fn visible(content: &str) -> String {
    let mut text = String::with_capacity(content.len());
    for letter in content.replace("\r\n", "\n").chars() {
        let hidden = letter.is_control() && letter != '\n' && letter != '\t'
            || matches!(letter,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
        if hidden {
            text.extend(["⟨U+", &format!("{:04X}", u32::from(letter)), "⟩"]);
        } else {
            text.push(letter);
        }
    }
    text
}

fn lasts(approval: &Approval) -> String {
    let use_within = span(approval.terms.grant_s);
    match approval.terms.covers {
        Covers::Content => {
            let remember = span(approval.terms.remember_s);
            format!(
                "to be used within {use_within}, then good for {remember}, in any chat of this person"
            )
        }
        Covers::Exchange => format!("for one exchange, within {use_within}"),
    }
}

fn ago(seconds: Seconds) -> String {
    if seconds < 60 {
        "just now".to_owned()
    } else {
        format!("{} ago", span(seconds))
    }
}

/// A time span in its two largest units.
fn span(seconds: Seconds) -> String {
    let seconds = seconds.max(0);
    let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3600);
    let (minutes, rest) = (seconds % 3600 / 60, seconds % 60);
    let units = [
        (days, if days == 1 { "day" } else { "days" }),
        (hours, "h"),
        (minutes, "min"),
        (rest, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let parts = units
        .iter()
        .skip(first)
        .take(if first == 2 { 1 } else { 2 });
    let parts: Vec<String> = parts
        .filter(|(count, _)| *count > 0 || first == 3)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    parts.join(" ")
}

fn rfc3339(at: Seconds) -> String {
    let at = u64::try_from(at).unwrap_or_default().min(YEAR_9999);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at)).to_string()
}

/// Starts with a capital and ends with a full stop, as a page wants it.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

const TRY_AGAIN: &str = "Go back, load the page anew and try once more.";

/// Largest form: a reason of the longest kind, each letter written as `%XX`.
const MAX_FORM_BYTES: usize = 64 * 1024;

const YEAR_9999: u64 = 253_370_764_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let cases = [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (86_400, "1 day"),
            (86_399, "23 h 59 min"),
            (180_000, "2 days 2 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text, "{seconds}");
        }
        assert_eq!((ago(59), ago(120)), ("just now".into(), "2 min ago".into()));
    }

    #[test]
    fn only_pages_of_ours_are_gone_on_to() {
        for good in ["/", "/decided", "/approvals/AP-7KQ2ZXW4MB"] {
            assert_eq!(local(Some(good)), good);
        }
        for bad in [
            "",
            "//evil.example",
            "https://evil.example/",
            "/approvals/",
            "/approvals/AP-7KQ2ZXW4MB/../..",
            "/sign-out",
            "/\\evil.example",
        ] {
            assert_eq!(local(Some(bad)), "/", "{bad}");
        }
    }

    #[test]
    fn p7_what_an_approver_would_not_see_is_written_out() {
        let cases = [
            ("für 北京 🚀❤\u{fe0f}\n\tok", "für 北京 🚀❤\u{fe0f}\n\tok"),
            ("a\r\nb\n", "a\nb\n"),
            ("a\u{202e}b", "a⟨U+202E⟩b"),
            ("a\u{200b}b\u{feff}", "a⟨U+200B⟩b⟨U+FEFF⟩"),
            ("a\u{e0041}", "a⟨U+E0041⟩"),
            ("a\u{1b}[8mb\r", "a⟨U+001B⟩[8mb⟨U+000D⟩"),
        ];
        for (content, shown) in cases {
            assert_eq!(visible(content), shown);
        }
    }

    #[test]
    fn findings_are_counted_by_their_detector() {
        let finding = |detector: &str| AskFinding {
            detector: detector.to_owned(),
            place: String::new(),
            length: 40,
            fingerprint: String::new(),
        };
        assert_eq!(found(&[]), "no secret");
        let some = [
            finding("github_token"),
            finding("aws_key"),
            finding("github_token"),
        ];
        assert_eq!(found(&some), "2 × github_token, aws_key");
    }

    #[test]
    fn times_are_written_for_people_and_programs() {
        assert_eq!(rfc3339(1_795_376_400), "2026-11-22T19:40:00Z");
        assert_eq!(rfc3339(Seconds::MAX), rfc3339(253_370_764_800), "no panic");
        assert_eq!(sentence("what is wrong"), "What is wrong.");
    }
}
