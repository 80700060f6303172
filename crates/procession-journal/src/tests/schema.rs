//! A journal says itself what its messages are: nothing but the file is needed to read them.

use prost_reflect::{DescriptorPool, DynamicMessage, Value};

use super::damaged::{events, journal};

/// Field 3 of the message in the first block, which is found without any schema.
fn schema_in(head: &[u8]) -> DescriptorPool {
    let fields = crate::codec::wire::Fields::of(head).map(Result::unwrap);
    let schema = fields.filter_map(|(field, value)| match (field, value) {
        (3, crate::codec::wire::Value::Delimited(schema)) => Some(schema),
        _ => None,
    });
    DescriptorPool::decode(schema.last().unwrap()).unwrap()
}

#[test]
fn the_schema_in_a_file_explains_its_blocks() {
    let blocks = journal();
    let pool = schema_in(blocks[0].payload());
    let message = |name: &str, payload: &[u8]| {
        let kind = pool.get_message_by_name(&format!("procession.journal.v1.{name}")).unwrap();
        DynamicMessage::decode(kind, payload).unwrap()
    };
    let names = ["Head", "Events", "Checkpoint", "Names", "Events", "Events", "Close"];
    let mut times = Vec::new();
    for (name, block) in names.into_iter().zip(&blocks) {
        let read = message(name, block.payload());
        assert_eq!(read.unknown_fields().count(), 0, "{name}");
        let recording = read.get_field_by_name("recording").unwrap();
        let node = recording.as_message().unwrap().get_field_by_name("node_name").unwrap();
        assert_eq!(*node, Value::String("node-1".to_owned()));
        if let Some(events) = read.get_field_by_name("events") {
            let time =
                |event: &Value| event.as_message().unwrap().get_field_by_name("time").unwrap().as_u64();
            times.extend(events.as_list().unwrap().iter().map(time));
        }
    }
    let expected: Vec<_> = events().iter().map(|event| Some(event.time.as_nanos())).collect();
    assert_eq!(times, expected);
}
