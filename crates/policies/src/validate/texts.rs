//! Texts become JSON: what a schema says that a parameter is, and how it is written in a URL or a
//! header (OpenAPI 3.1 section 4.8.12, `style` and `explode`).

use std::collections::BTreeMap;

use portcullis_core::FieldError;
use serde_json::{Map, Value};

use crate::json;

/// How deep a schema is looked into for what it says of a type.
const DEEPEST: usize = 8;
/// Objects inside each other of which the members' types are known. Below, all is text.
const NESTED: usize = 3;
/// Brackets of one name: `where[a][b]` has two.
const MOST_BRACKETS: usize = 8;

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

/// What a parameter is made of.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    One(One),
    List(One),
    Object(Members),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct One(Kind);

/// Members by name, and what all others are.
#[derive(Clone, Debug)]
pub(super) struct Members {
    known: Vec<(String, Shape)>,
    others: Box<Shape>,
}

/// The brackets behind a name, and the text that stands there.
type Leaf<'t> = (Vec<&'t str>, &'t str);

const TEXT: Shape = Shape::One(One(Kind::Text));

/// How a parameter's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Each on its own: `tag=a&tag=b`; an object by its members' names, `red=1&green=2`.
    Apart,
    /// In one text: `a,b`; an object as `red,1,green,2`.
    Joined(char),
    /// In one text: `a,b`; an object as `red=1,green=2`.
    Paired(char),
    /// An object as `where[red]=1&where[green]=2`.
    Deep,
    /// As JSON.
    Json,
}

/// The part of a schema that says the type of a value, and that type: behind references, and in what it
/// is combined of. `root` is where references begin.
fn typed<'s>(root: &'s Value, schema: &'s Value, depth: usize) -> Option<(&'s str, &'s Value)> {
    let own = match (schema.get("type"), schema.get("enum")) {
        (Some(Value::Array(kinds)), _) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null")
        }
        (Some(Value::String(kind)), _) => Some(kind.as_str()).filter(|kind| *kind != "null"),
        (None, Some(Value::Array(values))) => values.first().and_then(kind_of),
        _ => None,
    };
    if own.is_some() || depth == 0 {
        return own.map(|kind| (kind, schema));
    }
    inner(root, schema).find_map(|inner| typed(root, inner, depth - 1))
}

/// The type of a value that a schema lists, unless that is text.
fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::Bool(_) => Some("boolean"),
        _ => None,
    }
}

/// What a schema refers to and is combined of.
fn inner<'s>(root: &'s Value, schema: &'s Value) -> impl Iterator<Item = &'s Value> {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let referred = reference.and_then(|it| root.pointer(it.strip_prefix('#')?));
    let combined = ["allOf", "anyOf", "oneOf"].into_iter();
    let combined = combined.filter_map(|word| schema.get(word)?.as_array()).flatten();
    referred.into_iter().chain(combined)
}

impl Shape {
    /// What a schema says; `root` is where its references begin.
    pub(super) fn of(root: &Value, schema: &Value) -> Self {
        Self::within(root, schema, NESTED)
    }

