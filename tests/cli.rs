//! Transcripts of the command line: each command with what it prints and its exit status. `TRYCMD=overwrite cargo test
//! --test cli` writes what is printed now; read the difference before it is committed.

#[test]
fn every_transcript_is_what_the_command_prints() {
    trycmd::TestCases::new().case("tests/cmd/*.md");
}

#[test]
fn every_key_of_a_schema_is_documented() {
    for (format, key) in
        [("config", "body_max_bytes"), ("policy", "dead_band"), ("fleet", "cohort_by"), ("scenario", "half_life")]
    {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_flyball"))
            .args(["schema", format])
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(0));
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut keys = Vec::new();
        collect_keys(&schema, &mut keys);
        assert!(keys.iter().any(|(name, _)| name == key), "{format} has {key}");
        let bare: Vec<&String> = keys.iter().filter(|(_, described)| !described).map(|(name, _)| name).collect();
        assert_eq!(bare, Vec::<&String>::new(), "keys of {format} without a description");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<(String, bool)>) {
    if let Some(properties) = schema.get("properties").and_then(|properties| properties.as_object()) {
        keys.extend(properties.iter().map(|(name, value)| (name.clone(), value.get("description").is_some())));
    }
    let children: Vec<&serde_json::Value> = match schema {
        serde_json::Value::Object(map) => map.values().collect(),
        serde_json::Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    children.into_iter().for_each(|child| collect_keys(child, keys));
}
