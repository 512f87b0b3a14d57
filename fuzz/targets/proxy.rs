//! The PROXY protocol: what is said of some bytes holds however many more follow, and a header is never
//! read beyond its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_engine::fuzzing::{Progress, proxy};

fuzz_target!(|data: &[u8]| {
    let whole = proxy(data);
    if let Progress::Done(end, _) = whole {
        assert!(end <= data.len());
        assert_eq!(proxy(&data[..end]), whole);
        assert_eq!(proxy(&[data, b"\r\nPROXY"].concat()), whole);
        for cut in 0..end {
            assert_eq!(proxy(&data[..cut]), Progress::More);
        }
    }
    if whole == Progress::Bad {
        assert_eq!(proxy(&[data, b"\r\n"].concat()), Progress::Bad);
    }
});
