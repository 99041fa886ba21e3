use std::collections::BTreeMap;
use std::path::Path;
use xinyao_gateway::config;
#[test]
fn scratch() {
    let env: BTreeMap<String, String> =
        [("XINYAO_APIKEY", "k"), ("XINYAO_APISECRET", "s"), ("CALLBACK_KEY", "0123456789abcdef0")]
            .iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect();
    match config::load(Path::new("config.yaml"), &env) {
        Ok(l) => {
            for w in &l.warnings {
                println!("{w}\n");
            }
            println!("{}", serde_json::to_string_pretty(&l.config.redacted).unwrap());
            println!("{:#?}", l.config);
        }
        Err(e) => println!("{e}"),
    }
    println!("{}", config::parse("config.yaml", include_str!("/tmp/bad.yaml"), &env).unwrap_err());
}
