//! stub
#![allow(missing_docs)]
use crate::mask::*;
#[derive(Clone, Copy, Debug)]
pub enum Api {
    Chat,
    Completions,
}
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub max_content: usize,
    pub max_findings: usize,
}
#[derive(Clone, Debug)]
pub struct Placed {
    pub finding: Finding,
    pub channel: String,
}
#[derive(Clone, Debug)]
pub struct Unscanned {
    pub reason: &'static str,
    pub bytes: usize,
}
#[derive(Debug)]
pub struct Unreadable;
pub struct MaskedRequest {
    pub body: Option<Vec<u8>>,
    pub model: Option<String>,
    pub stream: bool,
    pub findings: Vec<Placed>,
    pub findings_count: u64,
    pub unscanned: Vec<Unscanned>,
}
#[derive(Debug, Default)]
pub struct ResponseFacts {
    pub findings: Vec<Placed>,
    pub findings_count: u64,
    pub unscanned: Vec<Unscanned>,
    pub content: String,
    pub content_truncated: bool,
}
pub struct MaskedResponse {
    pub body: Option<Vec<u8>>,
    pub facts: ResponseFacts,
}
pub fn mask_request(_: Api, _: &Masker, _: &[u8], _: &Limits) -> Result<MaskedRequest, Unreadable> {
    Ok(MaskedRequest {
        body: None,
        model: Some("gpt-4.1".into()),
        stream: true,
        findings: vec![],
        findings_count: 0,
        unscanned: vec![],
    })
}
pub fn mask_response(
    _: Api,
    _: &Masker,
    _: &[u8],
    _: &Limits,
) -> Result<MaskedResponse, Unreadable> {
    Err(Unreadable)
}
pub fn mask_plain(_: &Masker, _: &[u8], _: &Limits) -> Result<MaskedResponse, Unreadable> {
    Err(Unreadable)
}
pub fn restrict_models(
    _: &[u8],
    _: &dyn Fn(&str) -> bool,
    _: &[&str],
) -> Result<Vec<u8>, Unreadable> {
    Err(Unreadable)
}
pub fn completion_stream_empty() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}
#[derive(Debug)]
pub struct ResponseMask;
impl ResponseMask {
    pub fn new(_: Api, _: Masker, _: Limits) -> Self {
        Self
    }
    pub fn push(&mut self, c: &[u8], o: &mut Vec<u8>) -> Result<(), Unreadable> {
        o.extend(c);
        Ok(())
    }
    pub fn finish(&mut self, _: &mut Vec<u8>) {}
    pub fn facts(&self) -> ResponseFacts {
        ResponseFacts::default()
    }
    pub fn end_readably(&mut self, _: &str, _: &mut Vec<u8>) {}
}
