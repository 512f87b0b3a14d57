//! What fuzz targets ask of this crate, also asked of their seeds by a plain test.

use crate::mapping::{Program, RunError, Scope, Value};
use crate::path::{CanonicalPath, PathRules};

/// A canonical path is canonical: made again it stays the same, and it has none of the shapes that
/// two programs read differently. Where such shapes are kept, every other reading is canonical, too.
pub fn path(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let again = |text: &str, rules| CanonicalPath::parse_by(text, rules).map(|it| it.to_string());
    if let Ok(path) = CanonicalPath::parse(data) {
        let text = path.as_str();
        assert!(text.starts_with('/'));
        assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(text.bytes().all(|byte| byte > 0x20 && byte != b'\\' && byte != b';'));
        assert!(!text.contains("//") && !text.contains("%2F"));
        assert_eq!(again(text, PathRules::STRICT).as_deref(), Ok(text));
        assert_eq!(path.other_readings().count(), 0);
    }
    if let Ok(path) = CanonicalPath::parse_by(data, PathRules::KEEP) {
        for text in path.other_readings().chain([path.to_string()]) {
            assert_eq!(again(&text, PathRules::KEEP), Ok(text));
        }
    }
}

/// Bodies: what is parsed can be written, and reads as the same again.
pub fn json(data: &[u8]) {
    let Ok(value) = Value::parse(data) else { return };
    let written = value.to_string();
    let again = Value::parse(written.as_bytes()).map(|again| again.to_string());
    assert_eq!(again.ok(), Some(written));
}

struct Nothing;

impl Scope for Nothing {
    fn variable(&self, _: &str) -> Value {
        Value::NULL
    }
}

/// A program and its input, a line each: whatever compiles ends, within its budget, and what has a plan
/// gives what jaq gives.
pub fn mapping(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let Some((text, input)) = data.split_once('\n') else { return };
    let Ok(program) = Program::compile(text, &["jwt"]) else { return };
    let Ok(input) = Value::parse(input.as_bytes()) else { return };
    let ours = program.run_one(input.clone(), &Nothing);
    if let Ok(output) = &ours {
        assert!(Value::parse(output.to_string().as_bytes()).is_ok(), "an output is JSON");
    }
    if program.engine() == "jaq" || text.contains("now") {
        return;
    }
    // For a program with a definition there is no plan.
    let Ok(in_jaq) = Program::compile(&format!("def same: .; {text}"), &["jwt"]) else { return };
    let theirs = in_jaq.run_one(input, &Nothing);
    if is_spent(&ours) || is_spent(&theirs) {
        return;
    }
    let written = |output: Result<Value, RunError>| output.ok().map(|value| value.to_string());
    assert_eq!(written(ours), written(theirs), "{text}");
}

/// The two may pay differently for the same, and the budget's end is near for neither otherwise.
fn is_spent(output: &Result<Value, RunError>) -> bool {
    output.as_ref().is_err_and(|error| error.to_string().contains("may cost"))
}
