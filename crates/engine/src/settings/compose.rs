//! What a file may say about a composition: its calls and what becomes of their answers.

use std::time::Duration;

use portcullis_config::{Named, Node, Ranged, Spanned, settings};
use portcullis_upstream::Statuses;

settings! {
    /// Several calls become one answer. A call that refers to others' answers is made after them; all
    /// others are made at the same time.
    pub struct ComposeSettings {
        /// For all calls together.
        pub timeout: Duration = "5s",
        /// The calls, by name.
        pub calls: Named<CallSettings>,
        /// How many calls there may be.
        pub max_calls: Ranged<1, 256> = "32",
        /// jq over an object with each call's answer under its name.
        pub body: Spanned<String>,
        /// The status of an answer in which something is missing.
        pub partial_status: Spanned<u16> = "200",
        /// Whether the answer lists what is missing, as `_errors`.
        pub errors: Spanned<bool> = "off",
    }
}

settings! {
    /// One call of a composition: its JSON answer becomes a member.
    pub struct CallSettings {
        /// The upstream's name.
        pub to: Spanned<String>,
        /// The path and query to ask for: a string template, also of others' answers.
        pub path: Spanned<String>,
        /// The method.
        pub method: Spanned<String> = "GET",
        /// The body to send: jq over an object of the answers that it refers to.
        pub body: Option<Spanned<String>>,
        /// Headers to send beside who asks: string templates.
        pub headers: Named<Spanned<String>> = "{}",
        /// A jq condition over the answers that it refers to: otherwise the call is not made, and
        /// its answer is null.
        pub when: Option<Spanned<String>>,
        /// jq that gives an array: one call for each of its items.
        pub for_each: Option<Spanned<String>>,
        /// What an item is called.
        pub r#as: Spanned<String> = "item",
        /// Whether equal items are asked for once.
        pub distinct: Spanned<bool> = "off",
        /// How many calls of a `for_each` are out at once.
        pub concurrency: Spanned<Ranged<1, 64>> = "8",
        /// How many items there may be.
        pub max: Spanned<Ranged<1, 1000>> = "64",
        /// For this call; the composition's when left out.
        pub timeout: Option<Duration>,
        /// Headers of its answer that reach the client, such as `set-cookie`.
        pub pass: Vec<Spanned<String>> = "[]",
        /// The statuses that are answers.
        pub accept: Vec<Statuses> = "[200-299]",
        /// The value that stands in when the call fails. Without it the call is required.
        pub otherwise: Option<Node>,
        /// Whether the call may fail without anything in its place.
        pub optional: Spanned<bool> = "off",
    }
}
