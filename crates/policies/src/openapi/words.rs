//! What differs between the schemas of a document and JSON Schema 2020-12: a few words of 3.0
//! (`nullable`, exclusive bounds that are booleans, references that stand alone), and in both versions
//! members that only one side has to send.

use serde_json::{Map, Value, json};

/// Who sends what a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Answer,
}

impl Side {
    /// The word for members that only the other side sends.
    fn others(self) -> &'static str {
        match self {
            Self::Request => "readOnly",
            Self::Answer => "writeOnly",
        }
    }
}

/// Rewrites every schema below a value; what is no schema stays.
pub(super) fn rewrite(value: &mut Value, is_old: bool, side: Side) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, is_old, side)),
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                // The values that a list of choices holds are data.
                if key != "enum" || !value.is_array() {
                    rewrite(value, is_old, side);
                }
            }
            excuse(members, side);
            if is_old {
                modern(members);
            }
        }
        _ => {}
    }
}

/// A member that only the other side sends is not required of this one (OpenAPI 3.0.3 section 4.7.24).
fn excuse(schema: &mut Map<String, Value>, side: Side) {
    let excused: Vec<String> = match schema.get("properties") {
        Some(Value::Object(properties)) => {
            let is_others = |it: &Value| it.get(side.others()) == Some(&Value::Bool(true));
            properties.iter().filter(|(_, it)| is_others(it)).map(|(key, _)| key.clone()).collect()
        }
        _ => return,
    };
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !excused.iter().any(|it| name == it.as_str()));
    }
}

/// A schema of 3.0 in the words of JSON Schema.
fn modern(schema: &mut Map<String, Value>) {
    // What stands beside a reference means nothing in 3.0.
    if schema.get("$ref").is_some_and(Value::is_string) {
        schema.retain(|key, _| key == "$ref");
        return;
    }
    for (word, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let is_exclusive = schema.get(word).and_then(Value::as_bool);
        if is_exclusive.is_some() {
            schema.remove(word);
        }
        if is_exclusive == Some(true)
            && let Some(limit) = schema.remove(bound)
        {
            schema.insert(word.to_owned(), limit);
        }
    }
    // A boolean is the word of 3.0; a schema is a property of that name.
    let nullable = schema.get("nullable").and_then(Value::as_bool);
    if nullable.is_some() {
        schema.remove("nullable");
    }
    if nullable == Some(true) {
        if let Some(kind) = schema.get("type").cloned() {
            schema.insert("type".to_owned(), json!([kind, "null"]));
        }
        if let Some(Value::Array(values)) = schema.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(mut value: Value, is_old: bool, side: Side) -> Value {
        rewrite(&mut value, is_old, side);
        value
    }

    #[test]
    fn old_words_mean_the_same() {
        let old = |value: Value| rewritten(value, true, Side::Request);
        assert_eq!(
            old(json!({ "type": "string", "nullable": true, "enum": ["a"] })),
            json!({ "type": ["string", "null"], "enum": ["a", null] })
        );
        assert_eq!(
            old(json!({ "minimum": 1, "exclusiveMinimum": false })),
            json!({ "minimum": 1 })
        );
        assert_eq!(
            old(json!({ "maximum": 1, "exclusiveMaximum": true })),
            json!({ "exclusiveMaximum": 1 })
        );
        assert_eq!(old(json!({ "exclusiveMinimum": true })), json!({}));
        assert_eq!(old(json!({ "$ref": "#/a", "type": "string" })), json!({ "$ref": "#/a" }));
        let data = json!({ "enum": [{ "nullable": true }] });
        assert_eq!(old(data.clone()), data);
        let property = json!({ "properties": { "nullable": { "type": "string" } } });
        assert_eq!(old(property.clone()), property);
        let new = json!({ "type": "string", "nullable": true });
        assert_eq!(rewritten(new.clone(), false, Side::Request), new);
    }

    #[test]
    fn each_side_sends_its_own() {
        let schema = json!({
            "required": ["id", "secret", "name"],
            "properties": { "id": { "readOnly": true }, "secret": { "writeOnly": true }, "name": {} },
        });
        let required = |side| rewritten(schema.clone(), false, side)["required"].clone();
        assert_eq!(required(Side::Request), json!(["secret", "name"]));
        assert_eq!(required(Side::Answer), json!(["id", "name"]));
    }
}
