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
            std::fs::write(folder.path().join(secret), "0123456789abcdef0123456789abcdef\n").unwrap();
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

#[test]
fn the_kustomization_has_every_file() {
    let folder = Path::new("deploy/kubernetes");
    let text = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    let kustomization: Value = serde_yaml::from_str(&text).unwrap();
    let named = kustomization["resources"].as_array().unwrap().iter();
    let named: BTreeSet<String> = named.map(|name| name.as_str().unwrap().to_owned()).collect();
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name != "kustomization.yaml").collect();
    assert_eq!(named, files);
}
