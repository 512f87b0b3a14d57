//! What a program can call: jaq's library without what reaches outside the request, functions of our
//! own in place of some of it, and what jq has beyond it that mappings want.

use jaq_core::load::{parse, parse::Def};
use jaq_core::native::Fun;

use super::native::{Plain, functions};
use super::price;

/// jaq's definitions that reach outside, or that functions of our own stand for.
const LEFT_OUT: [(&str, usize); 17] = [
    ("stderr", 0),
    ("debug", 0),
    ("debug", 1),
    ("halt", 0),
    ("halt_error", 0),
    ("halt_error", 1),
    ("join", 1),
    ("from_entries", 0),
    ("totype", 2),
    ("tonumber", 0),
    ("toboolean", 0),
    ("getpath", 1),
    ("setpath", 2),
    ("delpaths", 1),
    ("del", 1),
    ("flatten", 1),
    ("@base64d", 0),
];

/// jaq's functions that reach outside (the environment, the process, files of time zones, the log),
/// and two that loop as often as their argument says.
const NOT_OURS: [&str; 8] =
    ["env", "halt", "localtime", "strflocaltime", "debug_empty", "stderr_empty", "jn", "yn"];

/// What jq has and jaq's library has not, or has without a bound: where data says how deep it recurses,
/// the definitions stand here, and pay for each call and each step.
const ADDED: &str = r#"
def getpath($path): reduce $path[] as $part (.; .[$part]);
def setpath($path; $value): getpath($path) = $value;
def flatten($depth): if $depth > 0 then map(if isarray then flatten($depth - 1) else [.] end) | add // [] end;
def is_there($path): getpath($path[:-1]) | . != null and (($path[-1] | isobject) or has($path[-1]));
def delpaths($paths): reduce ($paths | sort | reverse[]) as $path (.; if $path == [] then null
  elif is_there($path) then getpath($path) |= empty else . end);
def del(f): delpaths([path(f)]);
def IN(f): . as $x | any(f; . == $x);
def IN(f; g): any(f; IN(g));
def INDEX(f; key): reduce f as $item ({}; .[$item | key | tostring] = $item);
def INDEX(key): INDEX(.[]; key);
def toarray: if isarray then . else [.] end;
def trimstr($text): ltrimstr($text) | rtrimstr($text);
def ascii: [.] | implode;
def @base64d: tostring | . + "==="[:(4 - utf8bytelength % 4) % 4] | decode_base64;
def cells(text; between): map(if isstring then text elif . == null then "" elif . < [] then tostring
  else error("a cell is a string, a number or a boolean") end) | join(between);
def @csv: cells("\"" + (split("\"") | join("\"\"")) + "\""; ",");
def @tsv: cells(reduce (["\\", "\\\\"], ["\t", "\\t"], ["\n", "\\n"], ["\r", "\\r"]) as [$from, $to]
  (.; split($from) | join($to)); "\t");
"#;

pub(super) fn definitions<'a>() -> Vec<Def<&'a str>> {
    let added = parse(ADDED, |parser| parser.defs());
    jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|def| !LEFT_OUT.contains(&(def.name, def.args.len())))
        .chain(added.into_iter().flatten().map(price::paying))
        .collect()
}

pub(super) fn natives() -> impl Iterator<Item = Fun<Plain>> {
    let inside = |(name, ..): &Fun<Plain>| !NOT_OURS.contains(name);
    // The first of two with one name is called.
    functions()
        .chain([price::function()])
        .chain(jaq_core::funs())
        .chain(jaq_std::funs().filter(inside))
}
