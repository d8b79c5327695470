//! Who may call at all: the site that a browser comes from, and bearer tokens.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use contract::Token;

use crate::config::{Approver, Config, Public};

/// What the desk answers to.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Names by which browsers may call it: else another site's name could be pointed here.
    hosts: Vec<String>,
    /// Sites whose forms it takes: its own.
    origins: Vec<String>,
    desk_tokens: Vec<Token>,
    approvers: Vec<Approver>,
}

impl Guard {
    /// `listen` is where the desk really listens, its port not 0.
    pub fn new(config: &Config, listen: SocketAddr) -> Self {
        let local =
            ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{}", listen.port()));
        let Public { origin, .. } = &config.public;
        let mut origins: Vec<String> = local.iter().map(|host| format!("http://{host}")).collect();
        origins.push(origin.clone());
        let mut hosts: Vec<String> = local.into();
        hosts.extend(origin.split_once("://").map(|(_, host)| host.to_owned()));
        Self {
            hosts,
            origins,
            desk_tokens: config.desk_tokens.clone(),
            approvers: config.approvers.clone(),
        }
    }

    /// Whether the call carries the filter's token.
    pub fn is_filter(&self, headers: &HeaderMap) -> bool {
        let Some(token) = bearer(headers) else {
            return false;
        };
        let mut is = false;
        for known in &self.desk_tokens {
            is |= known.is(&token);
        }
        is
    }

    /// The approver whose token the call carries.
    pub fn approver(&self, headers: &HeaderMap) -> Option<&str> {
        self.approver_of(&bearer(headers)?)
    }

    /// The approver who has this token.
    pub fn approver_of(&self, token: &Token) -> Option<&str> {
        let mut found = None;
        for approver in &self.approvers {
            if approver.token.is(token) {
                found = Some(approver.person.as_str());
            }
        }
        found
    }

    /// Why a call must not come from where it comes from.
    fn fault(&self, request: &Request) -> Option<&'static str> {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let path = request.uri().path();
        let for_programs = path.starts_with("/v1/") || PROBES.contains(&path);
        let origin = text("origin");
        if let Some(origin) = origin
            && !self
                .origins
                .iter()
                .any(|own| own.eq_ignore_ascii_case(origin))
        {
            return Some("the request comes from another site");
        }
        if for_programs && origin.is_none() {
            return None; // a proxy's callout names its cluster, and without a token it gets nothing
        }
        let host = text("host").or_else(|| request.uri().authority().map(Authority::as_str));
        if !host.is_some_and(|host| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))) {
            return Some("the desk is not known by this name");
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        if changes
            && (origin.is_none()
                || text("sec-fetch-site").is_some_and(|site| site != "same-origin"))
        {
            return Some("the form was not sent from the desk's own page");
        }
        None
    }
}

/// Refuses what comes from another site, and gives every answer the headers that keep it where it is.
pub async fn guard(
    State(guard): State<std::sync::Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.fault(&request) {
        Some(fault) => (StatusCode::FORBIDDEN, format!("{fault}\n")).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Token::new(token.trim()))
}

const PROBES: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

const HEADERS: [(header::HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "same-origin"), // without any, browsers send no origin with a form
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
