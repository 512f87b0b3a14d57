//! YAML text becomes nodes. What could surprise a reader of the file is refused here, with a place:
//! keys twice, several documents, tags, merge keys, values too deep or too many.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks};

use crate::diagnostic::Diagnostics;
use crate::environment::{Environment, fill};
use crate::node::{Map, MapEntry, Node, Origin, Style, Value};
use crate::places::Places;
use crate::scalar::plain;
use crate::source::{SourceId, Sources, Span};
use crate::text::clip;
use crate::words::syntax;

/// Largest file, in bytes.
pub const FILE_LIMIT: usize = 4 * 1024 * 1024;
/// Lists and maps inside each other.
const DEPTH: usize = 64;
/// What all values of a file may cost together, aliases and values of the environment counted as
/// often as they are used.
const BUDGET: usize = 64 * 1024 * 1024;
/// What one value costs besides its text.
const NODE_COST: usize = 64;

/// Reads one file's text. Complains in `out` about everything that it can; `None` when there is
/// nothing left to decode. An empty file is a null.
pub fn parse(
    sources: &mut Sources,
    path: PathBuf,
    text: String,
    environment: &dyn Environment,
    out: &mut Diagnostics,
) -> Option<Node> {
    if text.len() > FILE_LIMIT {
        let mebibytes = text.len() as f64 / f64::from(1 << 20);
        out.plain(format!("{} is too large: {mebibytes:.1} MiB", path.display()))
            .hint("a file may have 4 MiB");
        return None;
    }
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let source = sources.add(path, text);
    let text = sources.shared_text(source);
    if let Some((at, _)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        out.error(Span::new(source, at, at), "a control character that YAML does not allow")
            .hint("in \"double quotes\" it can be written as \\xNN");
        return None;
    }
    let mut reader = Reader {
        source,
        text: &text,
        places: Places::of(&text),
        environment,
        sources,
        out,
        frames: Vec::new(),
        anchors: HashMap::new(),
        spent: 0,
        root: None,
    };
    match reader.run() {
        Ok(()) => {
            Some(reader.root.unwrap_or_else(|| Node::new(Value::Null, Span::new(source, 0, 0))))
        }
        Err(Stopped) => None,
    }
}

/// YAML 1.2, 5.1. The parser takes a NUL for the end of the file, and would hide what follows.
fn is_forbidden(c: char) -> bool {
    let allowed = matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    (c.is_control() && !allowed) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Reading cannot go on; why was said.
struct Stopped;

/// A list or map that is not closed yet.
struct Frame {
    kind: Kind,
    anchor: usize,
    /// In bytes, behind an anchor.
    start: usize,
    /// Levels below this one.
    height: usize,
    /// What `spent` was when it began.
    spent: usize,
}

enum Kind {
    List(Vec<Node>),
    Map { entries: Vec<MapEntry>, seen: HashMap<String, Span>, key: Key },
}

/// What the next value of a map belongs to.
enum Key {
    /// The key comes next.
    Awaited,
    Named(String, Span),
    /// The key was complained about: its value is dropped.
    Refused,
}

/// What `*name` stands for.
struct Anchored {
    node: Node,
    height: usize,
    cost: usize,
}

/// A scalar as the parser hands it over.
struct Scalar<'t> {
    text: &'t str,
    style: ScalarStyle,
    anchor: usize,
    tagged: bool,
}

