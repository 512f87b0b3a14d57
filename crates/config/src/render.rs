//! One complaint as text for people: what, where, the line itself with a caret, and a hint.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Line, Sources};

/// Columns of a terminal; longer source lines are cut around the caret.
const WIDTH: usize = 140;

pub(crate) fn render(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = printable(&sources.mask(&diagnostic.message));
    let hint = diagnostic.hint.as_ref().map(|hint| printable(&sources.mask(hint)));
    let hint = hint.as_ref().map(|hint| Level::NOTE.with_name("hint").message(hint));
    let place = diagnostic.span.and_then(|span| Some((span, sources.line(span)?)));
    let mut text = match place {
        Some((span, line)) => {
            let path = printable(&sources.path(span.source).display().to_string());
            let group = level.primary_title(&message).element(snippet(&line, &path));
            renderer(color).render(&[group.elements(hint)])
        }
        None => {
            let group = level.primary_title(&message).elements(hint);
            renderer(color).render(&[group])
        }
    };
    text.push('\n');
    text
}

fn renderer(color: bool) -> Renderer {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH)
}

/// Only the line at hand is given to the renderer: a large file with many errors stays cheap.
fn snippet<'a>(line: &Line<'a>, path: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let covered = line.text.get(line.covered.clone()).unwrap_or("");
    let start = line.covered.start;
    let mut end = start + covered.trim_end().len();
    if end == start {
        // Something must carry the caret, also at the end of a line.
        let next = line.text.get(start..).and_then(|rest| rest.chars().next());
        end = start + next.map_or(0, char::len_utf8);
    }
    Snippet::source(line.text)
        .path(path)
        .line_start(line.number)
        .annotation(AnnotationKind::Primary.span(start..end))
}

/// A message is one line, and sends nothing to a terminal that the terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
