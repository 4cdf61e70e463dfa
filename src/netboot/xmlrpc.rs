//! XML-RPC: calls are written, answers are read. <http://xmlrpc.com/spec.md>
//!
//! The crates for it keep no bound on how deep values stand in each other, so that a short answer could use up the stack.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

/// Values within values; Cobbler's systems have four levels.
const DEEPEST: usize = 32;

/// A value of a call or an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil`, an extension that some servers use.
    Nil,
    /// `boolean`
    Flag(bool),
    /// `int`, `i4`, and `i8` of some servers.
    Integer(i64),
    /// `string`; also times, numbers with fractions and base64, which are kept as they are written.
    Text(String),
    /// `array`
    List(Vec<Value>),
    /// `struct`
    Members(BTreeMap<String, Value>),
}

impl Value {
    /// The string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Flag(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Members(_) => "a struct",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The call's result.
    Result(Value),
    /// The call failed on the server.
    Fault {
        /// The server's number for it.
        code: i64,
        /// The server's words for it.
        text: String,
    },
}

/// Writes a call.
///
/// # Errors
/// When a text holds a character that XML has no form for. The text is not told: it may be a password.
pub fn call(method: &str, arguments: &[Value]) -> Result<String, String> {
    let mut xml = format!("<?xml version=\"1.0\"?><methodCall><methodName>{}</methodName><params>", text(method)?);
    for argument in arguments {
        xml.push_str("<param>");
        write(&mut xml, argument)?;
        xml.push_str("</param>");
    }
    xml.push_str("</params></methodCall>");
    Ok(xml)
}

fn write(xml: &mut String, value: &Value) -> Result<(), String> {
    xml.push_str("<value>");
    match value {
        Value::Nil => xml.push_str("<nil/>"),
        Value::Flag(flag) => xml.push_str(&format!("<boolean>{}</boolean>", i32::from(*flag))),
        Value::Integer(number) => {
            // What does not fit 32 bits has a form of its own that not every server knows.
            let tag = if i32::try_from(*number).is_ok() { "int" } else { "i8" };
            xml.push_str(&format!("<{tag}>{number}</{tag}>"));
        }
        Value::Text(it) => xml.push_str(&format!("<string>{}</string>", text(it)?)),
        Value::List(items) => {
            xml.push_str("<array><data>");
            items.iter().try_for_each(|item| write(xml, item))?;
            xml.push_str("</data></array>");
        }
        Value::Members(members) => {
            xml.push_str("<struct>");
            for (name, member) in members {
                xml.push_str(&format!("<member><name>{}</name>", text(name)?));
                write(xml, member)?;
                xml.push_str("</member>");
            }
            xml.push_str("</struct>");
        }
    }
    xml.push_str("</value>");
    Ok(())
}

/// A text as XML writes it. XML 1.0, section 2.2: most control characters have no form; a carriage return would arrive
/// as a line feed.
fn text(text: &str) -> Result<Cow<'_, str>, String> {
    let is_allowed = |c: char| (!c.is_control() || matches!(c, '\t' | '\n')) && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_allowed) { Ok(escape(text)) } else { Err("a text holds a control character".to_owned()) }
}

/// Reads an answer.
///
/// Elements of other names than the format's, document types and entities are refused, as are values deeper in each other
/// than 32 levels.
///
/// # Errors
/// What was expected and what was found.
pub fn answer(xml: &str) -> Result<Answer, String> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut reading = Reading { reader, depth: 0 };
    reading.opens("methodResponse")?;
    let answer = match reading.open()?.as_str() {
        "params" => {
            reading.opens("param")?;
            reading.opens("value")?;
            let value = reading.value()?;
            reading.closes()?;
            Answer::Result(value)
        }
        "fault" => {
            reading.opens("value")?;
            fault(reading.value()?)?
        }
        other => return Err(format!("expected params or fault, found the element {}", brief(other))),
    };
    reading.closes()?;
    reading.closes()?;
    match reading.solid()? {
        Piece::End => Ok(answer),
        piece => Err(format!("expected the end, found {}", piece.words())),
    }
}

fn fault(value: Value) -> Result<Answer, String> {
    let Value::Members(mut members) = value else {
        return Err(format!("expected a struct in the fault, found {}", value.kind()));
    };
    match (members.remove("faultCode"), members.remove("faultString")) {
        (Some(Value::Integer(code)), Some(Value::Text(text))) => Ok(Answer::Fault { code, text }),
        _ => Err("expected an integer faultCode and a string faultString in the fault".to_owned()),
    }
}

/// What stands next.
enum Piece {
    Open(String),
    Text(String),
    Close,
    End,
}

impl Piece {
    fn words(&self) -> String {
        match self {
            Self::Open(name) => format!("the element {}", brief(name)),
            Self::Text(_) => "text".to_owned(),
            Self::Close => "the end of an element".to_owned(),
            Self::End => "the end of the answer".to_owned(),
        }
    }
}

