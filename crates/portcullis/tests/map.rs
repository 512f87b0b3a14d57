//! `portcullis map`: a mapping tried on the desk, as a shell has it.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::process::Command;

use kit::place::Place;

const CONFIG: &str = r#"
listeners: [{ address: 127.0.0.1:0 }]
env: { REGION: "${PORTCULLIS_TEST_REGION:-eu}" }
routes:
  - name: a
    match: { path: "/a/{id}" }
    policies:
      transform:
        request: { body: '{ id: $path.id, user: $jwt.sub, n: (.n + 1), page: $query.page, h: $headers.h, at: $env.REGION }' }
        response: [{ body: '{ data: . }' }, { when: '$status == 404', body: '{ none: true }' }]
    respond: { text: x }
  - { name: plain, match: { path: /b }, respond: { text: x } }
"#;

/// What a line prints, how it ends, and what it complains of.
fn line(line: &str) -> (String, i32, String) {
    let place = Place::new().unwrap();
    place.write("portcullis.yaml", CONFIG).unwrap();
    let program = env!("CARGO_BIN_EXE_portcullis");
    let line = line.replace("portcullis", program);
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &line]).current_dir(place.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), output.status.code().unwrap(), text(output.stderr))
}

#[test]
fn a_mapping_runs_on_the_desk() {
    let (printed, exit, _) = line(
        r#"echo '{"n":41}' | portcullis map a request --param id=7 --jwt '{"sub":"u"}' --path '/a/7?page=2' -H 'h: x'"#,
    );
    let wanted = r#"{"id":"7","user":"u","n":42,"page":"2","h":"x","at":"eu"}"#;
    assert_eq!((printed.trim_end(), exit), (wanted, 0));
    let (printed, _, _) = line("echo '[1.10]' | portcullis map a response");
    assert_eq!(printed, "{\"data\":[1.10]}\n", "numbers keep their text");
    let (printed, _, _) = line("echo '{}' | portcullis map a response --status 404");
    assert_eq!(printed, "{\"none\":true}\n");
}

#[test]
fn what_does_not_fit_is_said() {
    let (printed, exit, said) = line(r#"echo '{"n":[]}' | portcullis map a request"#);
    assert_eq!((printed.as_str(), exit), ("", 1));
    let place =
        "400 mapping_failed: portcullis.yaml:9:26: at /n: cannot calculate an array + a number";
    assert!(said.starts_with("400 mapping_failed: "), "{said}");
    assert_eq!(said.trim_end(), place);
    let (_, exit, said) = line("echo '{' | portcullis map a response");
    assert!(exit == 1 && said.starts_with("502 upstream_body_unusable: "), "{said}");
    for (command, complaint) in [
        ("map nobody request", "no route is called `nobody`; there is a, plain"),
        ("map plain request", "the route `plain` has no transform"),
        ("map a request --jwt x", "--jwt: "),
    ] {
        let (_, exit, said) = line(&format!("echo 1 | portcullis {command}"));
        assert!(exit == 2 && said.contains(complaint), "{said}");
    }
}