    fn within(root: &Value, schema: &Value, left: usize) -> Self {
        match typed(root, schema, DEEPEST) {
            Some(("array", list)) => Self::List(One::of(root, list.get("items"))),
            Some(("object", _)) if left > 0 => {
                let mut members = Members { known: Vec::new(), others: Box::new(TEXT) };
                members.collect(root, schema, left - 1, DEEPEST);
                Self::Object(members)
            }
            Some((kind, _)) => Self::One(One(Kind::named(kind))),
            None => TEXT,
        }
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The names by which an object's members stand on their own.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let known = match self {
            Self::Object(members) => members.known.as_slice(),
            Self::One(_) | Self::List(_) => &[],
        };
        known.iter().map(|(name, _)| name.as_str())
    }

    fn member(&self, name: &str) -> &Self {
        let Self::Object(members) = self else { return &TEXT };
        let known = members.known.iter().find(|(known, _)| known == name);
        known.map_or(&*members.others, |(_, shape)| shape)
    }

    /// The value that stands in these texts, of which there is at least one. `at` is its place.
    pub(super) fn read(
        &self,
        texts: &[&str],
        written: Written,
        at: &str,
    ) -> Result<Value, FieldError> {
        let separator = match written {
            Written::Joined(separator) | Written::Paired(separator) => Some(separator),
            Written::Apart | Written::Deep | Written::Json => None,
        };
        if let (Self::List(one), true) = (self, written != Written::Json) {
            let split = |text: &&str| match separator {
                Some(separator) => text.split(separator).map(|it| one.read(it.trim())).collect(),
                None => vec![one.read(text)],
            };
            return Ok(texts.iter().flat_map(split).collect());
        }
        let [text] = texts else {
            let message = format!("it is there {} times", texts.len());
            return Err(wrong(at, "maxItems", message));
        };
        match (self, separator) {
            _ if written == Written::Json => json::parse(text.as_bytes())
                .map_err(|why| wrong(at, "type", format!("it is no JSON: {why}"))),
            (Self::Object(_), Some(separator)) => {
                let is_paired = matches!(written, Written::Paired(_));
                self.members_of(text, separator, is_paired, at)
            }
            (Self::One(one), _) => Ok(one.read(text)),
            // An object that is a text: its schema says what is wrong with that.
            _ => Ok(Value::from(*text)),
        }
    }

    /// What a text may be as well: of several types that a schema allows, the one by which it was read
    /// is no better than the others.
    pub(super) fn others(&self, value: &Value) -> Vec<Value> {
        match (self, value) {
            (Self::One(_), Value::String(text)) => {
                let read = [Kind::Number, Kind::Boolean].map(|kind| One(kind).read(text));
                read.into_iter().filter(|other| !other.is_string()).collect()
            }
            (Self::One(_), Value::Number(_) | Value::Bool(_)) => {
                vec![Value::String(value.to_string())]
            }
            _ => Vec::new(),
        }
    }

    /// An object that stands in one text.
    fn members_of(
        &self,
        text: &str,
        separator: char,
        is_paired: bool,
        at: &str,
    ) -> Result<Value, FieldError> {
        let mut members = Map::new();
        let mut parts = text.split(separator).map(str::trim);
        while let Some(part) = parts.next() {
            let (name, value) = match is_paired {
                true => part.split_once('=').map_or((part, None), |(name, it)| (name, Some(it))),
                false => (part, parts.next()),
            };
            let Some(value) = value else {
                return Err(wrong(at, "type", format!("the member \"{name}\" has no value")));
            };
            let value = self.member(name).read(&[value], Written::Apart, at)?;
            if members.insert(name.to_owned(), value).is_some() {
                let message = format!("the member \"{name}\" is there twice");
                return Err(wrong(at, "maxItems", message));
            }
        }
        Ok(Value::Object(members))
    }

    /// An object whose members stand on their own, by their names.
    pub(super) fn gathered(
        &self,
        pairs: &[(String, String)],
        at: &str,
    ) -> Result<Option<Value>, FieldError> {
        let mut members = Map::new();
        for name in self.names() {
            let own = pairs.iter().filter(|(known, _)| known == name);
            let texts: Vec<&str> = own.map(|(_, value)| value.as_str()).collect();
            if !texts.is_empty() {
                let at = format!("{at}/{name}");
                let value = self.member(name).read(&texts, Written::Apart, &at)?;
                members.insert(name.to_owned(), value);
            }
        }
        Ok((!members.is_empty()).then_some(Value::Object(members)))
    }

    /// An object whose members stand in brackets behind `name`. All that begins so belongs to it: what
    /// is written in another way is wrong, for a service may understand it.
    pub(super) fn deep(
        &self,
        name: &str,
        pairs: &[(String, String)],
        at: &str,
    ) -> Result<Option<Value>, FieldError> {
        let mut leaves: Vec<Leaf<'_>> = Vec::new();
        for (written, value) in pairs {
            let Some(rest) = written.strip_prefix(name) else { continue };
            match brackets(rest) {
                Some(path) => leaves.push((path, value)),
                None if rest.starts_with('[') => {
                    return Err(wrong(at, "style", format!("\"{written}\" is not understood")));
                }
                None => {}
            }
        }
        match leaves.is_empty() {
            true => Ok(None),
            false => self.grown(&leaves, at).map(Some),
        }
    }

    /// The value of all texts whose brackets lead here.
    fn grown(&self, leaves: &[Leaf<'_>], at: &str) -> Result<Value, FieldError> {
        let is_end = |path: &[&str]| match self {
            Self::List(_) => matches!(path, [] | [""]),
            Self::One(_) | Self::Object(_) => path.is_empty(),
        };
        if leaves.iter().all(|(path, _)| is_end(path)) {
            let texts: Vec<&str> = leaves.iter().map(|(_, text)| *text).collect();
            return self.read(&texts, Written::Deep, at);
        }
        let mut below: BTreeMap<&str, Vec<Leaf<'_>>> = BTreeMap::new();
        for (path, text) in leaves {
            let Some((first, rest)) = path.split_first().filter(|(first, _)| !first.is_empty())
            else {
                return Err(wrong(at, "style", "its brackets are not understood".to_owned()));
            };
            below.entry(first).or_default().push((rest.to_vec(), text));
        }
        let grown = |(name, leaves): (&str, Vec<Leaf<'_>>)| {
            let value = self.member(name).grown(&leaves, &format!("{at}/{name}"))?;
            Ok((name.to_owned(), value))
        };
        below.into_iter().map(grown).collect::<Result<_, _>>().map(Value::Object)
    }
}

