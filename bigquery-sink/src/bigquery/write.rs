//! The Storage Write API: streams, and rows into them.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tracing::info;

use super::{
    Auth, StorageErrorCode, Table, Target,
    proto::{
        self, AppendRowsRequest, AppendRowsResponse, CreateWriteStreamRequest,
        FinalizeWriteStreamRequest, ProtoRows, ProtoSchema, RetryInfo, StorageError, WriteStream,
        append_rows_request::{ProtoData, Rows},
        append_rows_response::Response as Outcome,
        big_query_write_client::BigQueryWriteClient,
        write_stream,
    },
    row_descriptor,
};
use crate::retry::Answer;

/// Opens streams and connections.
#[derive(Clone, Debug)]
pub struct Storage {
    client: BigQueryWriteClient<Channel>,
    auth: Auth,
    target: Target,
}

/// Rows that were sent and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// `sink_seq` of the first row.
    pub first: u64,
    /// Number of rows.
    pub rows: u64,
    /// Offset of the first row in the stream.
    pub offset: u64,
}

/// One connection that appends to one stream.
#[derive(Debug)]
pub struct Appends {
    requests: mpsc::Sender<AppendRowsRequest>,
    first: Option<Request<ReceiverStream<AppendRowsRequest>>>,
    answers: Option<Streaming<AppendRowsResponse>>,
    table: Table,
    client: BigQueryWriteClient<Channel>,
}

