//! Header fields as tests see them: in order, repeated ones kept, names in lower case, every byte
//! of a value shown as the character of the same number (so that no byte is lost).

use std::fmt;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), shown(value)));
    }

    pub fn from_map(map: &http::HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in map {
            fields.push(name.as_str(), value.as_bytes());
        }
        fields
    }

    /// The first value of a name (case does not matter).
    pub fn get(&self, name: &str) -> Option<&str> {
        let named = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.0.iter().find(named).map(|field| field.1.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let named = move |field: &&'a (String, String)| field.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|field| field.1.as_str())
    }

    /// All values of a name, joined as RFC 9110 section 5.3 joins them.
    pub fn joined(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.all(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// As a JSON object: a name's values joined.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for (name, _) in &self.0 {
            object.insert(name.clone(), self.joined(name).into());
        }
        object.into()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            writeln!(f, "    {name}: {value}")?;
        }
        Ok(())
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes that [`Fields`] shows as these characters.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(byte) if byte >= 0x80 => bytes.push(byte),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