/// The names in `[a][b]`; none when it is something else.
fn brackets(text: &str) -> Option<Vec<&str>> {
    let (mut names, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix('[')?.split_once(']')?;
        if name.contains('[') || names.len() == MOST_BRACKETS {
            return None;
        }
        names.push(name);
        rest = after;
    }
    Some(names)
}

fn wrong(at: &str, keyword: &str, message: String) -> FieldError {
    FieldError { pointer: at.to_owned(), keyword: keyword.to_owned(), message }
}

impl Members {
    /// The members that a schema knows, also by reference and in what it is combined of.
    fn collect(&mut self, root: &Value, schema: &Value, left: usize, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if !self.known.iter().any(|(known, _)| known == name) {
                self.known.push((name.clone(), Shape::within(root, property, left)));
            }
        }
        if let Some(others) = schema.get("additionalProperties").filter(|it| it.is_object()) {
            *self.others = Shape::within(root, others, left);
        }
        if depth > 0 {
            inner(root, schema).for_each(|inner| self.collect(root, inner, left, depth - 1));
        }
    }
}

impl One {
    fn of(root: &Value, schema: Option<&Value>) -> Self {
        let kind = schema.and_then(|schema| typed(root, schema, DEEPEST));
        Self(kind.map_or(Kind::Text, |(kind, _)| Kind::named(kind)))
    }

