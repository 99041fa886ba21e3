//! What `deploy` has for those who roll the gateway out fits the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use xinyao_gateway::config;

/// Where the files have secrets, and whether these are there as soon as somebody follows docs/deploy.md.
const PLACES: &[(&str, &str)] = &[
    ("deploy/compose/gateway/config.yaml", "/run/secrets/"),
    ("deploy/systemd/config.yaml", "/etc/xinyao-gateway/secrets}/"),
    ("deploy/kubernetes/configmap.yaml", "/run/secrets/xinyao-gateway/"),
    ("deploy/compose/cluster/gateway/config.yaml", "/run/secrets/"),
    ("deploy/kubernetes-cluster/configmap.yaml", "/run/secrets/xinyao-gateway/"),
];

/// The gateway's configuration in a file, which may be a ConfigMap.
fn configuration(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    match serde_yaml::from_str::<Value>(&text).unwrap()["data"]["config.yaml"].as_str() {
        Some(inner) => inner.to_owned(),
        None => text,
    }
}

/// The names of the secrets that a text has in that place.
fn secrets(text: &str, place: &str) -> BTreeSet<String> {
    let rest = text.split(place).skip(1);
    let names =
        rest.map(|rest| rest.split(|c: char| c != '-' && !c.is_alphanumeric()).next().unwrap().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn configurations_are_valid_as_they_are() {
    for (path, place) in PLACES {
        let text = configuration(path);
        let folder = tempfile::tempdir().unwrap();
        for secret in secrets(&text, place) {
            let text = match secret.as_str() {
                "postgres-url" => "postgresql://gateway:secret@postgres/gateway\n",
                "redis-url" => "redis://redis:6379\n",
                _ => "0123456789abcdef0123456789abcdef\n",
            };
            std::fs::write(folder.path().join(secret), text).unwrap();
        }
        let here = format!("{}/", folder.path().display());
        let text = text.replace("${CREDENTIALS_DIRECTORY:-/etc/xinyao-gateway/secrets}/", &here);
        let text = text.replace(place, &here);
        let loaded = config::parse(path, &text, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(loaded.warnings.is_empty(), "{path}: {:?}", loaded.warnings);
    }
}

#[test]
fn secrets_of_the_configuration_are_given_and_told_of() {
    let guide = std::fs::read_to_string("docs/deploy.md").unwrap();
    let given = [
        std::fs::read_to_string("deploy/compose.yaml").unwrap(),
        std::fs::read_to_string("deploy/systemd/xinyao-gateway.service").unwrap(),
        guide.clone(),
        std::fs::read_to_string("deploy/compose/cluster.yaml").unwrap(),
        guide.clone(),
    ];
    for ((path, place), given) in PLACES.iter().zip(given) {
        let secrets = secrets(&configuration(path), place);
        assert!(secrets.len() > 3, "{path}: {secrets:?}");
        for secret in secrets {
            assert!(given.contains(&secret), "{path}: nobody gives it {secret}");
            assert!(guide.contains(&secret), "docs/deploy.md does not tell of {secret}");
        }
    }
}

fn yaml(path: impl AsRef<Path>) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn kustomizations_have_every_file() {
    for folder in ["deploy/kubernetes", "deploy/kubernetes-cluster"].map(Path::new) {
        let kustomization = yaml(folder.join("kustomization.yaml"));
        let resources = kustomization["resources"].as_array().unwrap().iter();
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        let named = resources.chain(patches.filter_map(|patch| patch.get("path")));
        let named = named.map(|name| name.as_str().unwrap().to_owned());
        let named: BTreeSet<String> = named.filter(|name| !name.starts_with("../")).collect();
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.filter(|name| name != "kustomization.yaml").collect();
        assert_eq!(named, files);
    }
}

/// Documents of the kind and name (or its beginning, and `$`) of `target`.
fn targets(target: &Value) -> Vec<Value> {
    let files = std::fs::read_dir("deploy/kubernetes").unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
    let documents = documents.map(|text| serde_yaml::from_str::<Value>(text).unwrap());
    let name = target["name"].as_str().unwrap().trim_end_matches('$');
    documents.filter(|one| one["kind"] == target["kind"] && one["metadata"]["name"] == name).collect()
}

#[test]
fn patches_of_the_cluster_change_what_is_there() {
    let kustomization = yaml("deploy/kubernetes-cluster/kustomization.yaml");
    let patches = kustomization["patches"].as_array().unwrap();
    let inline: Vec<_> = patches.iter().filter(|patch| patch["patch"].is_string()).collect();
    assert!(inline.len() > 2);
    for patch in inline {
        let targets = targets(&patch["target"]);
        let [target] = targets.as_slice() else { panic!("{}: {targets:?}", patch["target"]) };
        for step in serde_yaml::from_str::<Vec<Value>>(patch["patch"].as_str().unwrap()).unwrap() {
            let path = step["path"].as_str().unwrap().trim_end_matches("/-");
            assert!(target.pointer(path).is_some(), "{}: nothing is at {path}", patch["target"]);
        }
    }
}
