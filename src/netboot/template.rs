//! Texts of an operator in which `{{words}}` stand for the node and the state.

use super::{Node, State};

/// Fills a text in.
///
/// # Errors
/// An unknown word, one that stands for something unknown, or braces without an end.
pub(super) fn fill(text: &str, node: &Node, state: State) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (word, after) = after.split_once("}}").ok_or("expected }} after {{, found none")?;
        filled.push_str(before);
        filled.push_str(&value(word.trim(), node, state)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Each is of letters, digits, and characters that addresses and JSON take as they are.
fn value(word: &str, node: &Node, state: State) -> Result<String, String> {
    let known = |value: Option<String>| value.ok_or_else(|| format!("{{{{{word}}}}} is not known of this node"));
    match word {
        "state" => Ok(state.to_string()),
        "enabled" => Ok(state.is_on().to_string()),
        "mac" => known(node.mac.clone()),
        "mac-hyphens" => known(node.mac.as_ref().map(|mac| mac.replace(':', "-"))),
        "system" => known(node.system.clone()),
        "node" => known(node.id.map(|id| id.to_string())),
        _ => {
            Err("expected {{state}}, {{enabled}}, {{mac}}, {{mac-hyphens}}, {{system}} or {{node}}, found another word"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_the_node_and_the_state() {
        let node = Node { system: Some("node-7".into()), mac: Some("52:54:00:00:00:0a".into()), id: Some(7) };
        let text = "{\"a\":{\"on\": {{enabled}}}} {{ mac }} {{mac-hyphens}} {{system}}/{{node}} {{state}}}}";
        let expected = "{\"a\":{\"on\": false}} 52:54:00:00:00:0a 52-54-00-00-00-0a node-7/7 off}}";
        assert_eq!(fill(text, &node, State::Off).unwrap(), expected);
        assert_eq!(fill("{{enabled}}", &node, State::On).unwrap(), "true");
    }

    #[test]
    fn a_word_that_stands_for_nothing_is_refused() {
        let refused = |text: &str| fill(text, &Node::default(), State::Off).unwrap_err();
        assert_eq!(refused("{{node}}"), "{{node}} is not known of this node");
        assert_eq!(refused("{{mac"), "expected }} after {{, found none");
        assert!(refused("{{hunter2}}").ends_with("{{node}}, found another word"), "a body may hold secrets");
    }
}