impl Storage {
    /// A client for the API at `url`, which has to be a valid URL; connects when first used.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(url: &str, auth: Auth, target: Target) -> Result<Self, tonic::transport::Error> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(CONNECT_PATIENCE)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .user_agent(concat!("bigquery-sink/", env!("CARGO_PKG_VERSION")))?;
        if url.starts_with("https:") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let client = BigQueryWriteClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            client,
            auth,
            target,
        })
    }

    /// Makes a stream whose rows can be read at once, and gives its name.
    ///
    /// # Errors
    ///
    /// The service's status.
    pub async fn create_stream(&self) -> Result<String, Status> {
        let parent = self.target.table_path();
        let message = CreateWriteStreamRequest {
            parent: parent.clone(),
            write_stream: Some(WriteStream {
                r#type: write_stream::Type::Committed.into(),
                ..WriteStream::default()
            }),
        };
        let mut request = self.request(message, "parent", &parent).await?;
        request.set_timeout(CALL_PATIENCE);
        let stream = self
            .client
            .clone()
            .create_write_stream(request)
            .await?
            .into_inner();
        if stream.name.is_empty() {
            return Err(Status::internal("a stream without a name"));
        }
        Ok(stream.name)
    }

    /// Closes a stream for good, so that nothing that is still on the way can get into it. Says how
    /// many rows it has.
    ///
    /// # Errors
    ///
    /// The service's status, also if there is no such stream.
    pub async fn finalize_stream(&self, name: &str) -> Result<u64, Status> {
        let message = FinalizeWriteStreamRequest {
            name: name.to_owned(),
        };
        let mut request = self.request(message, "name", name).await?;
        request.set_timeout(CALL_PATIENCE);
        let answer = self.client.clone().finalize_write_stream(request).await?;
        Ok(u64::try_from(answer.into_inner().row_count).unwrap_or_default())
    }

    /// Prepares a connection to a stream; nothing is sent before the first rows.
    ///
    /// # Errors
    ///
    /// If there is no token.
    pub async fn appends(&self, stream: &str, in_flight: usize) -> Result<Appends, Status> {
        let (requests, queue) = mpsc::channel(in_flight.max(1));
        let first = self
            .request(ReceiverStream::new(queue), "write_stream", stream)
            .await?;
        Ok(Appends {
            requests,
            first: Some(first),
            answers: None,
            table: self.target.table,
            client: self.client.clone(),
        })
    }

    async fn request<T>(&self, message: T, key: &str, name: &str) -> Result<Request<T>, Status> {
        let headers = self.auth.headers().await;
        let mut headers = headers.map_err(|error| Status::unauthenticated(error.to_string()))?;
        let route = format!("{key}={}", name.replace('/', "%2F"));
        let route = HeaderValue::try_from(route);
        headers.insert(
            "x-goog-request-params",
            route.map_err(|_| Status::internal("a name that is no header value"))?,
        );
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

impl Appends {
    /// Sends rows. The first call names the stream, the rows' shape and who sends them.
    ///
    /// # Errors
    ///
    /// If the connection has ended; [`Appends::answer`] says why.
    pub async fn send(
        &mut self,
        flight: Flight,
        rows: Vec<Bytes>,
        stream: &str,
        sink_id: &str,
    ) -> Result<(), Status> {
        let first = self.first.is_some();
        let request = AppendRowsRequest {
            write_stream: if first {
                stream.to_owned()
            } else {
                String::new()
            },
            offset: Some(i64::try_from(flight.offset).unwrap_or(i64::MAX)),
            trace_id: if first {
                trace_id(sink_id)
            } else {
                String::new()
            },
            rows: Some(Rows::ProtoRows(ProtoData {
                writer_schema: first.then(|| ProtoSchema {
                    proto_descriptor: Some(row_descriptor(self.table)),
                }),
                rows: Some(ProtoRows {
                    serialized_rows: rows,
                }),
            })),
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Status::unavailable("the connection has ended"))?;
        if let Some(first) = self.first.take() {
            // The service answers the call itself only once it has a request.
            self.answers = Some(self.client.append_rows(first).await?.into_inner());
        }
        Ok(())
    }

    /// Waits for the next answer; they come in the order of the rows. `None` if the service closed
    /// the connection in good order.
    ///
    /// # Errors
    ///
    /// The status that the connection ended with.
    pub async fn answer(&mut self) -> Result<Option<AppendRowsResponse>, Status> {
        let Some(answers) = &mut self.answers else {
            return std::future::pending().await; // nothing was asked yet
        };
        while let Some(response) = answers.message().await? {
            if response.updated_schema.is_some() {
                info!("the table's schema has changed");
            }
            if response.response.is_some() || !response.row_errors.is_empty() {
                return Ok(Some(response));
            }
        }
        Ok(None)
    }
}

/// What an answer says about the rows of `flight`: `Ok` if they are in the table.
///
/// # Errors
///
/// How it failed.
pub fn answer_of(response: &AppendRowsResponse, flight: Flight) -> Result<(), Answer> {
    let bad_rows = response.row_errors.iter().filter_map(|row| {
        let place = usize::try_from(row.index).ok()?;
        ((place as u64) < flight.rows).then(|| (place, row.message.clone()))
    });
    let bad_rows: Vec<_> = bad_rows.collect();
    match &response.response {
        Some(Outcome::AppendResult(result)) if bad_rows.is_empty() => {
            let at = result.offset.and_then(|offset| u64::try_from(offset).ok());
            if at.is_none_or(|at| at == flight.offset) {
                return Ok(());
            }
            // Never seen; where the stream ends has then to be found out.
            Err(failure(Code::OutOfRange, StorageErrorCode::Unspecified))
        }
        Some(Outcome::Error(status)) => Err(Answer {
            bad_rows,
            ..failed(Code::from_i32(status.code), &status.details)
        }),
        _ => Err(Answer {
            bad_rows,
            ..failure(Code::InvalidArgument, StorageErrorCode::Unspecified)
        }),
    }
}

/// What the end of a connection says.
impl From<&Status> for Answer {
    fn from(status: &Status) -> Self {
        let details = proto::Status::decode(status.details()).unwrap_or_default();
        Self {
            // A status that came over the wire has no local cause.
            broken: std::error::Error::source(status).is_some(),
            ..failed(status.code(), &details.details)
        }
    }
}

fn failed(code: Code, details: &[Any]) -> Answer {
    let cause = detail::<StorageError>(details, ".StorageError");
    let retry = detail::<RetryInfo>(details, ".RetryInfo");
    Answer {
        wait: retry.and_then(|retry| retry.retry_delay?.try_into().ok()),
        ..failure(
            code,
            cause.map_or(StorageErrorCode::Unspecified, |cause| cause.code()),
        )
    }
}

fn detail<T: Message + Default>(details: &[Any], kind: &str) -> Option<T> {
    let mut found = details.iter().filter(|any| any.type_url.ends_with(kind));
    found.find_map(|any| T::decode(any.value.as_slice()).ok())
}

fn failure(code: Code, cause: StorageErrorCode) -> Answer {
    Answer {
        code,
        cause,
        broken: false,
        bad_rows: Vec::new(),
        wait: None,
    }
}

fn trace_id(sink_id: &str) -> String {
    format!("bigquery-sink:{}:{sink_id}", env!("CARGO_PKG_VERSION"))
}

/// Both directions; requests are bounded by the batch limits.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a call other than an append may take.
const CALL_PATIENCE: Duration = Duration::from_secs(30);
