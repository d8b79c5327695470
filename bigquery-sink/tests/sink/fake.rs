//! A strict BigQuery that misbehaves when told to, or at random.
//!
//! It enforces what the service enforces and the emulator lets pass: routing headers, the rules of a
//! connection's first request, the writer's schema against the table's, offsets with the service's
//! own error details, the size of requests, and the values of rows, which are refused by their place.
//! What a client must never do, whether the service would notice or not, is noted as a violation.
//!
//! Clients connect through a relay, so that connections can be cut at any moment while what is on
//! its way still arrives: streams and rows outlive connections, as they do in the service.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes as Body,
    extract::State as Shared,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use bigquery_sink::bigquery::proto::{
    self, AppendRowsRequest, AppendRowsResponse, CreateWriteStreamRequest,
    FinalizeWriteStreamRequest, FinalizeWriteStreamResponse, RetryInfo, RowError, StorageError,
    TableSchema, WriteStream,
    append_rows_request::Rows,
    append_rows_response::{AppendResult, Response as Outcome},
    big_query_write_server::{BigQueryWrite, BigQueryWriteServer},
    row_error::RowErrorCode,
    storage_error::StorageErrorCode as Cause,
};
use bytes::{Buf, Bytes};
use contract::{Envelope, Stamp};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{Any, DescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
    time::sleep,
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};

/// What to do with the next append instead of answering it properly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Write nothing and cut all connections.
    Cut,
    /// Write the rows and cut all connections.
    WriteAndCut,
    /// Write the rows, then end the call without an answer.
    LoseAnswer,
    /// Write the rows of this and of all later requests of the connection and never answer.
    Silence,
    /// Cut all connections and write the rows so much later, when the client is back.
    Late(Duration),
    /// Write nothing and answer with this.
    Refuse(Code, Cause),
    /// Write nothing and end the connection with this.
    End(Code),
    /// Write nothing: too much was asked, to be tried again after this time.
    Quota(Duration),
    /// Somebody has closed the stream.
    Finalize,
    /// Write the rows, then end the call without an answer, and the stream with it.
    LoseStream,
    /// The stream was idle for too long: there is none any more.
    Expire,
    /// Write and answer, and say that the table's schema has changed.
    Notice,
    /// Write, and answer after so long.
    Slow(Duration),
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
    /// Those of table `lineage`.
    pub lineage_faults: VecDeque<Fault>,
    /// Random faults, in so many of a thousand appends.
    pub weather: Option<(StdRng, u32)>,
    pub poison: Poison,
    /// Refuses whatever comes, as if the request as such were wrong.
    pub refuse_all: bool,
    /// Refuses whatever comes for table `lineage`.
    pub refuse_lineage: Option<Code>,
    pub refuse_views: bool,
    /// Refuses to change datasets, for this reason.
    pub refuse_access: Option<&'static str>,
    /// How often somebody else changes a dataset between a reading and a writing of the sink.
    pub meddle: usize,
    /// Counts appends and rows and forgets them.
    pub forgetful: bool,
    pub rest: Vec<(Method, String, Value)>,
    pub appends: Vec<Append>,
    pub finalized: Vec<String>,
    /// All rows in the table.
    pub rows: Vec<Bytes>,
    /// All rows in table `lineage`.
    pub lineage: Vec<Bytes>,
    /// Number of rows, also if they are forgotten.
    pub count: u64,
    /// Number of appends that came after their connection.
    pub late: u32,
    /// What no client may do.
    pub violations: Vec<String>,
    /// How often which fault happened.
    pub happened: BTreeMap<String, u32>,
    /// By their names.
    pub tables: BTreeMap<String, Value>,
    /// By their names.
    pub datasets: BTreeMap<String, Value>,
    streams: BTreeMap<String, WriteTo>,
    created: usize,
    changes: usize,
}

/// A write stream.
#[derive(Clone, Default)]
struct WriteTo {
    closed: bool,
    /// A digest of each row.
    rows: Vec<u64>,
}

