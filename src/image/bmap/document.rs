//! The XML of a block map, as far as its elements and what stands in them.
//!
//! Document types and entities, which could make much of little, are refused. Elements that are not known are skipped: later
//! versions may have more.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::units::widen;

/// The elements beside the ranges.
const FIELDS: [&str; 7] =
    ["ImageSize", "BlockSize", "BlocksCount", "MappedBlocksCount", "ChecksumType", "BmapFileChecksum", "BmapFileSHA1"];

/// Elements within elements; the format has three.
const DEEPEST: usize = 8;

/// What stands in an element, without white space around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) text: &'a str,
    /// The byte where it begins.
    pub(super) at: usize,
}

/// A range as it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range<'a> {
    pub(super) blocks: Field<'a>,
    pub(super) chksum: Option<&'a str>,
    pub(super) sha1: Option<&'a str>,
}

/// A block map as it is written.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) version: Field<'a>,
    pub(super) fields: Vec<(&'static str, Field<'a>)>,
    pub(super) ranges: Vec<Range<'a>>,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field(&'static str),
    Map,
    Range,
    Unknown,
}

impl<'a> Document<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let mut reading = Reading {
            text,
            reader: Reader::from_str(text),
            places: Vec::new(),
            content: None,
            is_over: false,
            document: Self { text, version: Field::default(), fields: Vec::new(), ranges: Vec::new() },
        };
        while reading.next()? {}
        Ok(reading.document)
    }
}

struct Reading<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// The elements that are open.
    places: Vec<Place>,
    /// What was found in the innermost so far.
    content: Option<Field<'a>>,
    /// Whether the outermost element has ended.
    is_over: bool,
    document: Document<'a>,
}

impl<'a> Reading<'a> {
    /// Whether there is more.
    fn next(&mut self) -> Result<bool, String> {
        let from = self.reader.buffer_position();
        let event = self.reader.read_event();
        let event = event.map_err(|error| fault(self.text, self.reader.error_position(), "XML", &error.to_string()))?;
        let until = self.reader.buffer_position();
        let refused = |what: &str| Err(fault(self.text, from, "XML", what));
        match event {
            Event::Start(element) => self.open(&element, from)?,
            Event::Empty(element) => {
                self.open(&element, from)?;
                self.close(from)?;
            }
            Event::End(_) => self.close(from)?,
            Event::Text(_) => self.note(from, until)?,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::CData(_) => return refused("expected no CDATA"),
            Event::DocType(_) => return refused("expected no document type"),
            Event::GeneralRef(_) => return refused("expected no reference to an entity"),
            Event::Eof if !self.places.is_empty() => return refused("it ends within an element"),
            Event::Eof if !self.is_over => return refused("expected the element bmap"),
            Event::Eof => return Ok(false),
        }
        Ok(true)
    }

    fn open(&mut self, element: &BytesStart<'_>, at: u64) -> Result<(), String> {
        let name = element.name();
        let name: &str = name.as_ref();
        let place = match self.places.last() {
            None if self.is_over || name != "bmap" => {
                return Err(fault(self.text, at, "XML", &format!("expected one element bmap, found {name:?}")));
            }
            None => Place::Root,
            Some(Place::Root) if name == "BlockMap" => Place::Map,
            Some(Place::Root) => match FIELDS.into_iter().find(|field| *field == name) {
                Some(field) => Place::Field(field),
                None => Place::Unknown,
            },
            Some(Place::Map) if name == "Range" => Place::Range,
            Some(Place::Map | Place::Unknown) => Place::Unknown,
            Some(Place::Field(_) | Place::Range) => {
                return Err(fault(self.text, at, name, "expected no element here"));
            }
        };
        if self.places.len() == DEEPEST {
            return Err(fault(self.text, at, name, "too many elements stand in each other"));
        }
        self.places.push(place);
        self.content = None;
        self.attributes(element, place, at)
    }

    fn attributes(&mut self, element: &BytesStart<'_>, place: Place, at: u64) -> Result<(), String> {
        let element_name = element.name();
        let name: &str = element_name.as_ref();
        if place == Place::Range {
            self.document.ranges.push(Range::default());
        }
        let mut has_version = false;
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|error| fault(self.text, at, name, &error.to_string()))?;
            let value = self.find(&attribute.value, at);
            let key: &str = attribute.key.as_ref();
            match (place, key, self.document.ranges.last_mut()) {
                (Place::Root, "version", _) => {
                    self.document.version = value;
                    has_version = true;
                }
                (Place::Range, "chksum", Some(range)) => range.chksum = Some(value.text),
                (Place::Range, "sha1", Some(range)) => range.sha1 = Some(value.text),
                _ => {}
            }
        }
        if place == Place::Root && !has_version {
            return Err(fault(self.text, at, name, "its version is missing"));
        }
        Ok(())
    }

    /// Where this value stands in the element that begins here; the reader gives it out as a borrowed part of the text, but
    /// for a shorter time.
    fn find(&self, value: &str, at: u64) -> Field<'a> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.text.len());
        let element = self.text.get(from..).unwrap_or_default();
        let found = element.find(value).unwrap_or_default();
        let text = element.get(found..).and_then(|rest| rest.get(..value.len())).unwrap_or_default();
        Field { text: text.trim(), at: from + found }
    }

    fn note(&mut self, from: u64, until: u64) -> Result<(), String> {
        let range = usize::try_from(from).ok().zip(usize::try_from(until).ok());
        let whole = range.and_then(|(from, until)| self.text.get(from..until)).unwrap_or_default();
        let text = whole.trim();
        let before = widen(whole.len() - whole.trim_start().len());
        let at = usize::try_from(from.saturating_add(before)).unwrap_or(usize::MAX);
        if text.is_empty() {
            return Ok(());
        }
        let expected = |what: &str| Err(fault(self.text, widen(at), "XML", what));
        match self.places.last() {
            Some(Place::Field(_) | Place::Range) if self.content.is_none() => self.content = Some(Field { text, at }),
            Some(Place::Field(_) | Place::Range) => return expected("expected no comment within a value"),
            Some(Place::Unknown) => {}
            Some(Place::Root | Place::Map) | None => return expected("expected an element"),
        }
        Ok(())
    }

    fn close(&mut self, at: u64) -> Result<(), String> {
        let place = self.places.pop();
        self.is_over = self.places.is_empty();
        let content = self.content.take();
        let content = || content.ok_or_else(|| fault(self.text, at, "XML", "expected a value before this"));
        match (place, self.document.ranges.last_mut()) {
            (Some(Place::Field(name)), _) => {
                let field = content()?;
                if self.document.fields.iter().any(|(known, _)| *known == name) {
                    return Err(fault(self.text, widen(field.at), name, "it is told twice"));
                }
                self.document.fields.push((name, field));
            }
            (Some(Place::Range), Some(range)) => range.blocks = content()?,
            _ => {}
        }
        Ok(())
    }
}

/// A fault with its place.
pub(super) fn fault(text: &str, at: u64, element: &str, what: &str) -> String {
    let before = usize::try_from(at).ok().and_then(|at| text.as_bytes().get(..at)).unwrap_or(text.as_bytes());
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("at line {line}, byte {at}: {element}: {what}")
}
