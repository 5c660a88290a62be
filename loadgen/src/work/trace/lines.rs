//! A trace's lines, out of a plain, gzip or zstd file, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Longest line; a longer one is cut, and makes no sense.
pub(super) const LINE_BYTES_MAX: u64 = 16 * 1024;

const BUFFER_BYTES: usize = 256 * 1024;

/// A file's lines.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    /// The number of the line read last, from 1.
    pub(super) number: u64,
}

impl Lines {
    /// Opens a file and finds out from its first bytes how it is compressed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("is no regular file"));
        }
        let mut input = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        let start = input.fill_buf()?;
        let input: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(input)))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let frames = Frames { input, decoder: FrameDecoder::new(), is_inside: false };
            Box::new(BufReader::with_capacity(BUFFER_BYTES, frames))
        } else {
            Box::new(input)
        };
        Ok(Self { input, number: 0 })
    }

    /// Reads the next line into `line`, without its end; `false` if there is none. Of a line that is too
    /// long, `LINE_BYTES_MAX` + 1 bytes are given and the rest is skipped.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let count = self.input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', line)?;
        if count == 0 {
            return Ok(false);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|byte| *byte == b'\r');
        } else if line.len() as u64 > LINE_BYTES_MAX {
            self.input.skip_until(b'\n')?;
        }
        Ok(true)
    }
}

/// The content of a file of one zstd frame or more, one after the other.
struct Frames<R: BufRead> {
    input: R,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame, or skips one that says it is to be skipped.
    fn enter(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.input) {
            Ok(()) => self.is_inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let mut skipped = self.input.by_ref().take(u64::from(length));
                io::copy(&mut skipped, &mut io::sink())?;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }

    /// Ends a frame of which everything was read.
    fn leave(&mut self) -> io::Result<()> {
        self.is_inside = false;
        let told = self.decoder.get_checksum_from_data();
        if told.is_some() && told != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("the checksum of its zstd frame is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_inside {
                if self.input.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.enter()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let count = self.decoder.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            self.leave()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::{LINE_BYTES_MAX, Lines};

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn lines(content: &[u8]) -> std::io::Result<Vec<String>> {
        let file = file(content);
        let mut lines = Lines::open(file.path())?;
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while lines.next(&mut line)? {
            all.push(String::from_utf8_lossy(&line).into_owned());
            assert_eq!(lines.number, all.len() as u64);
        }
        Ok(all)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    #[test]
    fn lines_are_read_from_plain_and_compressed_files() {
        let many: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
        let expected: Vec<&str> = many.lines().collect();
        let (head, tail) = many.as_bytes().split_at(200_003);
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        for content in [
            many.clone().into_bytes(),
            many.replace('\n', "\r\n").into_bytes(),
            many.trim_end().as_bytes().to_vec(),
            gzip(many.as_bytes()),
            [gzip(head), gzip(tail)].concat(),
            zstd(many.as_bytes()),
            [zstd(head), skippable, zstd(tail)].concat(),
        ] {
            assert_eq!(lines(&content).unwrap(), expected);
        }
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert_eq!(lines(b"\n\na").unwrap(), ["", "", "a"]);
    }

    #[test]
    fn a_line_without_an_end_in_sight_is_cut() {
        let content = [&vec![b'x'; 100_000][..], b"\nafter\n"].concat();
        let lines = lines(&content).unwrap();
        assert_eq!(lines[0].len() as u64, LINE_BYTES_MAX + 1);
        assert_eq!(lines[1..], ["after"]);
    }

    #[test]
    fn broken_and_missing_files_are_errors() {
        let many = "line\n".repeat(100_000);
        for whole in [gzip(many.as_bytes()), zstd(many.as_bytes())] {
            assert!(lines(&whole[..whole.len() / 2]).is_err());
            let mut damaged = whole.clone();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0xff;
            assert!(lines(&damaged).is_err());
        }
        assert!(Lines::open(&PathBuf::from("/nonexistent/trace")).is_err());
        let error = Lines::open(&std::env::temp_dir()).err().unwrap();
        assert_eq!(error.to_string(), "is no regular file");
    }
}
