//! A packed stream of which some bytes were taken and are put back.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use crate::image::fetch::read_buffered;

/// Gives out what was put back, then what follows.
pub(in crate::image) struct Rewound<R> {
    front: VecDeque<Vec<u8>>,
    at: usize,
    rest: R,
}

impl<R: BufRead> Rewound<R> {
    pub(in crate::image) fn new(front: impl IntoIterator<Item = Vec<u8>>, rest: R) -> Self {
        Self { front: front.into_iter().filter(|part| !part.is_empty()).collect(), at: 0, rest }
    }

    /// The reader below.
    pub(in crate::image) fn into_inner(self) -> R {
        self.rest
    }
}

impl<R: BufRead> BufRead for Rewound<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.front.front() {
            Some(part) => Ok(part.get(self.at..).unwrap_or_default()),
            None => self.rest.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self.front.front() {
            None => self.rest.consume(amount),
            Some(part) => {
                self.at += amount;
                if self.at >= part.len() {
                    self.front.pop_front();
                    self.at = 0;
                }
            }
        }
    }
}

impl<R: BufRead> Read for Rewound<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}
