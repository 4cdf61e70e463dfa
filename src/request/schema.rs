//! The grammar as a JSON Schema (draft 2020-12).

use serde_json::{Map, Value, json};

use super::grammar::{DOCUMENT, Key, Presence, Rule, Section, Variants};

/// The JSON Schema of a request.
///
/// It says what the grammar says: keys, types, which must be there. What contradicts itself or has no meaning is for
/// [`super::check`] to find. Additional keys are allowed everywhere, since other versions of Fuel send some.
#[must_use]
pub fn schema() -> Value {
    let mut sections = Map::new();
    let Value::Object(mut root) = section(&DOCUMENT, None, &mut sections) else { return Value::Null };
    root.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("$id".to_owned(), "urn:bedplate:schema:provision:1".into());
    root.insert("title".to_owned(), "Bedplate request (provision.json)".into());
    root.insert(
        "description".to_owned(),
        "What `bedplate provision FILE` and `validate FILE` read: Nailgun's document.".into(),
    );
    root.insert("$defs".to_owned(), Value::Object(sections));
    Value::Object(root)
}

/// An object with the keys of the section and, where it is a variant, its tag.
fn section(section: &Section, tag: Option<&str>, sections: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    if let Some(tag) = tag {
        properties.insert("type".to_owned(), json!({ "const": tag }));
        required.push("type");
    }
    for key in section.keys() {
        properties.insert(key.name.to_owned(), member(key, sections));
        if key.presence == Presence::Required {
            required.push(key.name);
        }
    }
    json!({
        "description": section.text,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": true,
    })
}

fn member(key: &Key, sections: &mut Map<String, Value>) -> Value {
    let mut schema = rule(&key.rule, sections);
    if key.is_nullable && !matches!(key.rule, Rule::Any) {
        schema = or_null(schema);
    }
    if let Value::Object(schema) = &mut schema {
        let text = match key.presence {
            Presence::Unused => format!("Not used: {}.", key.text),
            _ => format!("{}.", key.text),
        };
        schema.insert("description".to_owned(), text.into());
        if key.is_secret {
            schema.insert("writeOnly".to_owned(), true.into());
        }
    }
    schema
}

fn rule(it: &Rule, sections: &mut Map<String, Value>) -> Value {
    match it {
        Rule::Text => json!({ "type": "string" }),
        Rule::Integer => json!({ "type": "integer" }),
        Rule::Flag => json!({ "enum": [true, false, 0, 1] }),
        Rule::Identifier => json!({ "type": ["string", "number"] }),
        Rule::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Rule::Any => json!({}),
        Rule::Choice(choice) => json!({ "enum": choice.words }),
        Rule::List(item) => json!({ "type": "array", "items": rule(item, sections) }),
        Rule::Map { item, required } => {
            let mut schema = json!({ "type": "object", "additionalProperties": rule(item, sections) });
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            schema
        }
        Rule::Object(section) => reference(section, None, sections),
        Rule::Closed(section) => {
            let reference = reference(section, None, sections);
            sections[section.name]["additionalProperties"] = false.into();
            reference
        }
        Rule::Variants(Variants { of, .. }) => {
            let variants: Vec<_> = of.iter().map(|(tag, section)| reference(section, Some(tag), sections)).collect();
            json!({ "oneOf": variants })
        }
    }
}

fn reference(it: &'static Section, tag: Option<&str>, sections: &mut Map<String, Value>) -> Value {
    if !sections.contains_key(it.name) {
        let definition = section(it, tag, sections);
        sections.insert(it.name.to_owned(), definition);
    }
    json!({ "$ref": format!("#/$defs/{}", it.name) })
}

/// What the schema allows, or null.
fn or_null(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(name) => *name = json!([name.take(), "null"]),
        None => match schema.get_mut("enum").and_then(Value::as_array_mut) {
            Some(words) => words.push(Value::Null),
            None => schema = json!({ "anyOf": [schema, { "type": "null" }] }),
        },
    }
    schema
}
