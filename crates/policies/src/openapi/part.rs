//! A part of a document together with where it stands: references, and schemas that are compiled from
//! a rewritten copy, go by the place.

use serde_json::Value;

/// A value of a document and its JSON Pointer (RFC 6901).
#[derive(Clone, Debug)]
pub struct Part<'d> {
    pub value: &'d Value,
    pub pointer: String,
}

impl<'d> Part<'d> {
    /// A member that is there.
    pub fn get(&self, key: &str) -> Option<Part<'d>> {
        let value = self.value.get(key)?;
        Some(Part { value, pointer: self.below(key) })
    }

    pub fn text(&self, key: &str) -> Option<&'d str> {
        self.value.get(key)?.as_str()
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value.get(key)?.as_bool()
    }

    /// What a list holds; nothing when this is none.
    pub fn items(&self) -> impl Iterator<Item = Part<'d>> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(at, value)| Part { value, pointer: self.below(&at.to_string()) })
    }

    /// Names and what stands there; nothing when this is no object.
    pub fn members(&self) -> impl Iterator<Item = (&'d str, Part<'d>)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(key, value)| (key.as_str(), Part { value, pointer: self.below(key) }))
    }

    fn below(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }
}
