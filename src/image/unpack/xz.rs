//! xz: streams with any number of blocks, and the padding between streams.

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::window::refusal;
use super::{Codec, Fault, Lead, Step};

const MARK: &[u8] = b"\xfd7zXZ\x00";

/// What the decoder takes beside its dictionary.
const OVERHEAD: u64 = 1 << 20;

pub(super) struct Xz {
    stream: Option<Stream>,
    /// The largest dictionary in bytes.
    allowed: u64,
}

impl Xz {
    pub(super) fn new(allowed: u64) -> Self {
        Self { stream: None, allowed }
    }
}

impl Codec for Xz {
    fn name(&self) -> &'static str {
        "xz"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        // Padding comes in groups of four zeros. The .xz file format 1.2.1, section 2.2.
        match bytes {
            [0, 0, 0, 0] => Lead::Padding,
            [0] | [0, 0] | [0, 0, 0] => Lead::Unfinished,
            _ => Lead::by_mark(bytes, MARK),
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        // A check that is not known here would be left out in silence.
        let stream = Stream::new_stream_decoder(self.allowed + OVERHEAD, TELL_UNSUPPORTED_CHECK);
        self.stream = Some(stream.map_err(|error| Fault::Refused(format!("cannot be unpacked: {error}")))?);
        Ok(())
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let Some(stream) = &mut self.stream else { return Err(Fault::Corrupt("its mark is missing".to_owned())) };
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream.process(packed, image, Action::Run);
        let taken = super::count(stream.total_in() - before_in, packed.len());
        let given = super::count(stream.total_out() - before_out, image.len());
        match status {
            Ok(status) => Ok(Step { taken, given, is_end: status == Status::StreamEnd }),
            Err(error) => Err(fault(&error, stream, self.allowed)),
        }
    }
}

fn fault(error: &Error, stream: &mut Stream, allowed: u64) -> Fault {
    match error {
        Error::Data => Fault::Corrupt("its data or a checksum is wrong".to_owned()),
        Error::Options => Fault::Corrupt("it uses options that are not known".to_owned()),
        Error::UnsupportedCheck => Fault::Refused("has a checksum of a kind that is not known".to_owned()),
        Error::MemLimit => Fault::Refused(refusal("dictionary", needed(stream), allowed)),
        error => Fault::Corrupt(error.to_string()),
    }
}

/// The dictionary that the stream needs: the smallest limit that its decoder takes.
fn needed(stream: &mut Stream) -> u64 {
    // Dictionaries have 2^n or 3 * 2^n bytes.
    let sizes = (20..32).flat_map(|log| [1_u64 << log, 3 << (log - 1)]);
    sizes.into_iter().find(|size| stream.set_memlimit(size + OVERHEAD).is_ok()).unwrap_or(1 << 32)
}
