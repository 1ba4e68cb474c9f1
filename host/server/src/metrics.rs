//! Figures for Prometheus: the text format 0.0.4, and a histogram.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The content type of [`Page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of figures does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the host starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were at most how large.
    Histogram,
}

/// Names and values that tell the series of a family apart.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// The answer to one scrape.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family; all its samples must follow at once, and it begins once in a page.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes every text");
    }
}

/// One family of a page.
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// One series; labels must differ from those of all other samples of the family.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl fmt::Display) {
        self.line("", labels, None, &value);
    }

    /// One series of a histogram: buckets, sum and count.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut total = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(index).map(ToString::to_string);
            let bound = bound.as_deref().unwrap_or("+Inf");
            self.line("_bucket", labels, Some(("le", bound)), &total);
        }
        let sum = Duration::from_nanos(histogram.nanos.load(Ordering::Relaxed));
        self.line("_sum", labels, None, &sum.as_secs_f64());
        // Counted here and not kept, so that it equals the last bucket whatever happens meanwhile.
        self.line("_count", labels, None, &total);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<(&str, &str)>,
        value: &dyn fmt::Display,
    ) {
        self.page.write(format_args!("{}{suffix}", self.name));
        for (index, (name, value)) in labels.iter().chain(&bound).enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let value = value
                .replace('\\', r"\\")
                .replace('"', r#"\""#)
                .replace('\n', r"\n");
            self.page.write(format_args!("{open}{name}=\"{value}\""));
        }
        let close = if labels.is_empty() && bound.is_none() {
            ""
        } else {
            "}"
        };
        self.page.write(format_args!("{close} {value}\n"));
    }
}

/// Upper bounds in seconds: from a sync of a fast disk to one that is about to fail.
const BOUNDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one takes what is larger than all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let index = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[index].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
