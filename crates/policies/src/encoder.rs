//! Encoders of content codings that take a body piece by piece.

use std::io::{self, Write};

use bytes::Bytes;

use crate::coding::Coding;

/// How hard they try: a body is written once and read once. Of 8 MB of JSON, level 1 of zstd leaves 17 %
/// at 245 MB/s in 0.1 MiB, level 3 leaves 18 % at 168 MB/s in 0.8 MiB; gzip 18 % at 29 MB/s, Brotli 19 % at
/// 26 MB/s (one core of a busy machine).
const GZIP_LEVEL: u32 = 5;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 1;
/// How far they look back, in powers of two: many answers stream at once, and each has a window.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;

pub enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => {
                let (level, window) = (BROTLI_LEVEL, BROTLI_WINDOW);
                Self::Brotli(Box::new(brotli::CompressorWriter::new(
                    Vec::new(),
                    4096,
                    level,
                    window,
                )))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Takes a piece, and gives what came out; more may follow by and by.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.writer().write_all(piece)?;
        Ok(self.take())
    }

    /// Everything that it kept back, so that whoever reads can read all that was written.
    pub fn flush(&mut self) -> io::Result<Bytes> {
        self.writer().flush()?;
        Ok(self.take())
    }

    pub fn finish(self) -> io::Result<Bytes> {
        let rest = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        };
        Ok(rest.into())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn take(&mut self) -> Bytes {
        let written = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(written).into()
    }
}
