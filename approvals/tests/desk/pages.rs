//! The pages, as a browser sends forms and cookies; a real browser is in the e2e cases.

use contract::approval::{Answer, ApprovalState};
use reqwest::{RequestBuilder, Response};

use crate::world::{ANA_TOKEN, BO_TOKEN, CY_TOKEN, DESK_TOKEN, Desk, ask};

/// An approver's browser.
struct Browser<'a> {
    desk: &'a Desk,
    cookie: String,
}

impl<'a> Browser<'a> {
    /// Signs in and keeps the cookie.
    async fn sign_in(desk: &'a Desk, token: &str) -> Self {
        let mut browser = Browser {
            desk,
            cookie: String::new(),
        };
        let form = [("token", token), ("next", "/")];
        let answer = browser.send("/sign-in", &form).send().await.unwrap();
        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["location"], "/");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        for part in [
            "; HttpOnly",
            "; SameSite=Strict",
            "; Path=/",
            "; Max-Age=28800",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        cookie
            .split(';')
            .next()
            .unwrap()
            .clone_into(&mut browser.cookie);
        browser
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.desk
            .http
            .get(self.desk.url(path))
            .header("cookie", &self.cookie)
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    fn send(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let body: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        self.desk
            .http
            .post(self.desk.url(path))
            .header("cookie", &self.cookie)
            .header("origin", self.desk.url(""))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
    }

    /// Fills the form of an approval's page and sends it.
    async fn decide(&self, id: &str, verdict: &str, reason: &str) -> Response {
        let page = self.page(&format!("/approvals/{id}")).await;
        let (csrf, version) = (field(&page, "csrf"), field(&page, "version"));
        let form = [
            ("csrf", csrf.as_str()),
            ("version", version.as_str()),
            ("verdict", verdict),
            ("reason", reason),
        ];
        let path = format!("/approvals/{id}/decision");
        self.send(&path, &form).send().await.unwrap()
    }
}

/// The value of a hidden field.
fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .rsplit_once(&start)
        .unwrap_or_else(|| panic!("no field {name}"));
    rest.split('"').next().unwrap().to_owned()
}

/// As a browser encodes a field.
fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

async fn pending(desk: &Desk, item: u8) -> Answer {
    let mut asked = ask(&[item]);
    asked.masked_content = "<script>alert('hello')</script> & \"deploy\"".into();
    desk.ask(&asked).await
}

#[tokio::test]
async fn an_approver_reads_and_grants_in_a_browser() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let bo = Browser::sign_in(&desk, BO_TOKEN).await;
    let list = bo.page("/").await;
    assert!(list.contains(&asked.id) && list.contains("1 waiting"));
    let page = bo.page(&format!("/approvals/{}", asked.id)).await;
    assert!(page.contains("&#60;script&#62;"), "content is text");
    assert!(!page.contains("<script"));
    let granted = bo.decide(&asked.id, "grant", "").await;
    assert_eq!(granted.status(), 303);
    assert_eq!(
        granted.headers()["location"].to_str().unwrap(),
        format!("/approvals/{}", asked.id)
    );
    assert_eq!(desk.look(&asked.id, 0).await.state, ApprovalState::Granted);
    let page = bo.page(&format!("/approvals/{}", asked.id)).await;
    for event in ["asked", "viewed", "granted", "redeemed"] {
        assert!(page.contains(&format!("<td>{event}</td>")), "{event}");
    }
    assert!(bo.page("/").await.contains("Nothing waits"));
    assert!(bo.page("/decided").await.contains(&asked.id));
    let revoked = bo.decide(&asked.id, "revoke", "a mistake").await;
    assert_eq!(revoked.status(), 303);
    assert_eq!(desk.look(&asked.id, 0).await.state, ApprovalState::Revoked);
}

