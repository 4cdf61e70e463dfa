//! bzip2.

use ::bzip2::{Decompress, Error, Status};

use super::{Codec, Fault, Lead, Step};

pub(super) struct Bzip2(Decompress);

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }
}

impl Codec for Bzip2 {
    fn name(&self) -> &'static str {
        "bzip2"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        match bytes {
            [front @ .., b'1'..=b'9'] if front == b"BZh" => Lead::Member,
            _ if b"BZh".starts_with(bytes) => Lead::Unfinished,
            _ => Lead::Foreign,
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        *self = Self::new();
        Ok(())
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(packed, image).map_err(|error| {
            Fault::Corrupt(match error {
                Error::Data => "its data or a checksum is wrong".to_owned(),
                error => error.to_string(),
            })
        })?;
        if status == Status::MemNeeded {
            return Err(Fault::Refused("cannot be unpacked: there is no memory".to_owned()));
        }
        Ok(Step {
            taken: super::count(self.0.total_in() - before_in, packed.len()),
            given: super::count(self.0.total_out() - before_out, image.len()),
            is_end: status == Status::StreamEnd,
        })
    }
}
