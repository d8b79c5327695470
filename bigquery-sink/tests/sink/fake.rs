//! A BigQuery that records what it is asked and misbehaves when told to.
//!
//! Stricter than the emulator: streams have offsets with the service's own error details, rows can
//! be refused by index, answers can get lost after the rows were written.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes as Body,
    extract::State as Shared,
    http::{Method, StatusCode, Uri},
};
use bigquery_sink::bigquery::proto::{
    self, AppendRowsRequest, AppendRowsResponse, CreateWriteStreamRequest,
    FinalizeWriteStreamRequest, FinalizeWriteStreamResponse, RowError, StorageError, WriteStream,
    append_rows_request::Rows,
    append_rows_response::{AppendResult, Response as Outcome},
    big_query_write_server::{BigQueryWrite, BigQueryWriteServer},
    storage_error::StorageErrorCode as Cause,
};
use bytes::Bytes;
use contract::{Envelope, Stamp};
use prost::Message;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

/// What to do with the next append instead of answering it properly.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Write the rows, then cut the connection without an answer.
    LoseAnswer,
    /// Write nothing and answer with this.
    Refuse(Code, Cause),
    /// Write nothing and end the connection with this.
    End(Code),
}

/// How rows with person `poison` are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poison {
    /// As BigQuery does: the rows are named.
    #[default]
    Named,
    /// The request is refused, and nobody says why.
    Unnamed,
}

/// One append as it came.
#[derive(Clone, Debug)]
pub struct Append {
    pub request: AppendRowsRequest,
    pub route: String,
    /// Place of the request on its connection.
    pub place: usize,
}

#[derive(Default)]
pub struct World {
    pub faults: VecDeque<Fault>,
    pub poison: Poison,
    /// Refuses whatever comes, as if the request as such were wrong.
    pub refuse_all: bool,
    pub refuse_views: bool,
    pub rest: Vec<(Method, String, Value)>,
    pub appends: Vec<Append>,
    pub finalized: Vec<String>,
    /// All rows in the table.
    pub rows: Vec<Bytes>,
    table: Option<Value>,
    streams: BTreeMap<String, (u64, bool)>,
}

/// The running fake; a clone is the same.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    pub rest: u16,
    pub grpc: u16,
}

impl Fake {
    pub async fn start() -> Self {
        Self::start_on(0, 0).await
    }

    pub async fn start_on(rest: u16, grpc: u16) -> Self {
        let rest = TcpListener::bind(("127.0.0.1", rest)).await.unwrap();
        let grpc = TcpListener::bind(("127.0.0.1", grpc)).await.unwrap();
        let fake = Self {
            world: Arc::default(),
            rest: rest.local_addr().unwrap().port(),
            grpc: grpc.local_addr().unwrap().port(),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(rest, router).await });
        let service = BigQueryWriteServer::new(fake.clone()).max_decoding_message_size(20 << 20);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(grpc)),
        );
        fake
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Kind, person and number of all rows in the table, in the order of their numbers.
    pub fn table(&self) -> Vec<(String, String, i64)> {
        let world = self.world();
        let mut rows: Vec<_> = world
            .rows
            .iter()
            .map(|row| {
                let envelope = Envelope::decode(row.clone()).unwrap();
                let seq = Stamp::decode(row.clone()).unwrap().sink_seq();
                (
                    envelope.kind().to_owned(),
                    envelope.person().to_owned(),
                    seq,
                )
            })
            .collect();
        rows.sort_by_key(|row| row.2);
        rows
    }
}

impl World {
    /// Forgets the table, as if somebody had dropped and remade it elsewhere.
    pub fn forget_table(&mut self) {
        self.table = None;
    }