#[tokio::test]
async fn a_refusal_needs_a_reason_and_a_stale_page_changes_nothing() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let bo = Browser::sign_in(&desk, BO_TOKEN).await;
    let wordless = bo.decide(&asked.id, "refuse", " ").await;
    assert_eq!(wordless.status(), 400);
    assert!(wordless.text().await.unwrap().contains("role=\"alert\""));
    let cy = Browser::sign_in(&desk, CY_TOKEN).await;
    let page = cy.page(&format!("/approvals/{}", asked.id)).await;
    assert_eq!(
        bo.decide(&asked.id, "refuse", "too <b>risky</b>")
            .await
            .status(),
        303
    );
    let form = [
        ("csrf", field(&page, "csrf")),
        ("version", field(&page, "version")),
        ("verdict", "grant".to_owned()),
        ("reason", "fine".to_owned()),
    ];
    let form: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let path = format!("/approvals/{}/decision", asked.id);
    let stale = cy.send(&path, &form).send().await.unwrap();
    assert_eq!(stale.status(), 409);
    let page = stale.text().await.unwrap();
    assert!(
        page.contains("too &#60;b&#62;risky&#60;/b&#62;"),
        "what was decided is shown"
    );
    assert_eq!(desk.look(&asked.id, 0).await.state, ApprovalState::Refused);
}

#[tokio::test]
async fn p7_the_requester_sees_no_buttons_and_a_made_up_form_does_not_help() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let ana = Browser::sign_in(&desk, ANA_TOKEN).await;
    let page = ana.page(&format!("/approvals/{}", asked.id)).await;
    assert!(page.contains("somebody else has to decide") && !page.contains("name=\"verdict\""));
    let csrf = field(&page, "csrf");
    let form = [
        ("csrf", csrf.as_str()),
        ("version", "1"),
        ("verdict", "grant"),
        ("reason", ""),
    ];
    let path = format!("/approvals/{}/decision", asked.id);
    let own = ana.send(&path, &form).send().await.unwrap();
    assert_eq!(own.status(), 403);
    assert_eq!(desk.look(&asked.id, 0).await.state, ApprovalState::Pending);
}

#[tokio::test]
async fn p5_nothing_is_shown_without_signing_in() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let stranger = Browser {
        desk: &desk,
        cookie: "gate_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
    };
    let path = format!("/approvals/{}", asked.id);
    for (path, to) in [
        ("/", "/sign-in".to_owned()),
        ("/decided", "/sign-in?next=/decided".to_owned()),
        (path.as_str(), format!("/sign-in?next={path}")),
    ] {
        let answer = stranger.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{path}");
        assert_eq!(answer.headers()["location"].to_str().unwrap(), to);
        assert!(!answer.text().await.unwrap().contains(&asked.id));
    }
    for token in ["", "canary-of-a-token-1", DESK_TOKEN] {
        let form = [("token", token), ("next", "//evil.example")];
        let refused = stranger.send("/sign-in", &form).send().await.unwrap();
        assert_eq!(refused.status(), 403);
        assert!(refused.headers().get("set-cookie").is_none());
        let page = refused.text().await.unwrap();
        assert!(
            !page.contains("canary") && !page.contains("evil"),
            "nothing is sent back"
        );
    }
    let bearer = desk.get(&path, BO_TOKEN).send().await.unwrap();
    assert_eq!(bearer.status(), 303, "pages want the cookie, not a token");
}

#[tokio::test]
async fn forms_of_other_sites_and_without_their_token_are_refused() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let bo = Browser::sign_in(&desk, BO_TOKEN).await;
    let cy = Browser::sign_in(&desk, CY_TOKEN).await;
    let path = format!("/approvals/{}/decision", asked.id);
    let page = bo.page(&format!("/approvals/{}", asked.id)).await;
    let foreign = field(&cy.page(&format!("/approvals/{}", asked.id)).await, "csrf");
    let own = field(&page, "csrf");
    let with = |csrf: &str| {
        let form = [("csrf", csrf), ("version", "1"), ("verdict", "grant")];
        bo.send(&path, &form)
    };
    for csrf in ["", "x", foreign.as_str()] {
        assert_eq!(with(csrf).send().await.unwrap().status(), 403, "{csrf}");
    }
    let missing = bo
        .send(&path, &[("version", "1"), ("verdict", "grant")])
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 400);
    let bare = |request: RequestBuilder| {
        request
            .header("cookie", &bo.cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("csrf={own}&version=1&verdict=grant"))
    };
    let post = || desk.http.post(desk.url(&path));
    let origins = [
        "null",
        "https://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
    ];
    for origin in origins {
        let forged = bare(post()).header("origin", origin).send().await.unwrap();
        assert_eq!(forged.status(), 403, "{origin}");
    }
    assert_eq!(
        bare(post()).send().await.unwrap().status(),
        403,
        "no origin"
    );
    let cross = bare(post())
        .header("origin", desk.url(""))
        .header("sec-fetch-site", "cross-site");
    assert_eq!(cross.send().await.unwrap().status(), 403);
    assert_eq!(desk.look(&asked.id, 0).await.state, ApprovalState::Pending);
    let right = bare(post())
        .header("origin", desk.url(""))
        .send()
        .await
        .unwrap();
    assert_eq!(right.status(), 303, "the same form from its own page");
}