    /// A text that cannot be read so stays text, and its schema says what is wrong with it.
    fn read(self, text: &str) -> Value {
        let read = match self.0 {
            Kind::Text => None,
            Kind::Integer | Kind::Number => {
                let plain = text.bytes().all(|it| it.is_ascii_digit() || b"+-.eE".contains(&it));
                text.parse::<serde_json::Number>().ok().filter(|_| plain).map(Value::Number)
            }
            Kind::Boolean => text.parse().ok().map(Value::Bool),
        };
        read.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

impl Kind {
    fn named(word: &str) -> Self {
        match word {
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        portcullis_core::exchange::query_pairs(query).collect()
    }

    /// A sort of parameter that has everything.
    fn shape() -> Shape {
        let root = json!({
            "allOf": [{ "$ref": "#/$defs/place" }],
            "type": "object",
            "properties": {
                "min": { "type": "integer" },
                "tags": { "type": "array", "items": { "type": "boolean" } },
                "size": { "properties": { "x": { "type": "number" } }, "type": "object" },
            },
            "additionalProperties": { "type": "integer" },
            "$defs": { "place": { "properties": { "city": { "enum": [1, 2] } } } },
        });
        Shape::of(&root, &root)
    }

    #[test]
    fn brackets_make_an_object_of_the_schemas_types() {
        let read = |query: &str| shape().deep("w", &pairs(query), "query.w");
        assert_eq!(
            read("w[min]=1&w%5Btags%5D=true&w[tags]=x&w[size][x]=1.5&w[city]=2&w[n]=7&v=1")
                .unwrap(),
            Some(json!({
                "city": 2, "min": 1, "n": 7, "size": { "x": 1.5 }, "tags": [true, "x"],
            }))
        );
        assert_eq!(read("w[tags][]=true").unwrap(), Some(json!({ "tags": [true] })));
        assert_eq!(read("wide=1&x[w]=1").unwrap(), None);
        assert_eq!(read("w=1").unwrap(), Some(json!("1")), "its schema says what is wrong");
        assert_eq!(read("w[min][a]=1").unwrap(), Some(json!({ "min": { "a": "1" } })));
        let deep = format!("w{}=1", "[a]".repeat(9));
        for (query, at, keyword) in [
            ("w[min]=1&w[min]=2", "query.w/min", "maxItems"),
            ("w[min", "query.w", "style"),
            ("w[min]x=1", "query.w", "style"),
            ("w[a[b]]=1", "query.w", "style"),
            ("w[]=1", "query.w", "style"),
            ("w=1&w[min]=1", "query.w", "style"),
            ("w[size]=1&w[size][x]=1", "query.w/size", "style"),
            (&deep, "query.w", "style"),
        ] {
            let wrong = read(query).unwrap_err();
            assert_eq!((wrong.pointer.as_str(), wrong.keyword.as_str()), (at, keyword), "{query}");
        }
    }

    #[test]
    fn one_text_can_hold_lists_and_objects() {
        let object = |text: &str, written| shape().read(&[text], written, "p");
        let wanted = json!({ "min": 1, "city": 2 });
        assert_eq!(object("min,1,city,2", Written::Joined(',')).unwrap(), wanted);
        assert_eq!(object("min=1,city=2", Written::Paired(',')).unwrap(), wanted);
        assert_eq!(object("{\"min\":1}", Written::Json).unwrap(), json!({ "min": 1 }));
        for (text, written) in [
            ("min,1,city", Written::Joined(',')),
            ("min=1,city", Written::Paired(',')),
            ("min=1,min=2", Written::Paired(',')),
            ("{\"a\":1,\"a\":2}", Written::Json),
        ] {
            assert!(object(text, written).is_err(), "{text}");
        }
        let list = json!({ "type": ["array", "null"], "items": { "type": "integer" } });
        let list = Shape::of(&list, &list);
        assert_eq!(list.read(&["1|x"], Written::Joined('|'), "p").unwrap(), json!([1, "x"]));
        assert_eq!(list.read(&["1", "2"], Written::Apart, "p").unwrap(), json!([1, 2]));
    }

    #[test]
    fn members_can_stand_on_their_own() {
        let read = |query: &str| shape().gathered(&pairs(query), "query.w");
        let wanted = json!({ "min": 1, "tags": [true, false] });
        assert_eq!(read("tags=true&other=1&min=1&tags=false").unwrap(), Some(wanted));
        assert_eq!(read("other=1").unwrap(), None);
        assert_eq!(read("min=1&min=2").unwrap_err().pointer, "query.w/min");
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let root = json!({
            "type": "object",
            "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" }, "c": { "anyOf": [{ "$ref": "#" }] } },
        });
        assert!(Shape::of(&root, &root).is_object());
    }
}
