//! Kills the sink and its store while records come in, then counts.
//!
//! ```text
//! [N=8] [SEED=1] cargo test -p bigquery-sink --test faults
//! ```
//!
//! Two plays: the strict fake in bad weather takes four of five kills, the emulator the others. In
//! each, three clients speak Envoy's access log protocol, as workers of a filter would; after every
//! other cut they send again what was last under way. At seeded moments the sink, the store or both
//! get SIGKILL (the fake: all its connections are cut and refused). Meanwhile a witness asks the sink
//! which records are durable; the protocol has no acknowledgement of its own, so this is what
//! "acknowledged" means.
//!
//! In the end each record that the witness was told of is in the table once, or its tombstone is
//! and the record a dead letter; each row that the spool ever numbered is in the table once; and
//! what is in the table is what was sent. Otherwise this fails.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code: a failure should stop it, at once and loudly"
)]

#[path = "sink/fake.rs"]
mod fake;
#[path = "sink/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bigquery_sink::{
    envoy::{
        HttpEntry, StreamAccessLogsMessage,
        access_log_service_client::AccessLogServiceClient,
        stream_access_logs_message::{HttpEntries, LogEntries},
    },
    spool::{Limits, Spool},
};
use contract::{Content, Envelope, Proof, Stamp};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    fake::Fake,
    world::{Emulator, Filter, PROJECT, Sink, carrying, covered, eventually, http, proven},
};

/// Epoch and seq.
type Place = (String, i64);

/// A record that was sent.
#[derive(Clone)]
struct Sent {
    hash: Vec<u8>,
    bytes: u64,
    poison: bool,
}

/// A row of the table.
struct Row {
    sink_seq: i64,
    place: Place,
    tombstone: bool,
    /// Whether it is a checkpoint.
    own: bool,
    hash: Vec<u8>,
    /// Digest of the record's own bytes, where the store gives them.
    bytes: Option<u64>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    of_sink: u32,
    of_store: u32,
    durable: usize,
    rows: usize,
    dead_letters: usize,
    lost: usize,
    doubled: usize,
}

/// All workers and the witness, while the sink comes and goes.
struct Load {
    stop: Arc<AtomicBool>,
    /// Workers send nothing for a while.
    quiet: Arc<AtomicBool>,
    sent: Arc<Mutex<BTreeMap<Place, Sent>>>,
    durable: Arc<Mutex<BTreeSet<Place>>>,
    workers: Vec<JoinHandle<()>>,
    witness: JoinHandle<()>,
}

fn main() {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if env::args().any(|word| word == "--list")
        || (!words.is_empty() && !words.iter().any(|word| "faults".contains(word.as_str())))
    {
        return; // somebody wants other tests
    }
    let number = |name: &str, usual: u64| {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        value.map_or(usual, |value| {
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name}: no number"))
        })
    };
    let kills = u32::try_from(number("N", 8)).expect("N is too large");
    let seed = number("SEED", 1);
    println!("{kills} kills, SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let start = Instant::now();
    let (fake, emulator) = runtime.block_on(async {
        let of_emulator = kills.div_ceil(5);
        let fake = against_the_fake(seed, kills - of_emulator).await;
        (fake, against_the_emulator(seed, of_emulator).await)
    });
    let sum = |of: fn(&Count) -> usize| of(&fake) + of(&emulator);
    println!(
        "{} kills, {} records, {} lost, {} doubled (sink killed {} times, store {}; {} rows, {} dead \
         letters; {} s; SEED={seed})",
        fake.of_sink + fake.of_store + emulator.of_sink + emulator.of_store,
        sum(|count| count.durable),
        sum(|count| count.lost),
        sum(|count| count.doubled),
        fake.of_sink + emulator.of_sink,
        fake.of_store + emulator.of_store,
        sum(|count| count.rows),
        sum(|count| count.dead_letters),
        start.elapsed().as_secs(),
    );
    assert_eq!(
        (sum(|count| count.lost), sum(|count| count.doubled)),
        (0, 0)
    );
}