#[tokio::test]
async fn another_sites_name_for_this_address_gets_nothing() {
    let desk = Desk::with(&["--public-url", "https://Approvals.gw.example"]).await;
    let port = desk.address.port();
    for good in [
        "approvals.gw.example".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
    ] {
        let answer = desk
            .http
            .get(desk.url("/sign-in"))
            .header("host", &good)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{good}");
    }
    for bad in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
    ] {
        for path in ["/sign-in", "/", "/style.css", "/nowhere"] {
            let answer = desk
                .http
                .get(desk.url(path))
                .header("host", &bad)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 403, "{bad} {path}");
        }
    }
    let answer = desk.ask(&ask(&[3])).await;
    assert_eq!(
        answer.url,
        format!("https://approvals.gw.example/approvals/{}", answer.id)
    );
    let script = desk
        .get("/v1/approvals", BO_TOKEN)
        .header("origin", "https://evil.example");
    assert_eq!(
        script.send().await.unwrap().status(),
        403,
        "programs in browsers too"
    );
    let form = desk
        .http
        .post(desk.url("/sign-in"))
        .header("host", "approvals.gw.example")
        .header("origin", "https://approvals.gw.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={BO_TOKEN}"));
    let signed_in = form.send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-gate_session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn every_answer_stays_where_it_is() {
    let desk = Desk::start().await;
    for path in [
        "/",
        "/sign-in",
        "/style.css",
        "/nowhere",
        "/v1/keys",
        "/healthz",
        "/metrics",
    ] {
        let answer = desk.http.get(desk.url(path)).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
    }
}

#[tokio::test]
async fn a_session_ends_when_its_approver_signs_out() {
    let desk = Desk::start().await;
    let bo = Browser::sign_in(&desk, BO_TOKEN).await;
    let csrf = field(&bo.page("/").await, "csrf");
    let forged = bo.send("/sign-out", &[("csrf", "x")]).send().await.unwrap();
    assert_eq!(forged.status(), 403);
    let out = bo
        .send("/sign-out", &[("csrf", &csrf)])
        .send()
        .await
        .unwrap();
    assert_eq!(out.status(), 303);
    assert!(
        out.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(bo.get("/").send().await.unwrap().status(), 303);
}

#[tokio::test]
async fn a_link_from_elsewhere_finds_who_has_signed_in() {
    let desk = Desk::start().await;
    let asked = pending(&desk, 3).await;
    let path = format!("/approvals/{}", asked.id);
    // a strict cookie stays at home when a link of another site is followed
    let followed = desk
        .http
        .get(desk.url(&path))
        .header("sec-fetch-site", "cross-site");
    let page = followed.send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains(&format!("url={path}?again=1")), "{page}");
    let again = desk
        .http
        .get(desk.url(&format!("{path}?again=1")))
        .send()
        .await
        .unwrap();
    assert_eq!(
        again.headers()["location"].to_str().unwrap(),
        format!("/sign-in?next={path}")
    );
    let bo = Browser::sign_in(&desk, BO_TOKEN).await;
    assert!(
        bo.page(&format!("{path}?again=1"))
            .await
            .contains("Your decision")
    );
}
