//! The host calls in use, each returning `Result`; the one file with `unsafe`.
//!
//! The SDK's own calls panic on statuses that happen in normal operation, and on header values that
//! are not UTF-8; a panic ends the worker's VM. So the calls are bound here again. Only callouts go
//! through the SDK, which has to know their token: it panics on statuses that Envoy does not return
//! for them.

#![expect(
    unsafe_code,
    reason = "calls into the host; each passes pointers to live memory with its length"
)]

use std::{ptr, time::Duration};

use filter_core::{exchange::Callout, time::UnixTime};
use proxy_wasm::types::{LogLevel, Status};

/// Longest write into a buffer: below Envoy's `request_body_buffer_limit` of 20 MiB. Writing more
/// into a paused response would crash Envoy.
const MAX_WRITE_BYTES: usize = 19 << 20;

/// Why a host call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostError {
    /// The host's status code.
    Status(u32),
    /// More than may be written.
    TooLarge,
}

/// A message's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// A counter that the host keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter(u32);

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_done() -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
}

/// The host's clock.
pub(crate) fn now() -> UnixTime {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64 to the given place.
    let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) };
    debug_assert_eq!(status, 0);
    UnixTime(nanoseconds / 1_000)
}

/// From which level on the host keeps what is logged.
pub(crate) fn log_level() -> LogLevel {
    let mut level = 0;
    // SAFETY: the host writes one u32 to the given place.
    let status = unsafe { proxy_get_log_level(&raw mut level) };
    match (status, level) {
        (0, 2) => LogLevel::Info,
        (0, 3) => LogLevel::Warn,
        (0, 4) => LogLevel::Error,
        (0, 5..) => LogLevel::Critical,
        _ => LogLevel::Debug,
    }
}

/// Asks for `on_tick` every so often.
pub(crate) fn set_tick(period: Duration) -> Result<(), HostError> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: passes a number.
    result(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// All headers of a message; values that are not UTF-8 have replacement characters.
pub(crate) fn headers(direction: Direction) -> Result<Vec<(String, String)>, HostError> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    let map = header_map(direction);
    // SAFETY: the host writes a pointer to memory that it had us allocate, and its length.
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    result(status)?;
    Ok(pairs(&taken(data, size)))
}

