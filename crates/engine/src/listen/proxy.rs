//! The PROXY protocol, versions 1 and 2: what a balancer writes in front of its client's bytes to say
//! who that is (HAProxy's proxy-protocol.txt). Read to its last byte and no further.
//!
//! There is one way to write each header; anything else is refused, and so is a header that says of
//! whom nothing can be known in a way that this gateway does not serve (datagrams).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A version 1 header with its CR LF has at most this many bytes.
const LONGEST_V1: usize = 107;
/// What a version 2 header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_V2: usize = 16;
/// More than this behind the head of version 2 is refused: addresses and a few facts need less.
const LONGEST_V2: usize = 2048;

/// What a header says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Address(SocketAddr),
    /// The balancer itself asks, such as for health.
    Peer,
}

/// What is known after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to the header, and at least one more.
    More,
    /// The header ends after so many bytes.
    Done(usize, Source),
    Bad,
}

/// Reads a header. `Ok(None)` when what comes is none. The caller bounds the wait.
pub async fn read(stream: &mut TcpStream) -> io::Result<Option<Source>> {
    let mut header = Vec::new();
    let mut arrived = [0; HEAD_V2 + LONGEST_V2];
    loop {
        let room = arrived.len() - header.len();
        let count = stream.peek(arrived.get_mut(..room).unwrap_or_default()).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = header.len();
        header.extend_from_slice(arrived.get(..count).unwrap_or_default());
        let (taken, found) = match parse(&header) {
            Progress::Bad => return Ok(None),
            Progress::More if header.len() >= arrived.len() => return Ok(None),
            Progress::More => (count, None),
            Progress::Done(end, source) => (end.saturating_sub(before), Some(source)),
        };
        // What was looked at is here: this waits for nothing.
        stream.read_exact(arrived.get_mut(..taken).unwrap_or_default()).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
}

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Progress {
    match bytes.first() {
        None => Progress::More,
        Some(b'P') => v1(bytes),
        Some(_) => v2(bytes),
    }
}

fn v1(bytes: &[u8]) -> Progress {
    let Some(end) = bytes.iter().take(LONGEST_V1).position(|byte| *byte == b'\n') else {
        let begins = b"PROXY ".iter().zip(bytes).all(|(want, byte)| want == byte);
        return if begins && bytes.len() < LONGEST_V1 { Progress::More } else { Progress::Bad };
    };
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(words) {
        Some(source) => Progress::Done(end + 1, source),
        None => Progress::Bad,
    }
}

/// `PROXY TCP4 SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`, or `PROXY UNKNOWN` and whatever.
fn words(line: &str) -> Option<Source> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Source::Peer);
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, from, to] = words.as_slice() else { return None };
    port(to)?;
    let ip: IpAddr = match *family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Source::Address(SocketAddr::new(ip, port(from)?)))
}

/// Digits without a sign and without zeros in front.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

fn v2(bytes: &[u8]) -> Progress {
    if !SIGNATURE.iter().zip(bytes).all(|(want, byte)| want == byte) {
        return Progress::Bad;
    }
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..HEAD_V2) else {
        return Progress::More;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 || !matches!(command, 0x20 | 0x21) {
        return Progress::Bad;
    }
    let Some(rest) = bytes.get(HEAD_V2..HEAD_V2 + length) else { return Progress::More };
    match addresses(command == 0x21, family, rest) {
        Some(source) => Progress::Done(HEAD_V2 + length, source),
        None => Progress::Bad,
    }
}

fn addresses(for_somebody: bool, family: u8, rest: &[u8]) -> Option<Source> {
    let (source, facts) = match family {
        _ if !for_somebody => return Some(Source::Peer),
        0x00 => return Some(Source::Peer), // a family that the balancer does not know
        0x11 => {
            let (it, facts) = rest.split_first_chunk::<12>()?;
            let &[a, b, c, d, _, _, _, _, high, low, _, _] = it;
            (SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))), facts)
        }
        0x21 => {
            let (it, facts) = rest.split_first_chunk::<36>()?;
            let ip = <[u8; 16]>::try_from(it.get(..16)?).ok()?;
            let port = u16::from_be_bytes([*it.get(32)?, *it.get(33)?]);
            (SocketAddr::from((ip, port)), facts)
        }
        // A balancer's client over a Unix socket has no address: the balancer's stands for it.
        0x31 => {
            let (_, facts) = rest.split_first_chunk::<216>()?;
            return well_formed(facts).then_some(Source::Peer);
        }
        _ => return None,
    };
    well_formed(facts).then_some(Source::Address(source))
}

/// Type, length, value, again and again.
fn well_formed(mut facts: &[u8]) -> bool {
    while let Some((&[_, high, low], rest)) = facts.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(next) = rest.get(length..) else { return false };
        facts = next;
    }
    facts.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Source {
        Source::Address(text.parse().unwrap())
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_1() {
        for (text, source) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", address("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", address("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", Source::Peer),
            ("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", Source::Peer),
        ] {
            let bytes = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(parse(bytes.as_bytes()), Progress::Done(text.len(), source), "{text}");
            for cut in 0..text.len() {
                assert_eq!(parse(&bytes.as_bytes()[..cut]), Progress::More, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_version_1_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n",
            "PROXY  TCP4 192.0.2.1 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 \r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)),
        ] {
            assert_eq!(parse(text.as_bytes()), Progress::Bad, "{text}");
        }
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 187];
        let facts = [&v4[..], &[0x01, 0, 2, b'h', b'2', 0x04, 0, 0]].concat();
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[33] = 80;
        for (bytes, source) in [
            (second(0x21, 0x11, &v4), address("192.0.2.1:56324")),
            (second(0x21, 0x11, &facts), address("192.0.2.1:56324")),
            (second(0x21, 0x21, &v6), address("[2001::]:80")),
            (second(0x21, 0x31, &[0; 216]), Source::Peer),
            (second(0x21, 0x00, &[]), Source::Peer),
            (second(0x20, 0x00, &[1, 2, 3]), Source::Peer),
        ] {
            assert_eq!(parse(&[&bytes, &b"GET"[..]].concat()), Progress::Done(bytes.len(), source));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Progress::More, "{bytes:?} cut at {cut}");
            }
        }
        for bytes in [
            second(0x11, 0x11, &v4),
            second(0x22, 0x11, &v4),
            second(0x21, 0x12, &v4),
            second(0x21, 0x11, &v4[..11]),
            second(0x21, 0x11, &facts[..facts.len() - 1]),
            second(0x21, 0x21, &v4),
            second(0x21, 0x31, &v4),
            second(0x21, 0x11, &[0; LONGEST_V2 + 1]),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
        ] {
            assert_eq!(parse(&bytes), Progress::Bad, "{bytes:?}");
        }
    }
}
