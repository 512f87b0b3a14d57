//! Reads the Prometheus text format far enough to sum samples by name and labels.

use anyhow::{Context as _, Result};

#[derive(Debug, PartialEq)]
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, &'t str)>,
    value: f64,
}

/// The sum of all samples of `text` that have the name and labels of `wanted`, which is written
/// like a sample: `name{label="x"}`. `None` when there is none.
pub fn sum(text: &str, wanted: &str) -> Result<Option<f64>> {
    let (name, labels) = selector(wanted).with_context(|| format!("not a sample: {wanted}"))?;
    let mut sum = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let sample = sample(line).with_context(|| format!("not a sample: {line}"))?;
        if sample.name == name && labels.iter().all(|label| sample.labels.contains(label)) {
            sum = Some(sum.unwrap_or(0.0) + sample.value);
        }
    }
    Ok(sum)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (selected, value) = match line.rfind('}') {
        Some(end) => line.split_at_checked(end + 1)?,
        None => line.split_once(' ')?,
    };
    let (name, labels) = selector(selected)?;
    Some(Sample { name, labels, value: value.trim().parse().ok()? })
}

fn selector(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let Some((name, rest)) = text.split_once('{') else { return Some((text.trim(), Vec::new())) };
    let mut rest = rest.trim_end().strip_suffix('}')?;
    let mut labels = Vec::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        labels.push((label.trim_start_matches([',', ' ']), value));
        rest = after;
    }
    Some((name, labels))
}