async fn against_the_fake(seed: u64, kills: u32) -> Count {
    let fake = Fake::start_on(0, 0, Some(Duration::from_secs(3))).await;
    fake.world().storm(seed, 60);
    let more = [
        "--append-rows",
        "50",
        "--append-wait-ms",
        "5",
        "--append-patience-ms",
        "1000",
        "--checkpoint-interval",
        "200ms",
    ];
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &more).with_checkpoints();
    sink.run().await;
    let mut random = StdRng::seed_from_u64(seed);
    let load = Load::start(&sink, seed, Duration::from_millis(20), true);
    let mut count = Count::default();
    while count.of_sink + count.of_store < kills {
        sleep(Duration::from_millis(random.random_range(20..700))).await;
        let away = Duration::from_millis(random.random_range(20..300));
        match random.random_range(0..3) {
            0 => {
                sink.kill();
                sleep(away).await;
                sink.run().await;
                count.of_sink += 1;
            }
            1 => {
                fake.kill();
                sleep(away).await;
                fake.revive().await;
                count.of_store += 1;
            }
            _ => {
                // The sink too, while its spool alone holds what it calls durable and nothing
                // that comes later pushes it to the disk.
                fake.kill();
                load.quiet.store(true, Ordering::Relaxed);
                sleep(away.max(Duration::from_millis(150))).await;
                sink.kill();
                load.quiet.store(false, Ordering::Relaxed);
                sink.run().await;
                fake.revive().await;
                count.of_sink += 1;
                count.of_store += 1;
            }
        }
        load.progress("strict fake", count.of_sink + count.of_store, kills);
    }
    let (sent, durable) = load.end(&sink, || fake.world().weather = None).await;
    covered(&sink, 0.0).await;
    let mut table = fake.world().rows.clone();
    table.sort_by_key(|row| Stamp::decode(row.clone()).unwrap().sink_seq());
    assert!(
        !proven(table.clone()).is_empty(),
        "the chain outlives it all"
    );
    let row = |row: &bytes::Bytes| {
        let mut envelope = Envelope::decode(row.clone()).unwrap();
        let stamp = Stamp::decode(row.clone()).unwrap();
        let own = envelope.kind() == "checkpoint";
        if own {
            envelope.seq = stamp.sink_seq;
        }
        let record = row.strip_suffix(&stamp.encode_to_vec()[..]).unwrap();
        Row {
            sink_seq: stamp.sink_seq(),
            place: (envelope.epoch().to_owned(), envelope.seq()),
            tombstone: envelope.kind() == "tombstone",
            own,
            hash: Proof::decode(row.clone()).unwrap().hash().to_vec(),
            bytes: Some(digest(record)),
        }
    };
    let rows: Vec<Row> = table.iter().map(row).collect();
    println!("  faults besides: {:?}", fake.world().happened);
    assert_eq!(fake.world().violations, [""; 0], "what no client may do");
    compare(&mut sink, count, &sent, &durable, &rows).await
}

async fn against_the_emulator(seed: u64, kills: u32) -> Count {
    if kills == 0 {
        return Count::default();
    }
    let mut emulator = Emulator::start().await;
    let more = ["--append-rows", "100", "--append-wait-ms", "20"];
    let mut sink = Sink::start(emulator.rest, emulator.grpc, "audit", &more).await;
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let load = Load::start(&sink, seed ^ 1, Duration::from_millis(150), false);
    let mut count = Count::default();
    for kill in 1..=kills {
        sleep(Duration::from_millis(random.random_range(200..1500))).await;
        if random.random_bool(0.4) {
            sink.kill();
            sink.run().await;
            count.of_sink += 1;
        } else {
            emulator.kill();
            emulator.run().await; // without its streams: they are only in memory
            count.of_store += 1;
        }
        load.progress("emulator", kill, kills);
    }
    let (sent, durable) = load.end(&sink, || {}).await;
    let mut rows = Vec::new();
    let mut from = 0;
    loop {
        let sql = format!(
            "SELECT sink_seq, epoch, seq, kind, hash FROM `{PROJECT}.audit.records` \
             WHERE sink_seq >= {from} AND sink_seq < {} ORDER BY sink_seq",
            from + 2000
        );
        let some = emulator.query(&sql).await;
        if some.is_empty() {
            break;
        }
        from += 2000;
        rows.extend(some.into_iter().map(|row| {
            let text = |place: usize| row[place].clone().unwrap_or_default();
            Row {
                sink_seq: text(0).parse().unwrap(),
                place: (text(1), text(2).parse().unwrap()),
                tombstone: text(3) == "tombstone",
                own: false,
                hash: data_encoding::BASE64.decode(text(4).as_bytes()).unwrap(),
                bytes: None,
            }
        }));
    }
    compare(&mut sink, count, &sent, &durable, &rows).await
}