/// A name of the server's choice in a message.
fn brief(name: &str) -> String {
    format!("{:?}", name.chars().take(40).collect::<String>())
}

struct Reading<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

impl Reading<'_> {
    /// The next piece; a text comes in several where references stand in it.
    fn next(&mut self) -> Result<Piece, String> {
        loop {
            let event = self.reader.read_event().map_err(|error| format!("expected XML: {error}"))?;
            return Ok(match event {
                Event::Start(element) => Piece::Open(AsRef::<str>::as_ref(&element.name()).to_owned()),
                Event::End(_) => Piece::Close,
                Event::Text(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) => {
                    let unknown = || "expected no entity but those of XML itself".to_owned();
                    match reference.resolve_char_ref().map_err(|_| unknown())? {
                        Some(letter) => Piece::Text(letter.to_string()),
                        None => Piece::Text(resolve_predefined_entity(&reference).ok_or_else(unknown)?.to_owned()),
                    }
                }
                Event::DocType(_) => return Err("expected no document type".to_owned()),
                Event::Eof => Piece::End,
                // Empty elements come as two events.
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
            });
        }
    }

    /// The next piece that is not white space.
    fn solid(&mut self) -> Result<Piece, String> {
        loop {
            match self.next()? {
                Piece::Text(text) if text.trim().is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    /// The name of the element that begins here.
    fn open(&mut self) -> Result<String, String> {
        match self.solid()? {
            Piece::Open(name) => Ok(name),
            piece => Err(format!("expected an element, found {}", piece.words())),
        }
    }

    fn opens(&mut self, expected: &str) -> Result<(), String> {
        let name = self.open()?;
        if name == expected {
            return Ok(());
        }
        Err(format!("expected the element {expected}, found {}", brief(&name)))
    }

    fn closes(&mut self) -> Result<(), String> {
        match self.solid()? {
            Piece::Close => Ok(()),
            piece => Err(format!("expected the end of an element, found {}", piece.words())),
        }
    }

    /// The text up to the end of the element.
    fn content(&mut self) -> Result<String, String> {
        let mut content = String::new();
        loop {
            match self.next()? {
                Piece::Text(text) => content.push_str(&text),
                Piece::Close => return Ok(content),
                piece => return Err(format!("expected text, found {}", piece.words())),
            }
        }
    }

    /// What stands in an element `value` that has begun, up to its end.
    fn value(&mut self) -> Result<Value, String> {
        if self.depth == DEEPEST {
            return Err(format!("expected at most {DEEPEST} values in each other, found more"));
        }
        self.depth += 1;
        let mut bare = String::new();
        let value = loop {
            match self.next()? {
                Piece::Text(text) => bare.push_str(&text),
                // Without a type it is a string.
                Piece::Close => break Value::Text(bare),
                Piece::Open(kind) if bare.trim().is_empty() => {
                    let value = self.typed(&kind)?;
                    self.closes()?;
                    break value;
                }
                piece => return Err(format!("expected one value, found {} after text", piece.words())),
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    /// What stands in an element that names a type, up to its end.
    fn typed(&mut self, kind: &str) -> Result<Value, String> {
        match kind {
            "string" | "double" | "dateTime.iso8601" | "base64" => self.content().map(Value::Text),
            "int" | "i4" | "i8" => {
                let number = self.content()?;
                number.trim().parse().map(Value::Integer).map_err(|_| format!("expected an integer in {kind}"))
            }
            "boolean" => match self.content()?.trim() {
                "1" => Ok(Value::Flag(true)),
                "0" => Ok(Value::Flag(false)),
                _ => Err("expected 0 or 1 in boolean".to_owned()),
            },
            "nil" => self.closes().map(|()| Value::Nil),
            "array" => self.list(),
            "struct" => self.members(),
            other => Err(format!("expected a type of XML-RPC, found {}", brief(other))),
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        self.opens("data")?;
        let mut items = Vec::new();
        loop {
            match self.solid()? {
                Piece::Open(name) if name == "value" => items.push(self.value()?),
                Piece::Close => break,
                piece => return Err(format!("expected values in the array, found {}", piece.words())),
            }
        }
        self.closes()?;
        Ok(Value::List(items))
    }

    fn members(&mut self) -> Result<Value, String> {
        let mut members = BTreeMap::new();
        loop {
            match self.solid()? {
                Piece::Open(name) if name == "member" => {
                    self.opens("name")?;
                    let name = self.content()?;
                    self.opens("value")?;
                    let value = self.value()?;
                    self.closes()?;
                    members.insert(name, value);
                }
                Piece::Close => return Ok(Value::Members(members)),
                piece => return Err(format!("expected members in the struct, found {}", piece.words())),
            }
        }
    }
}
