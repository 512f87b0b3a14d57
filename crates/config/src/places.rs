//! The YAML parser counts characters, everything else here counts bytes.

/// From the parser's character counts to byte offsets.
pub(crate) struct Places {
    /// The byte offset of every 64th character; empty when all characters are one byte.
    marks: Vec<usize>,
}

const STRIDE: usize = 64;

impl Places {
    pub(crate) fn of(text: &str) -> Self {
        let marks = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(STRIDE).map(|(offset, _)| offset).collect(),
        };
        Self { marks }
    }

    pub(crate) fn byte(&self, text: &str, index: usize) -> usize {
        if self.marks.is_empty() {
            return index.min(text.len());
        }
        let Some(base) = self.marks.get(index / STRIDE) else { return text.len() };
        let rest = text.get(*base..).unwrap_or("");
        rest.char_indices().nth(index % STRIDE).map_or(text.len(), |(offset, _)| base + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_its_byte() {
        for text in ["", "abc", &"aö日🦀".repeat(100), &"x".repeat(64), &"é".repeat(64)] {
            let places = Places::of(text);
            for (index, (offset, _)) in text.char_indices().enumerate() {
                assert_eq!(places.byte(text, index), offset);
            }
            for beyond in 0..70 {
                assert_eq!(places.byte(text, text.chars().count() + beyond), text.len());
            }
        }
    }
}