/// Counts what is missing and what is there twice; anything stranger ends the program.
async fn compare(
    sink: &mut Sink,
    mut count: Count,
    sent: &BTreeMap<Place, Sent>,
    durable: &BTreeSet<Place>,
    rows: &[Row],
) -> Count {
    assert!(sink.stop().await.success());
    for what in ["poison", FILLING] {
        assert!(!sink.log().contains(what), "content is in the log");
    }
    let limits = Limits {
        max_bytes: 1,
        min_free_bytes: 0,
    };
    let spool = Spool::open(&sink.spool(), limits).unwrap();
    let numbered = i64::try_from(spool.status().next_seq).unwrap();
    let kept: BTreeSet<i64> = spool
        .dead_letters()
        .map(|letter| i64::try_from(letter.unwrap().sink_seq).unwrap())
        .collect();

    let seqs: BTreeSet<i64> = rows.iter().map(|row| row.sink_seq).collect();
    let places: BTreeSet<&Place> = rows.iter().map(|row| &row.place).collect();
    let missing = (0..numbered).filter(|seq| !seqs.contains(seq)).count();
    let unseen = durable
        .iter()
        .filter(|place| !places.contains(place))
        .count();
    count.lost = missing + unseen;
    count.doubled = (rows.len() - seqs.len()) + (rows.len() - places.len());
    count.rows = rows.len();
    count.durable = durable.len();
    count.dead_letters = kept.len();
    for row in rows.iter().filter(|row| !row.own) {
        let sent = sent
            .get(&row.place)
            .unwrap_or_else(|| panic!("nobody sent {:?}", row.place));
        assert!(
            row.sink_seq < numbered,
            "{} was never numbered",
            row.sink_seq
        );
        assert_eq!(row.tombstone, sent.poison, "{:?}", row.place);
        assert_eq!(kept.contains(&row.sink_seq), sent.poison, "{:?}", row.place);
        if !row.tombstone {
            assert_eq!(row.hash, sent.hash, "{:?} is another", row.place);
            assert!(
                row.bytes.is_none_or(|bytes| bytes == sent.bytes),
                "{:?} is another",
                row.place
            );
        }
    }
    count
}

impl Load {
    fn start(sink: &Sink, seed: u64, pause: Duration, poison: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let quiet = Arc::new(AtomicBool::new(false));
        let sent = Arc::default();
        let durable = Arc::default();
        let epochs = [1, 2, 3];
        let worker = |epoch: u8| Worker {
            filter: Filter::new(epoch),
            epoch,
            random: StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(epoch.into())),
            url: sink.access_log_url(),
            stop: Arc::clone(&stop),
            quiet: Arc::clone(&quiet),
            sent: Arc::clone(&sent),
            last: Vec::new(),
            pause,
            poison,
        };
        let workers = epochs.map(|epoch| tokio::spawn(worker(epoch).run()));
        let witness = tokio::spawn(witness(
            epochs.map(|epoch| (epoch, sink.url(&format!("v1/epochs/{}", hex(epoch))))),
            Arc::clone(&stop),
            Arc::clone(&durable),
        ));
        Self {
            stop,
            quiet,
            sent,
            durable,
            workers: workers.into(),
            witness,
        }
    }

    fn progress(&self, of: &str, kill: u32, kills: u32) {
        if kill % 5 < 2 || kill >= kills {
            println!(
                "  {of}: {kill}/{kills} kills, {} records sent, {} durable",
                self.sent.lock().unwrap().len(),
                self.durable.lock().unwrap().len(),
            );
        }
    }

    /// Lets all of it arrive. Gives what was sent, and what was told to be durable.
    async fn end(
        self,
        sink: &Sink,
        calm: impl FnOnce(),
    ) -> (BTreeMap<Place, Sent>, BTreeSet<Place>) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        self.witness.await.unwrap();
        calm();
        eventually("all is in BigQuery", async || {
            (sink.metric("sink_spool_records").await < 1.0).then_some(())
        })
        .await;
        let sent = self.sent.lock().unwrap().clone();
        let durable = self.durable.lock().unwrap().clone();
        assert!(
            !durable.is_empty(),
            "nothing was durable, so nothing is shown"
        );
        (sent, durable)
    }
}

