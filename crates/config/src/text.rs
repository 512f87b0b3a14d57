//! How text from a file is shown inside a message: short, and on one line.

/// Longest stretch of foreign text in a message, in characters.
const SHOWN: usize = 60;

/// The beginning of a text, without control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.trim_end().to_owned()
}
