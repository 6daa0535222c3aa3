//! Command lines in Kubernetes manifests and in the compose file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lines::{self, Line};

/// What the image starts: see the Containerfile.
const ENTRYPOINT: &str = "/holdfast";

fn documents(name: &str, text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.map(|word| {
        word.as_str()
            .unwrap_or_else(|| panic!("no text: {word}"))
            .to_owned()
    })
    .collect()
}

fn is_ours(image: &Value) -> bool {
    let image = image.as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split(':').next() == Some("holdfast")
}

/// Visits every mapping, from the outside in.
fn each_mapping(value: &Value, see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            see(map);
            map.values().for_each(|below| each_mapping(below, see));
        }
        Value::Array(list) => list.iter().for_each(|below| each_mapping(below, see)),
        _ => {}
    }
}

fn settings_of(documents: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let maps = documents
        .iter()
        .filter(|document| document["kind"] == "ConfigMap");
    let maps = maps.map(|document| {
        let data = document["data"].as_object().into_iter().flatten();
        let data =
            data.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        (
            document["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            data.collect(),
        )
    });
    maps.collect()
}

/// A container's variables: those of the settings that it takes, then its own; what the cluster fills in shows as its name.
fn variables(
    container: &Value,
    settings: &BTreeMap<String, BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        let name = from["configMapRef"]["name"].as_str().unwrap_or_default();
        let known = settings
            .get(name)
            .unwrap_or_else(|| panic!("no manifest makes the ConfigMap {name:?}"));
        given.extend(known.clone());
    }
    for one in container["env"].as_array().into_iter().flatten() {
        let name = one["name"].as_str().unwrap_or_default().to_owned();
        let value = one["value"]
            .as_str()
            .map_or_else(|| name.clone(), str::to_owned);
        given.insert(name, value);
    }
    given
}

/// Puts variables in place of `$(NAME)`, as the kubelet does. It leaves a name that it does not know; here that fails.
fn expand(word: &str, variables: &BTreeMap<String, String>) -> String {
    let word = variables
        .iter()
        .fold(word.to_owned(), |word, (name, value)| {
            word.replace(&format!("$({name})"), value)
        });
    assert!(
        !word.contains("$("),
        "{word}: a variable that the container does not have"
    );
    word
}

/// Calls in manifests: what containers run, and what probes do.
pub(super) fn of_kubernetes(name: &str, all: &[String]) -> Vec<Line> {
    let everything: Vec<Value> = all.iter().flat_map(|text| documents(name, text)).collect();
    let settings = settings_of(&everything);
    let mut found = Vec::new();
    for document in documents(name, &super::text(name)) {
        each_mapping(&document, &mut |map| {
            if !map.contains_key("image") || !map.contains_key("name") {
                return;
            }
            let container = Value::Object(map.clone());
            let given = variables(&container, &settings);
            let command = words(&container["command"]);
            let args = words(&container["args"]);
            let is_shell = command.first().is_some_and(|word| word.ends_with("/sh"));
            let mut calls = Vec::new();
            match (is_shell, is_ours(&container["image"])) {
                (true, _) => calls.extend(
                    args.iter()
                        .flat_map(|script| lines::of_script(name, script))
                        .map(|line| line.words),
                ),
                (false, true) if command.is_empty() => {
                    calls.push([vec![ENTRYPOINT.to_owned()], args].concat())
                }
                (false, true) => calls.push([command, args].concat()),
                (false, false) => {}
            }
            each_mapping(&container, &mut |below| {
                let probe = below.get("exec").map(|exec| words(&exec["command"]));
                calls.extend(probe.filter(|call| lines::is_program(&call[0])));
            });
            found.extend(calls.into_iter().map(|call| Line {
                words: call.iter().map(|word| expand(word, &given)).collect(),
                variables: given.clone(),
            }));
        });
    }
    found
}

/// Calls in a compose file: what services of our image run, and their health checks.
pub(super) fn of_compose(name: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let documents = documents(name, &super::text(name));
    let services = documents[0]["services"]
        .as_object()
        .expect("it has services");
    for service in services
        .values()
        .filter(|service| is_ours(&service["image"]))
    {
        let variables: BTreeMap<String, String> = service["environment"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
            .collect();
        let command = [vec![ENTRYPOINT.to_owned()], words(&service["command"])].concat();
        let check = words(&service["healthcheck"]["test"]);
        let check = check.split_first().map(|(kind, words)| {
            assert_eq!(kind, "CMD", "there is no shell in the image");
            words.to_vec()
        });
        found.extend(
            [Some(command), check]
                .into_iter()
                .flatten()
                .map(|words| Line {
                    words,
                    variables: variables.clone(),
                }),
        );
    }
    found
}
