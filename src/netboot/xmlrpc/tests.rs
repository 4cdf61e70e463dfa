use proptest::prelude::*;

use super::*;

fn result(value: &str) -> Result<Value, String> {
    let xml = format!("<methodResponse><params><param>{value}</param></params></methodResponse>");
    match answer(&xml)? {
        Answer::Result(value) => Ok(value),
        fault @ Answer::Fault { .. } => Err(format!("{fault:?}")),
    }
}

#[test]
fn calls_are_written_with_their_texts_escaped() {
    let criteria = Value::Members(BTreeMap::from([("mac_address".to_owned(), Value::from("52:54"))]));
    let arguments = [Value::from("<a> & \"b\""), true.into(), Value::Integer(7), Value::Integer(1 << 40), criteria];
    let expected = "<?xml version=\"1.0\"?><methodCall><methodName>m</methodName><params>\
        <param><value><string>&lt;a&gt; &amp; &quot;b&quot;</string></value></param>\
        <param><value><boolean>1</boolean></value></param>\
        <param><value><int>7</int></value></param>\
        <param><value><i8>1099511627776</i8></value></param>\
        <param><value><struct><member><name>mac_address</name><value><string>52:54</string></value></member>\
        </struct></value></param></params></methodCall>";
    assert_eq!(call("m", &arguments).unwrap(), expected);
}

#[test]
fn what_xml_cannot_hold_is_refused_without_being_repeated() {
    for text in ["hunter2\0", "hunter2\x1b", "hunter2\r", "hunter2\u{ffff}"] {
        assert_eq!(call("m", &[text.into()]).unwrap_err(), "a text holds a control character");
    }
}

#[test]
fn every_type_is_read() {
    let text = |text: &str| Ok(Value::Text(text.to_owned()));
    assert_eq!(result("<value> bare &lt;&#65;&#x42; </value>"), text(" bare <AB "));
    assert_eq!(result("<value/>"), text(""));
    assert_eq!(result("<value>\n<string> a<![CDATA[<b>]]></string>\n</value>"), text(" a<b>"));
    assert_eq!(result("<value><string/></value>"), text(""));
    assert_eq!(result("<value><double>0.5</double></value>"), text("0.5"));
    assert_eq!(result("<value><boolean>0</boolean></value>"), Ok(Value::Flag(false)));
    assert_eq!(result("<value><i4> -3 </i4></value>"), Ok(Value::Integer(-3)));
    assert_eq!(result("<value><nil/></value>"), Ok(Value::Nil));
    let list = Value::List(vec![Value::Integer(1), Value::List(vec![])]);
    let found = result(
        "<value><array><data> <value><int>1</int></value>\
         <!-- none --><value><array><data/></array></value></data></array></value>",
    );
    assert_eq!(found, Ok(list));
    let found = result("<value><struct><member><name>a</name><value>b</value></member></struct></value>");
    assert_eq!(found, Ok(Value::Members(BTreeMap::from([("a".to_owned(), Value::from("b"))]))));
}

#[test]
fn a_fault_is_told_with_its_number() {
    let xml = "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n<member>\n<name>faultCode</name>\n\
        <value><int>1</int></value>\n</member>\n<member>\n<name>faultString</name>\n<value><string>&lt;class \
        'cobbler.cexceptions.CX'&gt;:'login failed (x)'</string></value>\n</member>\n</struct></value>\n</fault>\n\
        </methodResponse>\n";
    let text = "<class 'cobbler.cexceptions.CX'>:'login failed (x)'".to_owned();
    assert_eq!(answer(xml), Ok(Answer::Fault { code: 1, text }));
}

#[test]
fn what_is_no_answer_is_refused_with_what_was_expected() {
    let refused = |xml: &str| answer(xml).unwrap_err();
    assert_eq!(refused(""), "expected an element, found the end of the answer");
    assert_eq!(refused("busy"), "expected an element, found text");
    assert_eq!(refused("<html><body>It works!</body></html>"), "expected the element methodResponse, found \"html\"");
    assert_eq!(refused("<!DOCTYPE x [<!ENTITY a 'b'>]><methodResponse/>"), "expected no document type");
    assert_eq!(refused("<methodResponse>"), "expected an element, found the end of the answer");
    assert_eq!(result("<value>&big;</value>").unwrap_err(), "expected no entity but those of XML itself");
    assert_eq!(result("<value><boolean>yes</boolean></value>").unwrap_err(), "expected 0 or 1 in boolean");
    assert_eq!(result("<value><int>1e3</int></value>").unwrap_err(), "expected an integer in int");
    assert_eq!(
        result("<value>a<int>1</int></value>").unwrap_err(),
        "expected one value, found the element \"int\" after text"
    );
    assert_eq!(result("<value><evil>1</evil></value>").unwrap_err(), "expected a type of XML-RPC, found \"evil\"");
    assert_eq!(
        answer("<methodResponse><params><param><value/></param></params></methodResponse><x/>").unwrap_err(),
        "expected the end, found the element \"x\""
    );
    let fault = "<methodResponse><fault><value>no</value></fault></methodResponse>";
    assert_eq!(refused(fault), "expected a struct in the fault, found a string");
}

#[test]
fn values_deep_in_each_other_are_refused_and_not_followed() {
    let nested = |levels: usize| {
        let (open, close) = ("<value><array><data>".repeat(levels), "</data></array></value>".repeat(levels));
        result(&format!("{open}{close}"))
    };
    assert!(nested(DEEPEST).is_ok());
    assert_eq!(nested(100_000).unwrap_err(), "expected at most 32 values in each other, found more");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Flag),
        any::<i64>().prop_map(Value::Integer),
        "[ -~\\n\u{e9}\u{1f600}]{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[ -~]{0,6}", inner, 0..4).prop_map(Value::Members),
        ]
    })
}

/// Pieces of answers in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<methodResponse>",
        "</methodResponse>",
        "<params>",
        "<param>",
        "</param>",
        "</params>",
        "<fault>",
        "<value>",
        "</value>",
        "<value/>",
        "<array>",
        "<data>",
        "</data>",
        "</array>",
        "<struct>",
        "<member>",
        "<name>",
        "</name>",
        "</member>",
        "</struct>",
        "<int>",
        "7",
        "</int>",
        "<nil/>",
        "&lt;",
        "&#0;",
        "&x;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<!DOCTYPE a>",
        "\u{e9}",
        "<",
        ">",
        "\"",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(value in values()) {
        let call = call("m", std::slice::from_ref(&value)).unwrap();
        let (_, rest) = call.split_once("<params>").unwrap();
        let (param, _) = rest.split_once("</params>").unwrap();
        prop_assert_eq!(answer(&format!("<methodResponse><params>{param}</params></methodResponse>")), Ok(Answer::Result(value)));
    }

    #[test]
    fn nothing_that_is_read_ends_in_a_panic(text in pieces()) {
        let _any = answer(&text);
        let _deeper = result(&text);
    }
}
