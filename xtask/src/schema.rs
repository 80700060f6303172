//! The JSON schema of a message's JSON form, with the comments of the `.proto` files.
//!
//! It allows what we write: members named as in the `.proto` file, and no others.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::source_code_info::Location;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
};
use serde_json::{Map, Value, json};

/// Where a comment stands, as in `SourceCodeInfo`: numbers of fields, each with an index.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const FIELDS: i32 = 2;

/// The schema of lines that hold the message called `root`.
pub(crate) fn of_lines(descriptors: &FileDescriptorSet, root: &str) -> String {
    let types = Types::of(descriptors);
    let mut definitions = Map::new();
    let mut wanted = vec![root.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(name.clone()) {
            let (definition, used) = types.definition(&name);
            definitions.insert(name, definition);
            wanted.extend(used);
        }
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of processes",
        "description": "One line of the JSON form of events. Made by `cargo xtask proto`.",
        "$ref": reference(root),
        "$defs": definitions,
    });
    format!("{schema:#}\n")
}

fn reference(name: &str) -> String {
    format!("#/$defs/{name}")
}

/// What the reference's package declares, by its name there.
struct Types<'a> {
    messages: BTreeMap<&'a str, Declared<'a, DescriptorProto>>,
    enums: BTreeMap<&'a str, Declared<'a, EnumDescriptorProto>>,
}

/// A declaration, and where its file has comments.
struct Declared<'a, T> {
    descriptor: &'a T,
    locations: &'a [Location],
    path: [i32; 2],
}

impl<T> Declared<'_, T> {
    fn comment(&self, below: &[i32]) -> Option<String> {
        let path = [&self.path, below].concat();
        let location = self.locations.iter().find(|location| location.path == path)?;
        let lines = location.leading_comments().lines().map(str::trim).collect::<Vec<_>>();
        Some(lines.join(" ").trim().to_owned()).filter(|text| !text.is_empty())
    }
}

impl<'a> Types<'a> {
    fn of(descriptors: &'a FileDescriptorSet) -> Self {
        let mut types = Self { messages: BTreeMap::new(), enums: BTreeMap::new() };
        for file in descriptors.file.iter().filter(|file| file.package() == "tetragon") {
            let locations = file.source_code_info.as_ref().map_or(&[][..], |info| &info.location);
            for (index, descriptor) in (0..).zip(&file.message_type) {
                let path = [MESSAGES, index];
                types.messages.insert(descriptor.name(), Declared { descriptor, locations, path });
            }
            for (index, descriptor) in (0..).zip(&file.enum_type) {
                let path = [ENUMS, index];
                types.enums.insert(descriptor.name(), Declared { descriptor, locations, path });
            }
        }
        types
    }

    /// The schema of a type, and the types that it refers to.
    fn definition(&self, name: &str) -> (Value, Vec<String>) {
        match (self.messages.get(name), self.enums.get(name)) {
            (Some(message), _) => of_message(message),
            (None, Some(values)) => (of_enum(values), Vec::new()),
            (None, None) => (Value::Bool(false), Vec::new()),
        }
    }
}

fn of_enum(values: &Declared<'_, EnumDescriptorProto>) -> Value {
    let names: Vec<_> = values.descriptor.value.iter().map(EnumValueDescriptorProto::name).collect();
    let newer = json!({ "type": "integer", "description": "A value that this schema has no name for." });
    let schema = json!({ "anyOf": [{ "enum": names }, newer] });
    described(schema, values.comment(&[]))
}

fn of_message(message: &Declared<'_, DescriptorProto>) -> (Value, Vec<String>) {
    let descriptor = message.descriptor;
    let mut used = Vec::new();
    let mut properties = Map::new();
    for (index, field) in (0..).zip(&descriptor.field) {
        let schema = of_field(descriptor, field, &mut used);
        properties.insert(field.name().to_owned(), described(schema, message.comment(&[FIELDS, index])));
    }
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let choice: Vec<_> = descriptor.field.iter().filter(|field| field.oneof_index.is_some()).collect();
    if !choice.is_empty() {
        let one: Vec<_> = choice.iter().map(|field| json!({ "required": [field.name()] })).collect();
        schema["oneOf"] = one.into();
    }
    (described(schema, message.comment(&[])), used)
}

fn described(mut schema: Value, comment: Option<String>) -> Value {
    if let Some(comment) = comment {
        schema["description"] = comment.into();
    }
    schema
}

fn of_field(message: &DescriptorProto, field: &FieldDescriptorProto, used: &mut Vec<String>) -> Value {
    if field.label() != Label::Repeated {
        return of_value(field, used);
    }
    let entry =
        message.nested_type.iter().find(|nested| field.type_name().ends_with(&format!(".{}", nested.name())));
    match entry.and_then(|entry| entry.field.iter().find(|part| part.name() == "value")) {
        Some(value) => json!({ "type": "object", "additionalProperties": of_value(value, used) }),
        None => json!({ "type": "array", "items": of_value(field, used) }),
    }
}

fn of_value(field: &FieldDescriptorProto, used: &mut Vec<String>) -> Value {
    match field.r#type() {
        Type::Bool => json!({ "type": "boolean" }),
        Type::String => json!({ "type": "string" }),
        Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Type::Uint32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Type::Int32 => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        Type::Uint64 => json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }),
        Type::Message | Type::Enum => of_type(field.type_name(), used),
        // No event has one, and the tests would show it.
        _ => Value::Bool(false),
    }
}

fn of_type(name: &str, used: &mut Vec<String>) -> Value {
    match name {
        ".google.protobuf.BoolValue" => json!({ "type": "boolean" }),
        ".google.protobuf.UInt32Value" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        ".google.protobuf.Int32Value" => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
        }
        ".google.protobuf.Timestamp" => json!({
            "type": "string",
            "format": "date-time",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.([0-9]{3}){1,3})?Z$",
        }),
        _ => {
            let name = name.rsplit('.').next().unwrap_or_default();
            used.push(name.to_owned());
            json!({ "$ref": reference(name) })
        }
    }
}
