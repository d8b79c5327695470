//! `make bench` works, and its report has the form that others read. No number is judged here.

use std::path::PathBuf;

use e2e::bench::{self, Settings};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_reports_each_scenario_in_its_form() {
    let settings = Settings::smoke(PathBuf::from(env!("CARGO_BIN_EXE_bench")));
    let report = bench::run(&settings, |_| {}).await.unwrap();
    for name in ["commit", "machine"] {
        assert!(report[name].is_string(), "{name}: {report:#}");
    }
    for name in [
        "chat_32k_c1",
        "chat_32k_c8",
        "chat_32k_rate",
        "stream_200_c1",
        "stream_200_c8",
        "ghost_4k_c1",
        "ghost_4k_c8",
    ] {
        let scenario = &report["scenarios"][name];
        let number = |path: &str| scenario.pointer(path).and_then(Value::as_f64);
        for side in ["bare", "gate"] {
            for path in [
                "ttfb_ms/p50",
                "ttfb_ms/p99",
                "requests_per_s",
                "cpu_us_per_request",
                "rss_mib",
            ] {
                let path = format!("/{side}/{path}");
                assert!(
                    number(&path).is_some_and(|number| number > 0.0),
                    "{name}{path}: {scenario:#}"
                );
            }
        }
        let streams = name.starts_with("stream");
        for path in [
            "/bare/event_gap_us/p50",
            "/bare/event_gap_us/p99",
            "/gate/event_gap_us/p50",
            "/gate/event_gap_added_us/p50",
            "/gate/event_gap_added_us/p99",
            "/gate/event_delay_added_us/p50",
        ] {
            assert!(
                scenario.pointer(path).is_some(),
                "{name}{path}: {scenario:#}"
            );
            assert_eq!(
                number(path).is_some(),
                streams,
                "{name}{path}: {scenario:#}"
            );
        }
        for path in ["/ratio/cpu_us_per_request", "/ratio/requests_per_s"] {
            assert!(number(path).is_some(), "{name}{path}: {scenario:#}");
        }
        assert!(scenario["gate"]["spread"].is_object(), "{name}");
    }
    let table = bench::table(&report);
    assert!(table.contains("chat_32k_c1") && table.contains("stream_200_c8"));
}
