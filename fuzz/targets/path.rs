//! A canonical path is canonical: made again it stays the same, and it has none of the shapes that
//! two programs read differently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::CanonicalPath;

fuzz_target!(|data: &str| {
    let Ok(path) = CanonicalPath::parse(data) else { return };
    let text = path.as_str();
    assert!(text.starts_with('/'));
    assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
    assert!(!text.contains('\\') && !text.contains("//") && text.bytes().all(|byte| byte > 0x20));
    assert_eq!(
        CanonicalPath::parse(text).map(|again| again.as_str().to_owned()),
        Ok(text.to_owned())
    );
});
