//! What fuzzing starts from, as a plain test: every target's seeds, without a fuzzer.

#![allow(clippy::unwrap_used, clippy::panic)] // a missing seed is a failed test

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis_core::fuzzing::{json, mapping, path};
use portcullis_engine::fuzzing::{configuration, frames, framing, gaps, head, proxy};
use portcullis_policies::fuzzing::{agree, asked, grpc_web, parameters, token};
use portcullis_tls::fuzzing::certificate;
use portcullis_upstream::fuzzing::{answers, grpc_health};

/// What a target asks of its bytes.
type Check = fn(&[u8]);

/// `oracle` holds answers to another reading of them, which needs a runtime; here they are only read.
const TARGETS: [(&str, Check); 17] = [
    ("answer", answers),
    ("asked", asked),
    ("certificate", certificate),
    ("configuration", configuration),
    ("frames", frames),
    ("framing", framing),
    ("gaps", gaps),
    ("grpc_health", grpc_health),
    ("grpc_web", grpc_web),
    ("head", head),
    ("json", |data| {
        json(data);
        agree(data);
    }),
    ("mapping", mapping),
    ("oracle", answers),
    ("parameters", parameters),
    ("path", path),
    ("proxy", proxy),
    ("token", token),
];

#[test]
fn every_seed_of_every_target_is_fine() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap().map(Result::unwrap);
        entries.map(|it| it.path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets"), known, "each target stands in this test");
    assert_eq!(names("seeds"), known, "each target has seeds");
    for (name, check) in TARGETS {
        for entry in fs::read_dir(fuzz.join("seeds").join(name)).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
        }
    }
}