/// The running fake; a clone is the same.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    relays: Arc<Mutex<Vec<AbortHandle>>>,
    /// Ports that clients connect to.
    pub rest: u16,
    pub grpc: u16,
    /// Ports behind them, for who wants to spare the relay.
    pub direct: (u16, u16),
}

impl Fake {
    pub async fn start() -> Self {
        Self::start_on(0, 0, None).await
    }

    /// Connections that are older than `age` are asked to end (GOAWAY) and ended a little later.
    pub async fn start_on(rest: u16, grpc: u16, age: Option<Duration>) -> Self {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (rest_inside, grpc_inside) = (bind(0).await, bind(0).await);
        let direct = (port(&rest_inside), port(&grpc_inside));
        let (rest, grpc) = (bind(rest).await, bind(grpc).await);
        let fake = Self {
            world: Arc::default(),
            relays: Arc::default(),
            rest: port(&rest),
            grpc: port(&grpc),
            direct,
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(rest_inside, router).await });
        let service = BigQueryWriteServer::new(fake.clone()).max_decoding_message_size(20 << 20);
        let mut server = Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(4 << 20);
        if let Some(age) = age {
            server = server
                .max_connection_age(age)
                .max_connection_age_grace(Duration::from_millis(50));
        }
        tokio::spawn(
            server
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(grpc_inside).with_nodelay(Some(true))),
        );
        fake.relay(rest, direct.0);
        fake.relay(grpc, direct.1);
        fake
    }

    /// Cuts all connections and refuses new ones until [`Fake::revive`].
    pub fn kill(&self) {
        for relay in self.relays.lock().unwrap().drain(..) {
            relay.abort();
        }
    }

    pub async fn revive(&self) {
        self.relay(bind(self.rest).await, self.direct.0);
        self.relay(bind(self.grpc).await, self.direct.1);
    }

    /// Cuts all connections; new ones are welcome.
    pub fn cut(&self) {
        // The first two relays listen, see `relay`.
        let mut relays = self.relays.lock().unwrap();
        let listening = relays.len().min(2);
        for relay in relays.drain(listening..) {
            relay.abort();
        }
    }

    fn relay(&self, listener: TcpListener, to: u16) {
        let relays = Arc::clone(&self.relays);
        let listening = tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let connection = tokio::spawn(async move {
                    let Ok(mut inside) = TcpStream::connect(("127.0.0.1", to)).await else {
                        return;
                    };
                    inside.set_nodelay(true).unwrap();
                    outside.set_nodelay(true).unwrap();
                    let _how = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
                relays.lock().unwrap().push(connection.abort_handle());
            }
        });
        let mut relays = self.relays.lock().unwrap();
        relays.insert(0, listening.abort_handle());
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Epoch and seq of all records in the table, in their order.
    pub fn places(&self) -> Vec<(String, i64)> {
        let place = |row: &Bytes| {
            let envelope = Envelope::decode(row.clone()).unwrap();
            (envelope.epoch().to_owned(), envelope.seq())
        };
        let mut places: Vec<_> = self.world().rows.iter().map(place).collect();
        places.sort();
        places
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

async fn bind(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.unwrap()
}

/// A connection, as the service sees it.
struct Connection {
    route: String,
    stream: String,
    schema: DescriptorProto,
    place: usize,
}

impl World {
    /// Forgets the table, as if somebody had dropped and remade it elsewhere.
    pub fn forget_table(&mut self) {
        self.tables.clear();
    }

    /// From now on faults happen by themselves.
    pub fn storm(&mut self, seed: u64, of_a_thousand: u32) {
        self.weather = Some((StdRng::seed_from_u64(seed), of_a_thousand));
    }

    fn violation(&mut self, what: impl Into<String>) -> Status {
        let what = what.into();
        self.violations.push(what.clone());
        Status::invalid_argument(what)
    }

    fn fault(&mut self, stream: &str) -> Option<Fault> {
        let scripted = match table_of(stream) {
            LINEAGE => self.lineage_faults.pop_front(),
            _ => self.faults.pop_front(),
        };
        let fault = scripted.or_else(|| {
            let (random, rate) = self.weather.as_mut()?;
            (random.random_range(0..1000) < *rate).then(|| any_fault(random))
        })?;
        let name = format!("{fault:?}");
        let name = name.split('(').next().unwrap_or_default().to_owned();
        *self.happened.entry(name).or_default() += 1;
        Some(fault)
    }

    /// What is wrong with a request before its rows are looked at: `Err` ends the connection.
    fn first_look(
        &mut self,
        connection: &mut Connection,
        request: &AppendRowsRequest,
    ) -> Result<Option<AppendRowsResponse>, Status> {
        let Some(Rows::ProtoRows(data)) = &request.rows else {
            return Err(self.violation("a request without rows"));
        };
        if connection.place == 0 {
            if request.write_stream.is_empty() {
                return Err(self.violation("the first request names no stream"));
            }
            connection.stream.clone_from(&request.write_stream);
            let route = format!("write_stream={}", connection.stream.replace('/', "%2F"));
            if connection.route != route {
                return Err(self.violation(format!("routed by {:?}", connection.route)));
            }
            if request.trace_id.is_empty() {
                self.violation("the first request has no trace id");
            }
        } else if !request.write_stream.is_empty() && request.write_stream != connection.stream {
            return Err(self.violation("one connection, two streams"));
        }
        let schema = data.writer_schema.as_ref();
        if let Some(schema) = schema.and_then(|schema| schema.proto_descriptor.clone()) {
            connection.schema = schema;
        } else if connection.place == 0 {
            return Err(self.violation("the first request has no schema"));
        }
        if request.encoded_len() > MAX_REQUEST_BYTES {
            self.violation("a request is too large");
            return Ok(Some(refusal(Code::InvalidArgument, Cause::Unspecified)));
        }
        if request.offset.is_none() {
            return Err(self.violation("no offset"));
        }
        Ok(None)
    }

    /// What happens to the rows of a request.
    fn append(
        &mut self,
        stream: &str,
        schema: &DescriptorProto,
        request: &AppendRowsRequest,
    ) -> AppendRowsResponse {
        let Some(Rows::ProtoRows(data)) = &request.rows else {
            return refusal(Code::InvalidArgument, Cause::Unspecified);
        };
        let rows = data.rows.as_ref().map(|rows| &rows.serialized_rows[..]);
        let rows = rows.unwrap_or_default();
        let Some(table) = self.tables.get(table_of(stream)) else {
            return refusal(Code::NotFound, Cause::TableNotFound);
        };
        let kinds = kinds_of(table);
        let lineage = table_of(stream) == LINEAGE;
        let Some(write_to) = self.streams.get(stream) else {
            return refusal(Code::NotFound, Cause::StreamNotFound);
        };
        if write_to.closed {
            return refusal(Code::InvalidArgument, Cause::StreamFinalized);
        }
        let unknown = |field: &FieldDescriptorProto| !kinds.contains_key(field.name());
        if schema.field.iter().any(unknown) {
            return refusal(Code::InvalidArgument, Cause::SchemaMismatchExtraFields);
        }
        let end = write_to.rows.len();
        let offset = usize::try_from(request.offset.unwrap_or(-1)).unwrap_or(usize::MAX);
        if offset < end {
            let known = rows.iter().map(|row| digest(row));
            if !known
                .zip(&write_to.rows[offset..])
                .all(|(new, old)| new == *old)
            {
                self.violation(format!("offset {offset} is used again for another row"));
            }
            return refusal(Code::AlreadyExists, Cause::OffsetAlreadyExists);
        }
        if offset > end {
            return refusal(Code::OutOfRange, Cause::OffsetOutOfRange);
        }
        let bad: Vec<RowError> = if self.forgetful {
            Vec::new()
        } else {
            let fault = |(at, row): (usize, &Bytes)| {
                let message = fault_of(row, schema, &kinds)?;
                Some(RowError {
                    index: i64::try_from(at).unwrap(),
                    code: RowErrorCode::FieldsError.into(),
                    message,
                })
            };
            rows.iter().enumerate().filter_map(fault).collect()
        };
        if let Some(code) = self.refuse_lineage.filter(|_| lineage) {
            return refusal(code, Cause::Unspecified);
        }
        if self.refuse_all || !bad.is_empty() {
            let mut response = refusal(Code::InvalidArgument, Cause::Unspecified);
            if self.poison == Poison::Named && !self.refuse_all {
                response.row_errors = bad;
            }
            return response;
        }
        if !lineage {
            self.count += rows.len() as u64;
        }
        if let Some(write_to) = self.streams.get_mut(stream) {
            if self.forgetful {
                write_to.rows.resize(end + rows.len(), 0);
            } else {
                write_to.rows.extend(rows.iter().map(|row| digest(row)));
                let table = if lineage {
                    &mut self.lineage
                } else {
                    &mut self.rows
                };
                table.extend(rows.iter().cloned());
            }
        }
        AppendRowsResponse {
            response: Some(Outcome::AppendResult(AppendResult {
                offset: request.offset,
            })),
            ..AppendRowsResponse::default()
        }
    }

    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        etag: Option<&str>,
        body: &Value,
    ) -> (StatusCode, Value) {
        let path = uri.path();
        let parts: Vec<&str> = path
            .trim_start_matches("/bigquery/v2/projects/")
            .split('/')
            .collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", [_, "datasets", _, "tables", name]) => match self.tables.get(*name) {
                Some(table) => (StatusCode::OK, table.clone()),
                None => (StatusCode::NOT_FOUND, json!({})),
            },
            ("POST", [_, "datasets", _, "tables"]) => {
                let name = body["tableReference"]["tableId"].as_str().unwrap();
                self.tables.insert(name.to_owned(), body.clone());
                (StatusCode::OK, body.clone())
            }
            ("PATCH", [_, "datasets", _, "tables", name]) => {
                let table = self.tables.get_mut(*name).unwrap();
                for (key, value) in body.as_object().unwrap() {
                    table[key] = value.clone();
                }
                (StatusCode::OK, json!({}))
            }
            ("POST", [_, "datasets"]) => {
                let name = body["datasetReference"]["datasetId"].as_str().unwrap();
                self.dataset(name, body);
                (StatusCode::OK, body.clone())
            }
            ("GET", [_, "datasets", name]) => match self.datasets.get(*name) {
                Some(dataset) => (StatusCode::OK, dataset.clone()),
                None => (StatusCode::NOT_FOUND, json!({})),
            },
            ("PATCH", [_, "datasets", name]) => {
                if uri.query() != Some("accessPolicyVersion=3") {
                    self.violation("conditions of entries would be lost");
                }
                if let Some(reason) = self.refuse_access {
                    let fault = json!({ "error": { "errors": [{ "reason": reason }] } });
                    return (StatusCode::FORBIDDEN, fault);
                }
                let mut dataset = self.datasets[*name].clone();
                if self.meddle > 0 {
                    self.meddle -= 1;
                    let entry = json!({ "role": "READER", "userByEmail": format!("{}@example.com", self.meddle) });
                    dataset["access"].as_array_mut().unwrap().push(entry);
                    self.dataset(name, &dataset);
                }
                match etag {
                    None => self.violation("a dataset is changed whatever it is now"),
                    Some(etag) if self.datasets[*name]["etag"] == etag => {
                        dataset["access"] = body["access"].clone();
                        self.dataset(name, &dataset);
                        return (StatusCode::OK, json!({}));
                    }
                    Some(_) => Status::aborted("it has changed"),
                };
                (StatusCode::PRECONDITION_FAILED, json!({}))
            }
            ("POST", [_, "queries"]) => {
                let sql = body["query"].as_str().unwrap();
                if sql.contains("MAX(sink_seq)") {
                    let parameters = body["queryParameters"].as_array().unwrap();
                    let id = parameters
                        .iter()
                        .find(|one| one["name"] == "sink_id")
                        .unwrap();
                    let id = id["parameterValue"]["value"].as_str().unwrap();
                    let stamp = |row: &Bytes| Stamp::decode(row.clone()).unwrap();
                    let stamps: Vec<Stamp> = if sql.contains(".lineage`") {
                        self.lineage.iter().map(stamp_of_lineage).collect()
                    } else {
                        self.rows.iter().map(stamp).collect()
                    };
                    let last = stamps
                        .iter()
                        .filter(|stamp| stamp.sink_id() == id)
                        .map(Stamp::sink_seq)
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

    /// Makes or changes a dataset.
    pub fn dataset(&mut self, name: &str, content: &Value) {
        self.changes += 1;
        let mut content = content.clone();
        content["etag"] = json!(format!("etag{}", self.changes));
        if content["access"].is_null() {
            content["access"] = json!([{ "role": "OWNER", "specialGroup": "projectOwners" }]);
        }
        self.datasets.insert(name.to_owned(), content);
    }

    fn route(&mut self, metadata: &MetadataMap, key: &str, name: &str) -> Result<(), Status> {
        let route = format!("{key}={}", name.replace('/', "%2F"));
        if route_of(metadata) == route {
            return Ok(());
        }
        Err(self.violation(format!("{name}: routed by {:?}", route_of(metadata))))
    }
}

/// The faults that a service has on a bad day.
fn any_fault(random: &mut impl Rng) -> Fault {
    let millis = Duration::from_millis(random.random_range(1..400));
    let codes = [
        Code::Aborted,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Internal,
        Code::ResourceExhausted,
        Code::Unavailable,
    ];
    let code = codes[random.random_range(0..codes.len())];
    match random.random_range(0..14) {
        0 => Fault::Cut,
        1 => Fault::WriteAndCut,
        2 => Fault::LoseAnswer,
        3 => Fault::Silence,
        4 => Fault::Late(millis),
        5 => Fault::Refuse(code, Cause::Unspecified),
        6 => Fault::End(code),
        7 => Fault::Quota(millis),
        8 => Fault::Finalize,
        9 => Fault::Expire,
        10 => Fault::Notice,
        11 => Fault::Refuse(Code::FailedPrecondition, Cause::StreamFinalized),
        12 => Fault::LoseStream,
        _ => Fault::Slow(millis),
    }
}

/// What tells where a row of table `lineage` came from.
#[derive(Clone, PartialEq, Message)]
pub struct Origin {
    #[prost(int64, tag = "4")]
    pub suggestion: i64,
    #[prost(string, tag = "12")]
    pub sink_id: String,
    #[prost(int64, tag = "13")]
    pub sink_seq: i64,
}

fn stamp_of_lineage(row: &Bytes) -> Stamp {
    let origin = Origin::decode(row.clone()).unwrap();
    Stamp {
        sink_id: Some(origin.sink_id),
        sink_seq: Some(origin.sink_seq),
        ..Stamp::default()
    }
}

/// The table in a path of a table or a stream.
fn table_of(path: &str) -> &str {
    let mut parts = path.split('/').skip_while(|part| *part != "tables");
    parts.nth(1).unwrap_or_default()
}

const LINEAGE: &str = "lineage";

/// Types of the table's columns.
fn kinds_of(table: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = table["schema"]["fields"].as_array();
    let kind = |field: &Value| (text(&field["name"]), text(&field["type"]));
    fields.into_iter().flatten().map(kind).collect()
}

/// Why the table cannot take a row. As with the service, values may be repeated.
fn fault_of(
    row: &Bytes,
    schema: &DescriptorProto,
    kinds: &BTreeMap<String, String>,
) -> Option<String> {
    let mut rest = row.clone();
    while rest.has_remaining() {
        let Ok((number, wire)) = decode_key(&mut rest) else {
            return Some("no protobuf".into());
        };
        let field = schema.field.iter().find(|field| {
            field
                .number
                .is_some_and(|its| u32::try_from(its) == Ok(number))
        });
        let Some(field) = field else {
            return Some(format!("field {number} is not in the schema"));
        };
        let name = field.name();
        let kind = kinds.get(name).map(String::as_str);
        match (field.r#type(), wire) {
            (Type::Int64 | Type::Bool, WireType::Varint) => {
                let Ok(value) = decode_varint(&mut rest) else {
                    return Some("no protobuf".into());
                };
                let years = -62_135_596_800_000_000..=253_402_300_799_999_999;
                if kind == Some("TIMESTAMP") && !years.contains(&value.cast_signed()) {
                    return Some(format!("{name}: {value} is no time"));
                }
            }
            (Type::String | Type::Bytes, WireType::LengthDelimited) => {
                let Ok(length) = decode_varint(&mut rest) else {
                    return Some("no protobuf".into());
                };
                let Some(length) = usize::try_from(length).ok().filter(|n| *n <= rest.len()) else {
                    return Some("cut".into());
                };
                let value = rest.split_to(length);
                if field.r#type() == Type::Bytes {
                    continue;
                }
                let Ok(text) = std::str::from_utf8(&value) else {
                    return Some(format!("{name}: no UTF-8"));
                };
                if kind == Some("JSON")
                    && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
                {
                    return Some(format!("{name}: {text} is no JSON"));
                }
                let poisoned = [("person", "poison"), ("model", "lineage poison")];
                if poisoned.contains(&(name, text))
                    && (name == "person" || kinds.contains_key("fingerprint"))
                {
                    return Some(format!("{name}: {text} cannot be stored"));
                }
            }
            (_, wire) => {
                let skipped = skip_field(wire, number, &mut rest, DecodeContext::default());
                return Some(format!("{name}: another type ({})", skipped.is_ok()));
            }
        }
    }
    None
}

fn digest(row: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}

async fn answer(
    Shared(fake): Shared<Fake>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> (StatusCode, Json<Value>) {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let etag = headers.get("if-match").and_then(|etag| etag.to_str().ok());
    let mut world = fake.world();
    let (status, answer) = world.answer(&method, &uri, etag, &body);
    world.rest.push((method, uri.path().to_owned(), body));
    (status, Json(answer))
}

fn route_of(metadata: &MetadataMap) -> String {
    let route = metadata.get("x-goog-request-params");
    let route = route.and_then(|route| route.to_str().ok());
    route.unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl BigQueryWrite for Fake {
    type AppendRowsStream = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

    async fn create_write_stream(
        &self,
        request: Request<CreateWriteStreamRequest>,
    ) -> Result<Response<WriteStream>, Status> {
        let mut world = self.world();
        world.route(request.metadata(), "parent", &request.get_ref().parent)?;
        let request = request.into_inner();
        if !world.tables.contains_key(table_of(&request.parent)) {
            return Err(Status::not_found("no such table"));
        }
        let name = format!("{}/streams/s{}", request.parent, world.created);
        world.created += 1;
        world.streams.insert(name.clone(), WriteTo::default());
        Ok(Response::new(WriteStream {
            name,
            ..request.write_stream.unwrap_or_default()
        }))
    }

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Response<Self::AppendRowsStream>, Status> {
        let mut connection = Connection {
            route: route_of(request.metadata()),
            stream: String::new(),
            schema: DescriptorProto::default(),
            place: 0,
        };
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        let fake = self.clone();
        tokio::spawn(async move {
            let mut silent = false;
            while let Ok(Some(request)) = requests.message().await {
                let fate = fake.fate(&mut connection, request);
                connection.place += 1;
                match fate {
                    Fate::Answer(answer, after) => {
                        sleep(after).await;
                        let over = answer.is_err();
                        if !silent && (answers.send(*answer).await.is_err() || over) {
                            return;
                        }
                    }
                    Fate::Silence => silent = true,
                    Fate::End => return,
                    Fate::Cut => {
                        fake.cut();
                        return;
                    }
                    Fate::Late(after, request) => {
                        fake.cut();
                        sleep(after).await;
                        let mut world = fake.world();
                        world.append(&connection.stream, &connection.schema, &request);
                        world.late += 1;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn finalize_write_stream(
        &self,
        request: Request<FinalizeWriteStreamRequest>,
    ) -> Result<Response<FinalizeWriteStreamResponse>, Status> {
        let mut world = self.world();
        world.route(request.metadata(), "name", &request.get_ref().name)?;
        let name = request.into_inner().name;
        let Some(stream) = world.streams.get_mut(&name) else {
            return Err(Status::not_found("no such stream"));
        };
        stream.closed = true;
        let row_count = i64::try_from(stream.rows.len()).unwrap();
        world.finalized.push(name);
        Ok(Response::new(FinalizeWriteStreamResponse { row_count }))
    }
}

/// What becomes of a request.
enum Fate {
    Answer(Box<Result<AppendRowsResponse, Status>>, Duration),
    Silence,
    End,
    Cut,
    Late(Duration, Box<AppendRowsRequest>),
}

impl Fake {
    fn fate(&self, connection: &mut Connection, request: AppendRowsRequest) -> Fate {
        let mut world = self.world();
        let at_once = |answer| Fate::Answer(Box::new(answer), Duration::ZERO);
        if !world.forgetful {
            world.appends.push(Append {
                request: request.clone(),
                route: connection.route.clone(),
                place: connection.place,
            });
        }
        match world.first_look(connection, &request) {
            Err(status) => return at_once(Err(status)),
            Ok(Some(response)) => return at_once(Ok(response)),
            Ok(None) => {}
        }
        let fault = world.fault(&connection.stream);
        match fault {
            Some(Fault::Cut) => return Fate::Cut,
            Some(Fault::Late(after)) => return Fate::Late(after, Box::new(request)),
            Some(Fault::Refuse(code, cause)) => return at_once(Ok(refusal(code, cause))),
            Some(Fault::End(code)) => return at_once(Err(Status::new(code, "as told"))),
            Some(Fault::Quota(wait)) => return at_once(Ok(quota(wait))),
            Some(Fault::Finalize) => {
                if let Some(stream) = world.streams.get_mut(&connection.stream) {
                    stream.closed = true;
                }
            }
            Some(Fault::Expire) => {
                world.streams.remove(&connection.stream);
            }
            Some(
                Fault::WriteAndCut
                | Fault::LoseAnswer
                | Fault::LoseStream
                | Fault::Silence
                | Fault::Notice
                | Fault::Slow(_),
            )
            | None => {}
        }
        let mut response = world.append(&connection.stream, &connection.schema, &request);
        match fault {
            Some(Fault::WriteAndCut) => Fate::Cut,
            Some(Fault::LoseAnswer) => Fate::End,
            Some(Fault::LoseStream) => {
                if let Some(stream) = world.streams.get_mut(&connection.stream) {
                    stream.closed = true;
                }
                Fate::End
            }
            Some(Fault::Silence) => Fate::Silence,
            Some(Fault::Slow(after)) => Fate::Answer(Box::new(Ok(response)), after),
            Some(Fault::Notice) => {
                response.updated_schema = Some(TableSchema::default());
                at_once(Ok(response))
            }
            _ => at_once(Ok(response)),
        }
    }
}

fn refusal(code: Code, cause: Cause) -> AppendRowsResponse {
    let mut details = Vec::new();
    if cause != Cause::Unspecified {
        details.push(Any {
            type_url: "type.googleapis.com/google.cloud.bigquery.storage.v1.StorageError".into(),
            value: StorageError { code: cause.into() }.encode_to_vec(),
        });
    }
    error(code, details)
}

fn quota(wait: Duration) -> AppendRowsResponse {
    let retry = RetryInfo {
        retry_delay: wait.try_into().ok(),
    };
    let detail = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: retry.encode_to_vec(),
    };
    error(Code::ResourceExhausted, vec![detail])
}

fn error(code: Code, details: Vec<Any>) -> AppendRowsResponse {
    AppendRowsResponse {
        response: Some(Outcome::Error(proto::Status {
            code: code.into(),
            message: "as told".into(),
            details,
        })),
        ..AppendRowsResponse::default()
    }
}

/// The service's own bound of a request.
const MAX_REQUEST_BYTES: usize = 10 << 20;