struct Reader<'a> {
    source: SourceId,
    text: &'a str,
    places: Places,
    environment: &'a dyn Environment,
    sources: &'a mut Sources,
    out: &'a mut Diagnostics,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    spent: usize,
    root: Option<Node>,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), Stopped> {
        let text = self.text;
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, marks) = event.map_err(|error| {
                let at = self.places.byte(text, error.marker().index());
                let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
                let (message, hint) = syntax(error.info(), before, after);
                let complaint = self.out.error(Span::new(self.source, at, at), message);
                hint.map(|hint| complaint.hint(hint));
                Stopped
            })?;
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    self.out
                        .error(self.span(marks), "a second document begins here")
                        .hint("a file holds one; put the other into a file of its own");
                    return Ok(());
                }
            }
            self.take(event, marks)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, marks: Marks) -> Result<(), Stopped> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = tag.is_some();
                self.scalar(&Scalar { text: &text, style, anchor, tagged }, marks)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Kind::List(Vec::new()), anchor, tag.is_some(), marks)
            }
            Event::MappingStart(anchor, tag) => {
                let (entries, seen) = (Vec::new(), HashMap::new());
                let kind = Kind::Map { entries, seen, key: Key::Awaited };
                self.begin(kind, anchor, tag.is_some(), marks)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(marks),
            Event::Alias(anchor) => self.alias(anchor, marks),
            _ => Ok(()),
        }
    }

    fn span(&self, marks: Marks) -> Span {
        let start = self.places.byte(self.text, marks.start.index());
        let end = self.places.byte(self.text, marks.end.index());
        let covered = self.text.get(start..end).unwrap_or("");
        Span::new(self.source, start, start + covered.trim_end().len())
    }

    fn charge(&mut self, cost: usize, at: Span) -> Result<(), Stopped> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent <= BUDGET {
            return Ok(());
        }
        self.out
            .error(at, "the file holds too many values")
            .hint("what an alias stands for counts each time");
        Err(Stopped)
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            self.out
                .error(span, "tags are not understood")
                .hint("remove the `!…`; a quoted value is text");
        }
    }

    /// The place of a value itself, behind its anchor, which the parser counts in.
    fn behind_anchor(&self, mut span: Span, anchored: bool) -> Span {
        let whole = |span: Span| self.text.get(span.start as usize..).unwrap_or("");
        while anchored && whole(span).starts_with(['&', '!', '#']) {
            let rest = whole(span);
            let ends = if rest.starts_with('#') { ['\n', '\r'] } else { [' ', '\n'] };
            let token = rest.find(ends).unwrap_or(rest.len());
            let blank = rest.get(token..).unwrap_or("");
            let skipped = rest.len() - blank.trim_start().len();
            span = Span::new(self.source, span.start as usize + skipped, span.end as usize);
        }
        span
    }

    fn scalar(&mut self, scalar: &Scalar<'_>, marks: Marks) -> Result<(), Stopped> {
        let whole = self.span(marks);
        self.refuse_tag(scalar.tagged, whole);
        let span = self.behind_anchor(whole, scalar.anchor != 0 || scalar.tagged);
        let awaits_key = matches!(
            self.frames.last(),
            Some(Frame { kind: Kind::Map { key: Key::Awaited, .. }, .. })
        );
        if awaits_key {
            return self.key(scalar, span);
        }
        let style = match scalar.style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let text = Value::Text(scalar.text.to_owned());
        let mut node = Node { value: text, span, origin: Origin::File, style };
        if scalar.text.contains("${") {
            self.fill_in(&mut node);
        } else if style == Style::Plain {
            node.value = plain(scalar.text);
            self.place_of_nothing(&mut node);
        }
        let text = node.as_text().map_or(0, str::len);
        self.charge(NODE_COST + text, span)?;
        self.finish(node, scalar.anchor, 0, NODE_COST + text)
    }

    /// A value that is not there has no place of its own: complaints go to its key, and for an
    /// empty file to its beginning.
    fn place_of_nothing(&self, node: &mut Node) {
        if !matches!(node.value, Value::Null) || node.span.start != node.span.end {
            return;
        }
        match self.frames.last().map(|frame| &frame.kind) {
            Some(Kind::Map { key: Key::Named(_, span), .. }) => node.span = *span,
            Some(_) => {}
            None => node.span = Span::new(self.source, 0, 0),
        }
    }

    fn fill_in(&mut self, node: &mut Node) {
        let filled = match &node.value {
            Value::Text(text) => fill(text, self.environment),
            _ => return,
        };
        for fault in &filled.faults {
            let place = self.sources.inside(node, fault.offset);
            let variable = self.text.get(place.start as usize..).unwrap_or("");
            let length = match variable.starts_with("${") && place != node.span {
                true => variable.find('}').map_or(2, |at| at + 1),
                false => (place.end - place.start) as usize,
            };
            let start = place.start as usize;
            let span = Span::new(self.source, start, start + length);
            self.out.error(span, fault.message.as_str()).hint(fault.hint.as_str());
        }
        for (value, shown) in filled.secrets {
            self.sources.keep_secret(&value, shown);
        }
        let has_faults = !filled.faults.is_empty();
        if let Some(written) = filled.written {
            let written: Arc<str> = written.into();
            node.origin =
                if has_faults { Origin::Unset(written) } else { Origin::Environment(written) };
        }
        node.value = Value::Text(filled.value);
    }

    fn key(&mut self, scalar: &Scalar<'_>, span: Span) -> Result<(), Stopped> {
        self.charge(NODE_COST + scalar.text.len(), span)?;
        let is_plain = scalar.style == ScalarStyle::Plain;
        let complaint = match scalar.text {
            "<<" if is_plain => Some((
                "merge keys are not understood",
                "an alias may stand for a whole value: `key: *name`",
            )),
            "" => Some(("a key is missing here", "write `key: value`")),
            text if text.contains("${") => {
                Some(("a key cannot come from the environment", "`${NAME}` stands in values only"))
            }
            _ if scalar.anchor != 0 => {
                Some(("a key cannot have an anchor", "write `key: &name value`"))
            }
            _ => None,
        };
        let Some(Frame { kind: Kind::Map { seen, key, .. }, .. }) = self.frames.last_mut() else {
            return Ok(());
        };
        *key = Key::Refused;
        if let Some((message, hint)) = complaint {
            self.out.error(span, message).hint(hint);
            return Ok(());
        }
        if let Some(first) = seen.get(scalar.text) {
            let line = self.sources.position(*first).line;
            self.out
                .error(span, format!("duplicate key `{}`", clip(scalar.text)))
                .hint(format!("it stands in line {line} already"));
            return Ok(());
        }
        seen.insert(scalar.text.to_owned(), span);
        *key = Key::Named(scalar.text.to_owned(), span);
        Ok(())
    }

    fn begin(
        &mut self,
        kind: Kind,
        anchor: usize,
        tagged: bool,
        marks: Marks,
    ) -> Result<(), Stopped> {
        let whole = self.span(marks);
        self.refuse_tag(tagged, whole);
        let span = self.behind_anchor(whole, anchor != 0 || tagged);
        self.check_depth(self.frames.len() + 1, span)?;
        let spent = self.spent;
        self.charge(NODE_COST, span)?;
        let start = span.start as usize;
        self.frames.push(Frame { kind, anchor, start, height: 0, spent });
        Ok(())
    }

    fn check_depth(&mut self, depth: usize, span: Span) -> Result<(), Stopped> {
        if depth <= DEPTH {
            return Ok(());
        }
        self.out.error(span, format!("more than {DEPTH} lists and maps inside each other"));
        Err(Stopped)
    }

    fn end(&mut self, marks: Marks) -> Result<(), Stopped> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let (value, last) = match frame.kind {
            Kind::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::List(items), last)
            }
            Kind::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Value::Map(Map::of(entries)), last)
            }
        };
        // A closing bracket ends the value; its event covers blanks behind it too. A block has none
        // and ends with its last value.
        let closing = self.places.byte(self.text, marks.start.index());
        let closed = self.text.get(closing..).is_some_and(|text| text.starts_with([']', '}']));
        let opened = self.text.get(frame.start..).is_some_and(|text| text.starts_with(['[', '{']));
        let end = match last {
            _ if opened && closed => closing + 1,
            Some(last) => last as usize,
            None => frame.start,
        };
        let node = Node::new(value, Span::new(self.source, frame.start, end));
        let cost = self.spent - frame.spent;
        self.finish(node, frame.anchor, frame.height + 1, cost)
    }

    fn alias(&mut self, anchor: usize, marks: Marks) -> Result<(), Stopped> {
        let span = self.span(marks);
        let Some(Anchored { node, height, cost }) = self.anchors.get(&anchor) else {
            self.out.error(span, "this alias stands inside the value that it names");
            return Err(Stopped);
        };
        let (node, height, cost) = (node, *height, *cost);
        if self.spent.saturating_add(cost) > BUDGET {
            return self.charge(cost, span);
        }
        let node = node.clone();
        self.spent += cost;
        self.check_depth(self.frames.len() + height, span)?;
        self.finish(node, 0, height, cost)
    }

    /// A value is whole: it goes to the list or map that it stands in.
    fn finish(
        &mut self,
        node: Node,
        anchor: usize,
        height: usize,
        cost: usize,
    ) -> Result<(), Stopped> {
        if anchor != 0 {
            self.charge(cost, node.span)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), height, cost });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.kind {
            Kind::List(items) => items.push(node),
            Kind::Map { entries, key, .. } => match std::mem::replace(key, Key::Awaited) {
                Key::Named(key, key_span) => entries.push(MapEntry { key, key_span, value: node }),
                Key::Refused => {}
                Key::Awaited => {
                    *key = Key::Refused;
                    self.out
                        .error(node.span, "a key must be text")
                        .hint("quote a key that begins with `{`, `[` or `*`");
                }
            },
        }
        Ok(())
    }
}
