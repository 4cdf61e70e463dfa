//! Any bytes as an answer of XML-RPC: what is read can be written, and reads the same again.
#![no_main]

use bedplate::netboot::xmlrpc::{self, Answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(Answer::Result(value)) = xmlrpc::answer(text) else { return };
    // Control characters, which references can make, have no form.
    let Ok(call) = xmlrpc::call("m", std::slice::from_ref(&value)) else { return };
    let param = call.split_once("<params>").and_then(|(_, rest)| rest.split_once("</params>")).unwrap().0;
    let again = format!("<methodResponse><params>{param}</params></methodResponse>");
    assert_eq!(xmlrpc::answer(&again), Ok(Answer::Result(value)));
});