/// Sets a header in place of all of that name.
pub(crate) fn set_header(direction: Direction, name: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: both texts outlive the call.
    result(unsafe {
        proxy_replace_header_map_value(
            header_map(direction),
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes all headers of a name.
pub(crate) fn remove_header(direction: Direction, name: &str) -> Result<(), HostError> {
    // SAFETY: the text outlives the call.
    result(unsafe {
        proxy_remove_header_map_value(header_map(direction), name.as_ptr(), name.len())
    })
}

/// Removes all trailers of a message: nothing of them was looked at.
pub(crate) fn drop_trailers(direction: Direction) -> Result<(), HostError> {
    let map = match direction {
        Direction::Request => 1,
        Direction::Response => 3,
    };
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as in `headers`.
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    result(status)?;
    for (name, _) in pairs(&taken(data, size)) {
        // SAFETY: the text outlives the call.
        result(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })?;
    }
    Ok(())
}

/// The first `size` bytes that the host holds of a body.
pub(crate) fn body(direction: Direction, size: usize) -> Result<Vec<u8>, HostError> {
    read_buffer(buffer(direction), size)
}

/// Body of the answer to a callout, at most `size` bytes.
pub(crate) fn callout_body(size: usize) -> Result<Vec<u8>, HostError> {
    read_buffer(CALLOUT_BODY, size)
}

/// The plugin's configuration.
pub(crate) fn configuration(size: usize) -> Result<Vec<u8>, HostError> {
    read_buffer(PLUGIN_CONFIGURATION, size)
}

/// Status of the answer to a callout; `None` if it has none.
pub(crate) fn callout_status() -> Option<u16> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as in `headers`.
    let status =
        unsafe { proxy_get_header_map_pairs(CALLOUT_HEADERS, &raw mut data, &raw mut size) };
    result(status).ok()?;
    let pairs = pairs(&taken(data, size));
    let (_, value) = pairs.iter().find(|(name, _)| name == ":status")?;
    value.parse().ok()
}

/// Puts bytes in place of all that the host holds of a body, or was just given.
pub(crate) fn replace_body(direction: Direction, data: &[u8]) -> Result<(), HostError> {
    if data.len() > MAX_WRITE_BYTES {
        return Err(HostError::TooLarge);
    }
    // SAFETY: the bytes outlive the call; a size beyond the buffer's means all of it.
    result(unsafe {
        proxy_set_buffer_bytes(buffer(direction), 0, 1 << 30, data.as_ptr(), data.len())
    })
}

/// Lets a held message go.
pub(crate) fn resume(direction: Direction) -> Result<(), HostError> {
    // SAFETY: passes a number.
    result(unsafe { proxy_continue_stream(buffer(direction)) })
}

/// Says that a plugin which asked for time at its end needs no more.
pub(crate) fn done() -> Result<(), HostError> {
    // SAFETY: passes nothing.
    result(unsafe { proxy_done() })
}

/// Answers the caller.
pub(crate) fn reply(
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(), HostError> {
    let headers = encoded(headers);
    // SAFETY: all passed memory outlives the call; there are no details.
    result(unsafe {
        proxy_send_local_response(
            status.into(),
            ptr::null(),
            0,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// A property of the stream or the plugin, by the parts of its path.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as in `headers`.
    let status =
        unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
    result(status).ok()?;
    Some(taken(data, size))
}

/// Sets a property, which becomes filter state of the stream.
pub(crate) fn set_property(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: all passed memory outlives the call.
    result(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Makes an HTTP call; the answer comes to the context that is active now.
pub(crate) fn call(callout: &Callout) -> Result<u32, Status> {
    let mut headers = vec![
        (":method", callout.method),
        (":path", callout.path.as_str()),
        (":authority", callout.host.as_str()),
    ];
    let more = callout.headers.iter();
    headers.extend(more.map(|(name, value)| (name.as_str(), value.as_str())));
    let body = (!callout.body.is_empty()).then_some(callout.body.as_slice());
    let (cluster, timeout) = (&callout.cluster, callout.timeout);
    proxy_wasm::hostcalls::dispatch_http_call(cluster, headers, body, Vec::new(), timeout)
}

/// Defines a counter, or finds the one of this name.
pub(crate) fn counter(name: &str) -> Result<Counter, HostError> {
    metric(COUNTER, name)
}

/// Defines a gauge, or finds the one of this name: a counter that may also count down.
pub(crate) fn gauge(name: &str) -> Result<Counter, HostError> {
    metric(GAUGE, name)
}

fn metric(kind: u32, name: &str) -> Result<Counter, HostError> {
    let mut id = 0;
    // SAFETY: the text outlives the call, the host writes one u32.
    let status = unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
    result(status).map(|()| Counter(id))
}

/// Adds to a counter or gauge.
pub(crate) fn increment(counter: Counter, by: i64) -> Result<(), HostError> {
    // SAFETY: passes numbers.
    result(unsafe { proxy_increment_metric(counter.0, by) })
}

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const CALLOUT_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;
const CALLOUT_HEADERS: u32 = 6;

fn header_map(direction: Direction) -> u32 {
    match direction {
        Direction::Request => 0,
        Direction::Response => 2,
    }
}

fn buffer(direction: Direction) -> u32 {
    match direction {
        Direction::Request => 0,
        Direction::Response => 1,
    }
}

fn read_buffer(buffer: u32, size: usize) -> Result<Vec<u8>, HostError> {
    let (mut data, mut got) = (ptr::null_mut(), 0);
    // SAFETY: as in `headers`.
    let status = unsafe { proxy_get_buffer_bytes(buffer, 0, size, &raw mut data, &raw mut got) };
    match result(status) {
        // "Not found": the host holds nothing.
        Err(HostError::Status(1)) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(taken(data, got)),
    }
}

/// Takes memory that the host had us allocate for it.
fn taken(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    #[expect(
        clippy::same_length_and_capacity,
        reason = "the SDK's proxy_on_memory_allocate makes a vector of exactly this capacity"
    )]
    // SAFETY: the host got this memory from `proxy_on_memory_allocate`, which makes a vector of
    // exactly this capacity and forgets it, and it has filled it.
    unsafe {
        Vec::from_raw_parts(data, size, size)
    }
}

fn result(status: u32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        other => Err(HostError::Status(other)),
    }
}

/// Reads the ABI's form of a header map: a count, the lengths of all names and values, then each
/// name and value with a NUL behind it. Stops where the bytes do not fit.
fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let number = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let mut pairs = Vec::new();
    let count = number(0).unwrap_or(0).min(bytes.len() / 8);
    let mut at = 4 + count * 8;
    for index in 0..count {
        let sizes = 4 + index * 8;
        let mut text = |size: Option<usize>| -> Option<String> {
            let end = at.checked_add(size?)?;
            let text = String::from_utf8_lossy(bytes.get(at..end)?).into_owned();
            at = end + 1;
            Some(text)
        };
        let (Some(name), Some(value)) = (text(number(sizes)), text(number(sizes + 4))) else {
            break;
        };
        pairs.push((name, value));
    }
    pairs
}

fn encoded(pairs: &[(String, String)]) -> Vec<u8> {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(pairs.len()).unwrap_or(0).to_le_bytes());
    for (name, value) in pairs {
        bytes.extend(length(name));
        bytes.extend(length(value));
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}