    fn append(
        &mut self,
        stream: &str,
        request: &AppendRowsRequest,
    ) -> Result<AppendRowsResponse, Option<Status>> {
        let Some(Rows::ProtoRows(data)) = &request.rows else {
            return Err(Some(Status::invalid_argument("no rows")));
        };
        let rows = data.rows.clone().unwrap_or_default().serialized_rows;
        let Some((end, closed)) = self.streams.get(stream).copied() else {
            return Err(Some(Status::not_found("no such stream")));
        };
        let offset = u64::try_from(request.offset.unwrap()).unwrap();
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Refuse(code, cause)) => return Ok(refusal(code, cause)),
            Some(Fault::End(code)) => return Err(Some(Status::new(code, "as told"))),
            Some(Fault::LoseAnswer) | None => {}
        }
        if closed {
            return Ok(refusal(Code::InvalidArgument, Cause::StreamFinalized));
        }
        if offset < end {
            return Ok(refusal(Code::AlreadyExists, Cause::OffsetAlreadyExists));
        }
        if offset > end {
            return Ok(refusal(Code::OutOfRange, Cause::OffsetOutOfRange));
        }
        let poisoned = |row: &Bytes| Envelope::decode(row.clone()).unwrap().person() == "poison";
        let bad: Vec<usize> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| poisoned(row))
            .map(|(at, _)| at)
            .collect();
        if self.refuse_all || !bad.is_empty() {
            let mut response = refusal(Code::InvalidArgument, Cause::Unspecified);
            if self.poison == Poison::Named && !self.refuse_all {
                let row_error = |at| RowError {
                    index: i64::try_from(at).unwrap(),
                    message: String::new(),
                };
                response.row_errors = bad.into_iter().map(row_error).collect();
            }
            return Ok(response);
        }
        self.streams
            .insert(stream.to_owned(), (end + rows.len() as u64, false));
        self.rows.extend(rows);
        if fault.is_some() {
            return Err(None);
        }
        Ok(AppendRowsResponse {
            response: Some(Outcome::AppendResult(AppendResult {
                offset: request.offset,
            })),
            ..AppendRowsResponse::default()
        })
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let parts: Vec<&str> = path
            .trim_start_matches("/bigquery/v2/projects/")
            .split('/')
            .collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", [_, "datasets", _, "tables", _]) => match &self.table {
                Some(table) => (StatusCode::OK, table.clone()),
                None => (StatusCode::NOT_FOUND, json!({})),
            },
            ("POST", [_, "datasets", _, "tables"]) => {
                self.table = Some(body.clone());
                (StatusCode::OK, body.clone())
            }
            ("PATCH", _) => {
                self.table.as_mut().unwrap()["schema"] = body["schema"].clone();
                (StatusCode::OK, json!({}))
            }
            ("GET", [_, "datasets", _]) => (StatusCode::NOT_FOUND, json!({})),
            ("POST", [_, "queries"]) => {
                let sql = body["query"].as_str().unwrap();
                if sql.contains("MAX(sink_seq)") {
                    let last = self
                        .rows
                        .iter()
                        .map(|row| Stamp::decode(row.clone()).unwrap().sink_seq())
                        .max();
                    let last = last.map(|seq| seq.to_string());
                    return (
                        StatusCode::OK,
                        json!({ "jobComplete": true, "rows": [{ "f": [{ "v": last }] }] }),
                    );
                }
                if sql.contains("VIEW") && self.refuse_views {
                    let fault = json!({ "error": { "errors": [{ "reason": "accessDenied" }] } });
                    return (StatusCode::FORBIDDEN, fault);
                }
                (StatusCode::OK, json!({ "jobComplete": true }))
            }
            _ => (StatusCode::OK, json!({})),
        }
    }
}

async fn answer(
    Shared(fake): Shared<Fake>,
    method: Method,
    uri: Uri,
    body: Body,
) -> (StatusCode, Json<Value>) {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let mut world = fake.world();
    let (status, answer) = world.answer(&method, uri.path(), &body);
    world.rest.push((method, uri.path().to_owned(), body));
    (status, Json(answer))
}

#[tonic::async_trait]
impl BigQueryWrite for Fake {
    type AppendRowsStream = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

    async fn create_write_stream(
        &self,
        request: Request<CreateWriteStreamRequest>,
    ) -> Result<Response<WriteStream>, Status> {
        let request = request.into_inner();
        let mut world = self.world();
        if world.table.is_none() {
            return Err(Status::not_found("no such table"));
        }
        let name = format!("{}/streams/s{}", request.parent, world.streams.len());
        world.streams.insert(name.clone(), (0, false));
        Ok(Response::new(WriteStream {
            name,
            ..request.write_stream.unwrap()
        }))
    }

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Response<Self::AppendRowsStream>, Status> {
        let route = request
            .metadata()
            .get("x-goog-request-params")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        let fake = self.clone();
        tokio::spawn(async move {
            let mut name = String::new();
            let mut place = 0;
            while let Ok(Some(request)) = requests.message().await {
                if place == 0 {
                    name.clone_from(&request.write_stream);
                }
                let answer = {
                    let mut world = fake.world();
                    world.appends.push(Append {
                        request: request.clone(),
                        route: route.clone(),
                        place,
                    });
                    world.append(&name, &request)
                };
                place += 1;
                let answer = match answer {
                    Ok(response) => Ok(response),
                    Err(Some(status)) => Err(status),
                    Err(None) => return,
                };
                let over = answer.is_err();
                if answers.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn finalize_write_stream(
        &self,
        request: Request<FinalizeWriteStreamRequest>,
    ) -> Result<Response<FinalizeWriteStreamResponse>, Status> {
        let name = request.into_inner().name;
        let mut world = self.world();
        let Some(stream) = world.streams.get_mut(&name) else {
            return Err(Status::not_found("no such stream"));
        };
        stream.1 = true;
        let row_count = i64::try_from(stream.0).unwrap();
        world.finalized.push(name);
        Ok(Response::new(FinalizeWriteStreamResponse { row_count }))
    }
}

fn refusal(code: Code, cause: Cause) -> AppendRowsResponse {
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/google.cloud.bigquery.storage.v1.StorageError".into(),
        value: StorageError { code: cause.into() }.encode_to_vec(),
    };
    AppendRowsResponse {
        response: Some(Outcome::Error(proto::Status {
            code: code.into(),
            message: "as told".into(),
            details: if cause == Cause::Unspecified {
                Vec::new()
            } else {
                vec![detail]
            },
        })),
        ..AppendRowsResponse::default()
    }
}
