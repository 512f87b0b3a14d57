//! Counters, gauges and histograms whose handles are resolved at load and cost one uncontended
//! atomic add on a request's way; written out in the Prometheus text format (version 0.0.4).
//!
//! Every series is sharded: a thread adds to its own cache lines, a scrape sums the shards up.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

const SHARDS: usize = 8;

/// Upper bounds of the duration buckets, in microseconds.
const BUCKETS: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// What a metric is called and what it says: one constant per metric, listed by its room's
/// `METRICS`.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Durations, in seconds.
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One part per thread that ever adds, made when it first does: most series of a large
/// configuration are never touched. Threads beyond the eighth share.
#[derive(Debug, Default)]
struct Shards<T>([OnceLock<Box<T>>; SHARDS]);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's shard.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        own.get()
    })
}

impl<T: Default> Shards<T> {
    /// This thread's part.
    fn own(&self) -> Option<&T> {
        self.0.get(shard()).map(|part| &**part.get_or_init(Box::default))
    }

    fn sum(&self, value: impl Fn(&T) -> &AtomicU64) -> u64 {
        let parts = self.0.iter().filter_map(OnceLock::get);
        parts.map(|part| value(part).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// Alone on its cache lines (two, since processors fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU64);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Distribution {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Only ever goes up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Shards<Count>>);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, amount: u64) {
        if let Some(own) = self.0.own() {
            own.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub fn value(&self) -> u64 {
        self.0.sum(|count| &count.0)
    }
}

/// A value that is set, or goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How durations are distributed.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Shards<Distribution>>);

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        let Some(own) = self.0.own() else { return };
        if let Some(count) = own.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        own.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        (0..=BUCKETS.len()).map(|bucket| self.bucket(bucket)).sum()
    }

    /// What fell between a bound and the one before it.
    fn bucket(&self, bucket: usize) -> u64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.0.sum(|own| own.buckets.get(bucket).unwrap_or(&NONE))
    }
}

#[derive(Clone, Debug)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Series {
    /// True while somebody besides the registry holds a handle.
    fn in_use(&self) -> bool {
        let holders = match self {
            Self::Counter(counter) => Arc::strong_count(&counter.0),
            Self::Gauge(gauge) => Arc::strong_count(&gauge.0),
            Self::Histogram(histogram) => Arc::strong_count(&histogram.0),
        };
        holders > 1
    }
}

#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    series: BTreeMap<String, Series>,
}

/// All metrics of the process; clones are the same ones. Locked at load and at a scrape, never on a
/// request's way.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, Family>>>);

impl Metrics {
    pub fn counter(&self, metric: &'static Metric, labels: &[&str]) -> Counter {
        match self.series(metric, labels, || Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    pub fn gauge(&self, metric: &'static Metric, labels: &[&str]) -> Gauge {
        match self.series(metric, labels, || Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    pub fn histogram(&self, metric: &'static Metric, labels: &[&str]) -> Histogram {
        match self.series(metric, labels, || Series::Histogram(Histogram::default())) {
            Series::Histogram(histogram) => histogram,
            _ => Histogram::default(),
        }
    }

    fn series(
        &self,
        metric: &'static Metric,
        labels: &[&str],
        make: impl FnOnce() -> Series,
    ) -> Series {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families
            .entry(metric.name)
            .or_insert_with(|| Family { metric, series: BTreeMap::new() });
        family.series.entry(label_text(metric.labels, labels)).or_insert_with(make).clone()
    }

    /// Forgets series whose parts are gone, such as those of a removed route.
    pub fn sweep(&self) {
        drop(self.swept());
    }

    fn swept(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for family in families.values_mut() {
            family.series.retain(|_, series| series.in_use());
        }
        families
    }

    /// The Prometheus text format, of parts that are there.
    pub fn render(&self) -> String {
        let families = self.swept();
        let mut out = String::new();
        for (name, family) in families.iter() {
            let kind = family.metric.kind.as_str();
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.metric.help);
            for (labels, series) in &family.series {
                write_series(&mut out, name, labels, series);
            }
        }
        out
    }
}

fn write_series(out: &mut String, name: &str, labels: &str, series: &Series) {
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match series {
        Series::Counter(counter) => writeln!(out, "{name}{braced} {}", counter.value()),
        Series::Gauge(gauge) => writeln!(out, "{name}{braced} {}", gauge.value()),
        Series::Histogram(histogram) => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut total = 0;
            let bounds = BUCKETS.iter().map(|micros| seconds(*micros)).chain(["+Inf".to_owned()]);
            for (bucket, bound) in bounds.enumerate() {
                total += histogram.bucket(bucket);
                let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
            }
            let spent = seconds(histogram.0.sum(|own| &own.micros));
            writeln!(out, "{name}_sum{braced} {spent}\n{name}_count{braced} {total}")
        }
    };
}

#[allow(clippy::cast_precision_loss)] // microseconds of 285 years still fit exactly
fn seconds(micros: u64) -> String {
    format!("{}", micros as f64 / 1e6)
}

fn label_text(names: &[&str], values: &[&str]) -> String {
    let mut out = String::new();
    for (name, value) in names.iter().zip(values) {
        let comma = if out.is_empty() { "" } else { "," };
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    static HITS: Metric =
        Metric { name: "hits_total", kind: Kind::Counter, help: "Hits.", labels: &["route"] };
    static TOOK: Metric =
        Metric { name: "took_seconds", kind: Kind::Histogram, help: "Time.", labels: &[] };

    #[test]
    fn the_same_labels_are_the_same_series() {
        let metrics = Metrics::default();
        let first = metrics.counter(&HITS, &["a\"b"]);
        let second = metrics.counter(&HITS, &["a\"b"]);
        first.inc();
        second.add(2);
        let text = metrics.render();
        assert!(text.contains("hits_total{route=\"a\\\"b\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE hits_total counter\n"), "{text}");
    }

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        let took = metrics.histogram(&TOOK, &[]);
        took.observe(Duration::from_micros(250));
        took.observe(Duration::from_millis(3));
        took.observe(Duration::from_secs(600));
        let text = metrics.render();
        assert!(text.contains("took_seconds_bucket{le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{le=\"0.005\"} 2\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("took_seconds_count 3\n"), "{text}");
        assert!(text.contains("took_seconds_sum 600.00325\n"), "{text}");
    }

    #[test]
    fn series_without_a_holder_are_swept() {
        let metrics = Metrics::default();
        metrics.counter(&HITS, &["gone"]).inc();
        let kept = metrics.counter(&HITS, &["kept"]);
        metrics.sweep();
        assert_eq!(metrics.counter(&HITS, &["gone"]).value(), 0, "it begins anew");
        kept.inc();
        let text = metrics.render();
        assert!(!text.contains("gone") && text.contains("kept"), "{text}");
    }
}