/// Plays a worker of Envoy.
struct Worker {
    filter: Filter,
    epoch: u8,
    random: StdRng,
    url: String,
    stop: Arc<AtomicBool>,
    quiet: Arc<AtomicBool>,
    sent: Arc<Mutex<BTreeMap<Place, Sent>>>,
    /// What was sent last, to be sent again after a cut.
    last: Vec<HttpEntry>,
    pause: Duration,
    poison: bool,
}

impl Worker {
    async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(mut client) = AccessLogServiceClient::connect(self.url.clone()).await else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (messages, stream) = mpsc::channel(4);
            let call = client.stream_access_logs(ReceiverStream::new(stream));
            let sending = async {
                let mut entries = std::mem::take(&mut self.last);
                if self.random.random_bool(0.5) {
                    entries.clear(); // as Envoy, which sends nothing twice
                }
                loop {
                    let message = StreamAccessLogsMessage {
                        log_entries: Some(LogEntries::HttpLogs(HttpEntries {
                            log_entry: entries.clone(),
                        })),
                    };
                    self.last.extend(entries);
                    let old = self.last.len().saturating_sub(40);
                    self.last.drain(..old);
                    if messages.send(message).await.is_err() || self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let pause = self.pause.mul_f64(self.random.random_range(0.0..2.0));
                    sleep(pause).await;
                    while self.quiet.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(5)).await;
                    }
                    entries = (0..self.random.random_range(1..10))
                        .map(|_| self.record())
                        .collect();
                }
                drop(messages);
            };
            let (_ended, ()) = tokio::join!(call, sending);
        }
    }

    fn record(&mut self) -> HttpEntry {
        let poison = self.poison && self.random.random_bool(0.005);
        let length = if self.random.random_bool(0.02) {
            60_000
        } else {
            2_000
        };
        let length = self.random.random_range(0..length);
        let envelope = Envelope {
            kind: Some("close".into()),
            deployment: Some("acme".into()),
            event_at: Some(bigquery_sink::now()),
            person: Some(if poison { "poison" } else { "ana" }.into()),
            endpoint: Some("chat".into()),
            decision: Some("allow".into()),
            ..Envelope::default()
        };
        let content = Content {
            request_content: Some(FILLING.repeat(length / FILLING.len())),
            response_content: Some("[]".into()),
        };
        let bytes = self.filter.seal(envelope, &content);
        let proof = Proof::decode(bytes.as_slice()).unwrap();
        let seq = Envelope::decode(bytes.as_slice()).unwrap().seq();
        let sent = Sent {
            hash: proof.hash().to_vec(),
            bytes: digest(&bytes),
            poison,
        };
        self.sent
            .lock()
            .unwrap()
            .insert((hex(self.epoch), seq), sent);
        carrying(&bytes)
    }
}

/// Asks again and again which records are durable; what was told before a kill counts.
async fn witness(
    epochs: [(u8, String); 3],
    stop: Arc<AtomicBool>,
    durable: Arc<Mutex<BTreeSet<Place>>>,
) {
    let client = http();
    let mut told = [-1; 3];
    while !stop.load(Ordering::Relaxed) {
        for ((epoch, url), told) in epochs.iter().zip(&mut told) {
            let Ok(answer) = client.get(url).send().await else {
                continue;
            };
            let Ok(answer) = answer.error_for_status() else {
                continue;
            };
            let Ok(answer) = answer.json::<Value>().await else {
                continue;
            };
            let missing: Vec<(i64, i64)> =
                serde_json::from_value(answer["missing"].clone()).unwrap();
            let through = answer["durable_through"].as_i64().unwrap();
            let highest = answer["highest"].as_i64().unwrap();
            let there = |seq: &i64| !missing.iter().any(|(from, to)| (*from..=*to).contains(seq));
            let mut durable = durable.lock().unwrap();
            durable.extend(
                (*told + 1..=highest)
                    .filter(there)
                    .map(|seq| (hex(*epoch), seq)),
            );
            *told = through;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn hex(epoch: u8) -> String {
    format!("{epoch:02x}").repeat(16)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What content is made of.
const FILLING: &str = "grüße ";
