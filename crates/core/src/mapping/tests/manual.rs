//! The reference's examples of programs, line by line: what has each, and what it gives. Plan and jaq
//! are held to the same line.

use std::fs;
use std::path::Path;

use super::{Value, compile, plan::in_jaq};
use crate::mapping::{Program, RunError};

/// `PROGRAM  # ENGINE: INPUT => OUTPUT, OUTPUT`, or `PROGRAM  # refused: WHY`.
struct Example<'a> {
    line: &'a str,
    program: &'a str,
    engine: &'a str,
    rest: &'a str,
}

/// The lines of a page's blocks; those that begin with `#` are titles.
fn examples(page: &str) -> Vec<Example<'_>> {
    let blocks = page.split("```jq\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| !line.is_empty());
    let example = |line| {
        let (program, rest) = str::split_once(line, "  # ").expect(line);
        let (engine, rest) = rest.split_once(": ").expect(line);
        Example { line, program: program.trim_end(), engine, rest }
    };
    lines.filter(|line| !line.starts_with('#')).map(example).collect()
}

fn array(program: &str) -> String {
    // The program may end in a comment.
    format!("[{program}\n]")
}

fn outputs(program: &Program, input: &str) -> Result<String, RunError> {
    let input = Value::parse(input.as_bytes()).unwrap();
    program.run_one(input, &super::Claims).map(|outputs| outputs.to_string())
}

fn holds(example: &Example<'_>) {
    let Example { line, program, engine, rest } = example;
    if *engine == "refused" {
        let errors = compile(program).err().expect(line);
        return assert!(
            errors.iter().any(|error| error.message.contains(rest)),
            "{line} {errors:?}"
        );
    }
    assert_eq!(compile(program).expect(line).engine(), *engine, "{line}");
    let (input, wanted) = rest.split_once(" => ").expect(line);
    let given = outputs(&compile(&array(program)).unwrap(), input);
    match wanted.strip_prefix("error: ") {
        Some(message) => assert_eq!(given.as_ref().unwrap_err().to_string(), message, "{line}"),
        None => {
            let wanted = if wanted == "nothing" { "" } else { wanted };
            let wanted = Value::parse(format!("[{wanted}]").as_bytes()).expect(line);
            assert_eq!(given.as_deref(), Ok(&*wanted.to_string()), "{line}");
        }
    }
    if *engine == "plan" {
        let theirs = outputs(&in_jaq(&array(program)), input);
        assert_eq!(theirs.ok(), given.ok(), "{line}");
    }
}

#[test]
fn every_example_of_a_program_gives_what_its_page_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let mut count = 0;
    for page in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if page.extension().is_some_and(|extension| extension == "md") {
            let page = fs::read_to_string(page).unwrap();
            let examples = examples(&page);
            examples.iter().for_each(holds);
            count += examples.len();
        }
    }
    assert!(count > 300, "only {count} examples were found");
}
