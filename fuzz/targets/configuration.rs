//! A configuration file: every text gives a plan or complaints that can be shown, and no file is
//! read for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_config::{Diagnostics, Sources, parse};

fuzz_target!(|data: &str| {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let environment = |name: &str| (name == "SET").then(|| "value".to_owned());
    let file = "portcullis.yaml".into();
    let root = parse(&mut sources, file, data.to_owned(), &environment, &mut out);
    let plan = root.and_then(|root| portcullis_engine::plan::plan(&root, &sources, &mut out));
    assert!(plan.is_some() || out.has_errors(), "no plan, and nobody says why");
    let shown = out.render(&sources, false);
    assert!(out.is_empty() == shown.is_empty());
});
