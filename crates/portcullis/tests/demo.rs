//! The demo, as a newcomer meets it: started by one command, its printed lines pasted into a shell.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// The demo, and what it printed after its start.
struct Demo {
    child: Child,
    guide: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["demo", "--port", &free_port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut demo = Self { child, guide: Vec::new() };
        for line in BufReader::new(demo.child.stderr.take().unwrap()).lines() {
            demo.guide.push(line.unwrap());
            if demo.guide.last().unwrap().starts_with("for i in 1 2 3;") {
                return demo;
            }
        }
        panic!("the demo ended at once; it said:\n{}", demo.guide.join("\n"));
    }

    /// Pastes the lines below the comment that begins like this, and gives what they print.
    fn paste(&self, comment: &str) -> String {
        let token = self.guide.iter().find(|line| line.starts_with("TOKEN=")).unwrap();
        let begin = self.guide.iter().position(|line| line.starts_with(comment));
        let begin = begin.unwrap_or_else(|| panic!("nothing is printed about {comment:?}"));
        let lines = self.guide.iter().skip(begin + 1).take_while(|line| !line.starts_with('#'));
        let script = format!("{token}\n{}", lines.cloned().collect::<Vec<_>>().join("\n"));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port whose neighbours, which the demo takes as well, are free too.
fn free_port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let fits =
        |port: &u16| [0, 20, 21, 22, 23, 32, 1821].iter().all(|distance| free(port + distance));
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..first + 1000).find(fits).unwrap()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn every_printed_line_shows_what_it_says() {
    let demo = Demo::start();
    let order = demo.paste("# an order");
    says(&order, &["\"status\":\"created\"", "\"total\":", "\"zip\":\"3000\""]);
    let dashboard = demo.paste("# a dashboard");
    says(&dashboard, &["\"user\":{\"id\":\"u-42\"", "\"recentOrders\":[{", "\"totalSpent\":42.5"]);
    says(&demo.paste("# 401: no token"), &["401", "Missing authorization token"]);
    says(&demo.paste("# 401: an expired token"), &["401", "Token expired"]);
    says(&demo.paste("# 403"), &["403", "\"code\":\"forbidden\""]);
    says(&demo.paste("# 400"), &["\"status\":400", "\"errors\":[", "shipping", "/orderItems"]);
    says(&demo.paste("# 429"), &["100 200", "1 429"]);
    let slow = demo.paste("# 504");
    says(&slow, &["\"code\":\"upstream_timeout\"", "1 of 5 failures in a row"]);
    says(&demo.paste("# well again"), &["\"status\":\"created\""]);
    let failing = demo.paste("# 503");
    let answers: Vec<&str> = failing.lines().filter(|line| line.contains("\"status\"")).collect();
    says(answers.last().unwrap(), &["Service temporarily unavailable", "\"retryAfter\":"]);
    let healed = demo.paste("# healed");
    says(&healed, &["\"state\": \"open\"", "\"state\": \"half-open\"", "\"status\":\"created\""]);
    assert!(
        !healed.rsplit("half-open").next().unwrap().contains("\"state\": \"open\""),
        "{healed}"
    );
}
