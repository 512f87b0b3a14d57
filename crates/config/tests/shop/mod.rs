//! A small language that the tests of this crate speak: every shape of settings stands in it.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_config::{
    Bytes, Decode as _, Diagnostics, Named, Node, OneOrMany, OrOff, Percent, Ranged, Secret,
    Sources, Spanned, choices, parse, settings,
};

settings! {
    /// A shop.
    pub struct Shop {
        /// Where it is.
        pub doors: Vec<Spanned<SocketAddr>>,
        /// What is sold,
        /// by name.
        pub goods: Named<Good> = "{}",
        pub alarm: OrOff<Alarm> = "{}",
        pub r#match: Option<String>,
        pub days: OneOrMany<Spanned<String>> = "[]",
        pub open: bool = "on",
        pub staff: Ranged<1, 10> = "3",
        pub sale: Option<Percent>,
        pub shelf: Bytes = "1MiB",
        pub mood: Mood = "calm",
        pub key: Option<Secret>,
        pub extra: Option<Node>,
    }
}

settings! {
    /// Something that is sold.
    pub struct Good {
        pub price: u32,
        pub keeps: Duration = "30s",
    }
}

settings! {
    pub struct Alarm {
        pub loudness: u8 = "5",
        pub number: String = "112",
    }
}

choices! {
    /// How it feels.
    pub enum Mood {
        /// As always.
        Calm = "calm",
        Busy = "busy",
        Off = "off",
    }
}

/// Reads and decodes; `TOKEN` and `PORT` are set.
pub(crate) fn open(text: &str) -> (Option<Shop>, Diagnostics, Sources) {
    let mut sources = Sources::new();
    let mut out = Diagnostics::new();
    let environment = |name: &str| match name {
        "TOKEN" => Some("s3cr3t-t0ken".to_owned()),
        "PORT" => Some("8080".to_owned()),
        "STAFF" => Some("4".to_owned()),
        "OPEN" => Some("false".to_owned()),
        _ => None,
    };
    let node = parse(&mut sources, "shop.yaml".into(), text.to_owned(), &environment, &mut out);
    let shop = node.and_then(|node| Shop::decode(&node, &mut out));
    (shop.filter(|_| !out.has_errors()), out, sources)
}
